// Exact top-k by Hamming distance over observed sites.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "snvrag/bits.hpp"

namespace snvrag {

// Set by another thread to end a long search early; may be null.
using CancelFlag = const std::atomic<bool>*;

// The observed sites of a panel, compacted and laid out for the scan. Immutable once built, so any
// number of threads may search it.
//
// Layout: blocks of kLanes haplotypes; inside a block, word-major: word w of lane i of block b is
// words[(b * W + w) * kLanes + i]. One 64-byte load takes a word of eight haplotypes.
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

  // Queries are rows of haplotypes over all num_sites sites (hidden sites are ignored). `exclude`
  // is (num_queries, num_exclude), -1 for none. Writes (num_queries, k) each, ordered by
  // (distance, index). Requires 1 <= k <= num_haplotypes - excluded of each query. Returns false
  // when cancelled; the outputs are then unspecified.
  bool search(const std::uint64_t* queries, std::int64_t num_queries, std::int64_t row_stride,
              std::int64_t k, const std::int64_t* exclude, std::int64_t num_exclude,
              int num_threads, std::int32_t* distances, std::int64_t* indices,
              CancelFlag cancel = nullptr) const;

  std::int64_t num_haplotypes() const { return num_haplotypes_; }
  std::int64_t num_sites() const { return num_sites_; }
  std::int64_t num_observed() const { return num_observed_; }
  std::int64_t num_bytes() const;

 private:
  HammingIndex(std::int64_t num_haplotypes, std::int64_t num_sites, const std::uint8_t* observed);

  std::int64_t num_haplotypes_;
  std::int64_t num_sites_;
  std::int64_t num_observed_ = 0;
  std::int64_t num_observed_words_ = 0;
  std::vector<std::uint64_t> observed_;  // bit masks over the sites
  std::vector<std::uint64_t> storage_;   // the words, with room to align them to 64 bytes
  std::uint64_t* words_ = nullptr;

 public:
  HammingIndex(HammingIndex&&) = default;
  HammingIndex(const HammingIndex&) = delete;
  HammingIndex& operator=(const HammingIndex&) = delete;
};

}  // namespace snvrag
