// Exact top-k by Hamming distance over observed sites.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "snvrag/bits.hpp"
#include "snvrag/cancel.hpp"
#include "snvrag/search.hpp"

namespace snvrag {

struct HammingScan;

// The observed sites of a panel, compacted and arranged for the scan. Immutable once built, so any
// number of threads may search it.
//
// Sites are stored by decreasing minor allele frequency, because common sites discriminate fastest.
// (The frequency is estimated from a sample of the haplotypes: the order affects speed alone.) The
// first words of all haplotypes, the heads, are stored together: a search scans them first, and
// they nearly always suffice to reject a haplotype.
//
// Layout: blocks of kLanes haplotypes; inside a block, word-major: word w of lane i of block b is
// words[(b * W + w) * kLanes + i], with W the words of the head or of the tail. One 64-byte load
// takes a word of eight haplotypes.
class HammingIndex {
 public:
  static constexpr std::int64_t kLanes = 8;

  // From rows of haplotypes: (num_haplotypes, num_words(num_sites)) words, rows row_stride words
  // apart. `observed` has num_sites bytes, nonzero where a site counts; null: all sites count.
  static HammingIndex from_haplotypes(const std::uint64_t* bits, std::int64_t num_haplotypes,
                                      std::int64_t num_sites, std::int64_t row_stride,
                                      const std::uint8_t* observed);

  // From rows of sites: (num_sites, num_words(num_haplotypes)) words.
  static HammingIndex from_sites(const std::uint64_t* bits, std::int64_t num_haplotypes,
                                 std::int64_t num_sites, std::int64_t row_stride,
                                 const std::uint8_t* observed);

  // Writes (num_queries, k) each, ordered by (distance, index). Returns false when cancelled; the
  // outputs are then unspecified.
  bool search(const HammingQueries& queries, int num_threads, std::int32_t* distances,
              std::int64_t* indices, CancelFlag cancel = nullptr) const;

  // The same with a weight for each of the num_sites sites: the distance is the sum of the weights
  // of the observed sites that differ. Weights are rounded to multiples of a power of two, about
  // 2^-30 of the sum of the observed ones, and summed exactly, so that the distance does not depend
  // on the order of summation; the sum is then rounded to float32 once. If an observed weight is
  // negative or NaN, or their sum exceeds float32, all distances are NaN.
  bool search_weighted(const HammingQueries& queries, const float* weights, int num_threads,
                       float* distances, std::int64_t* indices, CancelFlag cancel = nullptr) const;

  std::int64_t num_haplotypes() const { return num_haplotypes_; }
  std::int64_t num_sites() const { return num_sites_; }
  std::int64_t num_observed() const { return static_cast<std::int64_t>(order_.size()); }
  std::int64_t num_bytes() const;

  HammingIndex(HammingIndex&&) = default;
  HammingIndex(const HammingIndex&) = delete;
  HammingIndex& operator=(const HammingIndex&) = delete;

 private:
  HammingIndex(std::int64_t num_haplotypes, std::int64_t num_sites,
               std::vector<std::int64_t> order);

  std::int64_t num_blocks() const { return (num_haplotypes_ + kLanes - 1) / kLanes; }
  std::int64_t num_index_words() const { return num_head_words_ + num_tail_words_; }
  std::uint64_t* block_word(std::int64_t block, std::int64_t word) const;
  void take_sites(const std::uint64_t* rows, std::int64_t first, std::uint64_t* tile) const;
  void write_blocks(std::int64_t first_block, std::int64_t word, const std::uint64_t* tile);
  std::vector<std::uint64_t> compact(const HammingQueries& queries) const;
  HammingScan scan_of_all_blocks(const std::int32_t* tables, int head_shift) const;

  std::int64_t num_haplotypes_;
  std::int64_t num_sites_;
  std::vector<std::int64_t> order_;  // the observed sites, in the order of their bits
  std::int64_t num_head_words_, num_tail_words_;
  std::int64_t num_stored_;  // words of head and tail, including those lost to alignment
  std::unique_ptr<std::uint64_t[]> storage_;
  std::uint64_t* head_ = nullptr;
  std::uint64_t* tail_ = nullptr;
};

}  // namespace snvrag
