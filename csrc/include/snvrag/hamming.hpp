// Exact top-k by Hamming distance over observed sites.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "snvrag/bits.hpp"
#include "snvrag/cancel.hpp"

namespace snvrag {

// What to search: `bits` are rows of haplotypes over all sites of the index (hidden sites are
// ignored), row_stride words apart; `exclude` is (num_queries, num_exclude), -1 for none.
// Requires 1 <= k <= num_haplotypes - the distinct haplotypes excluded, for each query.
struct HammingQueries {
  const std::uint64_t* bits;
  std::int64_t num_queries;
  std::int64_t row_stride;
  std::int64_t k;
  const std::int64_t* exclude;
  std::int64_t num_exclude;
};

struct HammingScan;

// The observed sites of a panel, compacted and laid out for the scan. Immutable once built, so any
// number of threads may search it.
//
// The commonest sites come first (by minor allele frequency, estimated from a part of the
// haplotypes: the order is a matter of speed alone), as they tell haplotypes apart soonest. The
// first words of all haplotypes, the head, lie together: a search passes over them, and nearly
// always they are enough to turn a haplotype down.
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

  // The same with a weight for each of the num_sites sites, finite and not negative: the distance
  // is the sum of the weights of the observed sites that differ. Weights are rounded to multiples
  // of a power of two, about 2^-30 of the sum of those observed, and summed exactly, so that the
  // distance depends on no order of summation; the sum is then rounded to float32 once.
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
  void write_blocks(std::int64_t first_block, std::int64_t word, std::uint64_t* tile);
  std::vector<std::uint64_t> compact(const HammingQueries& queries) const;
  HammingScan whole_scan(const std::int32_t* tables, int head_shift) const;

  std::int64_t num_haplotypes_;
  std::int64_t num_sites_;
  std::vector<std::int64_t> order_;  // the observed sites, in the order of their bits
  std::int64_t num_head_words_, num_tail_words_;
  std::int64_t num_stored_;  // words: head and tail, with room to align them to 64 bytes
  std::unique_ptr<std::uint64_t[]> storage_;
  std::uint64_t* head_ = nullptr;
  std::uint64_t* tail_ = nullptr;
};

}  // namespace snvrag
