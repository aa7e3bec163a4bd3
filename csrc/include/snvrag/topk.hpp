// Selection of the K smallest by (distance, index), shared by all searches.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "snvrag/search.hpp"

namespace snvrag {

// Distance and index as one key, ordered by distance, then index.
inline constexpr std::uint64_t pack_key(std::uint32_t distance, std::uint32_t index) {
  return (static_cast<std::uint64_t>(distance) << 32) | index;
}

// The bits of a float >= 0, which are ordered as the floats are.
inline std::uint32_t float_key(float distance) {
  std::uint32_t bits;
  std::memcpy(&bits, &distance, sizeof bits);
  return bits;
}

inline float key_float(std::uint32_t bits) {
  float distance;
  std::memcpy(&distance, &bits, sizeof distance);
  return distance;
}

inline constexpr std::uint32_t kNoThreshold = 0xffffffffu;

// Candidates of one query. A scan appends haplotypes whose distance is below `threshold`. Plain
// data, so that code of any instruction set can share it.
//
// Scans append indices in ascending order. A candidate at the distance of the k-th best so far can
// therefore never displace it, and `distance < threshold` loses nothing.
struct Candidates {
  std::uint64_t* keys = nullptr;
  std::int64_t size = 0;
  std::int64_t capacity = 0;
  std::uint32_t threshold = kNoThreshold;
  std::uint32_t k = 0;
  const std::int64_t* exclude = nullptr;
  std::int64_t num_exclude = 0;

  // Where distances are small integers: the number of candidates at each distance, the least limit
  // that keeps k of them, and the number below that limit. Every candidate then lowers the
  // threshold. Null for other distances.
  std::uint32_t* counts = nullptr;
  std::uint32_t limit = 0;
  std::int64_t num_below = 0;
};

// Appends haplotypes first + i for the bits i of `lanes`, at distances[i], except those excluded,
// and makes room for another burst.
// Not inline: code of a wider instruction set must call this function, not a copy of its own.
void append(Candidates& candidates, unsigned lanes, const std::uint32_t* distances,
            std::int64_t first);

// Lowers the threshold by the distances of some haplotypes that are not excluded. Fewer than k of
// them change nothing.
void lower_threshold(Candidates& candidates, std::uint32_t* distances, std::int64_t num_distances);

bool is_excluded(const Candidates& candidates, std::int64_t haplotype);

// Candidates of several queries, with their storage.
class CandidateSet {
 public:
  // The most haplotypes in one call of append().
  static constexpr std::int64_t kBurst = 32;

  // `max_distance` is the largest distance if distances are integers, otherwise negative.
  CandidateSet(std::int64_t num_queries, std::int64_t k, std::int64_t max_distance,
               const Exclude& exclude);

  Candidates* data() { return queries_.data(); }

  // Adds the candidates of a set of the same shape whose indices are all higher.
  void merge(CandidateSet& other);

  // The k smallest keys of a query, ascending; all ones where there are fewer candidates. The
  // pointer is valid until the next call.
  const std::uint64_t* sorted(std::int64_t query);

 private:
  std::unique_ptr<std::uint64_t[]> keys_;  // not cleared: most of it is never used
  std::vector<std::uint32_t> counts_;
  std::vector<std::uint64_t> sorted_;
  std::vector<Candidates> queries_;
};

// Merges the candidates of a search by several threads: found[i] is thread i's, over a range of
// haplotypes above that of thread i - 1. Calls take(query, keys) with the k smallest of each query.
template <class Take>
void take_sorted(std::vector<CandidateSet>& found, std::int64_t num_queries, Take take) {
  for (std::size_t part = 1; part < found.size(); ++part) found[0].merge(found[part]);
  for (std::int64_t query = 0; query < num_queries; ++query) take(query, found[0].sorted(query));
}

}  // namespace snvrag
