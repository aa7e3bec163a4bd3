// Selection of the K smallest by (distance, index), shared by all searches.
#pragma once

#include <cstdint>
#include <cstring>
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

// Candidates of one query. A scan appends keys whose distance is below `threshold` and flushes
// when the room runs out. Plain data, so that code of any instruction set can share it.
//
// Contract with the scans: indices come in ascending order, so a candidate whose distance equals
// that of the k-th best so far can never displace it, and `distance < threshold` loses nothing.
struct Candidates {
  std::uint64_t* keys;
  std::int64_t size;
  std::int64_t capacity;  // at least k + the most a scan appends between two checks
  std::uint32_t threshold;
  std::uint32_t k;
  const std::int64_t* exclude;
  std::int64_t num_exclude;
};

// Drops excluded candidates, keeps the k smallest (in no order) and lowers the threshold.
// Not inline: code of a wider instruction set must call this one text, not a copy of its own.
void flush(Candidates& candidates);

// Candidates of several queries, with their storage.
class CandidateSet {
 public:
  // A scan may append `burst` keys between two checks of the room.
  CandidateSet(std::int64_t num_queries, std::int64_t k, std::int64_t burst,
               const std::int64_t* exclude, std::int64_t num_exclude);

  Candidates* data() { return queries_.data(); }

  // Takes over the candidates of another set of the same shape.
  void merge(CandidateSet& other);

  // The k smallest keys of a query, ascending. There are always k: the callers check that
  // k <= H - E.
  const std::uint64_t* sorted(std::int64_t query);

 private:
  std::vector<std::uint64_t> keys_;
  std::vector<Candidates> queries_;
};

}  // namespace snvrag
