// Selection of the K smallest by (distance, index), shared by all searches.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace snvrag {

// Distance and index as one key whose order is the contract's: distance first, then index.
inline constexpr std::uint64_t pack_key(std::uint32_t distance, std::uint32_t index) {
  return (static_cast<std::uint64_t>(distance) << 32) | index;
}

// The bits of a float >= 0 order as the float does.
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
// Contract with the scans: indices come in ascending order, so a candidate whose distance equals
// that of the k-th best so far can never displace it, and `distance < threshold` loses nothing.
struct Candidates {
  std::uint64_t* keys;
  std::int64_t size;
  std::int64_t capacity;
  std::uint32_t threshold;
  std::uint32_t k;
  const std::int64_t* exclude;
  std::int64_t num_exclude;

  // Where distances are small integers: how many candidates have each, how many have one below
  // `limit`, and the least limit that keeps k of them. The threshold then follows every candidate.
  std::uint32_t* counts;
  std::uint32_t limit;
  std::int64_t num_below;
};

// Appends haplotypes first + i for the bits i of `lanes`, at distances[i], leaving out those that
// are excluded, and makes room for at least as many again.
// Not inline: code of a wider instruction set must call this one text, not a copy of its own.
void append(Candidates& candidates, unsigned lanes, const std::uint32_t* distances,
            std::int64_t first);

// Lowers the threshold by the distances of any haplotypes that are not excluded, if there are k.
void lower_threshold(Candidates& candidates, std::uint32_t* distances, std::int64_t num_distances);

bool is_excluded(const Candidates& candidates, std::int64_t haplotype);

// Candidates of several queries, with their storage.
class CandidateSet {
 public:
  // The most haplotypes in one call of append().
  static constexpr std::int64_t kBurst = 32;

  // `max_distance` is the largest distance where distances are integers, or negative for others.
  CandidateSet(std::int64_t num_queries, std::int64_t k, std::int64_t max_distance,
               const std::int64_t* exclude, std::int64_t num_exclude);

  Candidates* data() { return queries_.data(); }

  // Takes over the candidates of a set of the same shape whose indices are all higher.
  void merge(CandidateSet& other);

  // The k smallest keys of a query, ascending. There are always k: the callers check that
  // k <= H - E. The pointer holds until the next call.
  const std::uint64_t* sorted(std::int64_t query);

 private:
  std::unique_ptr<std::uint64_t[]> keys_;  // not cleared: most of the room is never used
  std::vector<std::uint32_t> counts_;
  std::vector<std::uint64_t> sorted_;
  std::vector<Candidates> queries_;
};

// Candidates of a search that several threads share: one set a thread, each over a range of
// haplotypes above the one before. `take(query, keys)` gets the k smallest of each query.
template <class Take>
void take_sorted(std::vector<CandidateSet>& found, std::int64_t num_queries, Take take) {
  for (std::size_t part = 1; part < found.size(); ++part) found[0].merge(found[part]);
  for (std::int64_t query = 0; query < num_queries; ++query) take(query, found[0].sorted(query));
}

}  // namespace snvrag
