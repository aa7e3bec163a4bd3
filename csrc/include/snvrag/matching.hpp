// How far two haplotypes agree around each site: features of a retrieved neighbour.
#pragma once

#include <cstdint>

#include "snvrag/bits.hpp"

namespace snvrag {

inline constexpr int kMatchFeatures = 6;

// Rows of bits over the same num_sites sites, num_words(num_sites) words each.
struct MatchPairs {
  const std::uint64_t* queries = nullptr;     // (num_queries, words)
  const std::uint64_t* neighbours = nullptr;  // (num_queries, num_neighbours, words)
  std::int64_t num_queries = 0;
  std::int64_t num_neighbours = 0;  // of each query
  std::int64_t num_sites = 0;
  const std::uint64_t* observed = nullptr;    // (words)
  const std::int64_t* position_bp = nullptr;  // (num_sites), ascending
  float decay_sites = 0;                      // above 0
};

// Writes (num_queries, num_neighbours, kMatchFeatures, num_sites) floats. Call an observed site at
// which query and neighbour differ a mismatch. The features of site s are
//   0, 1  log1p of the number of observed sites after the last mismatch at or left of s, up to and
//         including s (0), and from s up to the first mismatch at or right of s (1);
//   2, 3  log1p of the distance in kb from s to that mismatch, or to the window's end (2, 3);
//   4, 5  sum over the mismatches at or left of s (4), at or right of s (5), of
//         exp(-observed sites between / decay_sites).
// A mismatch at s itself gives 0 for features 0 to 3.
void match_features(const MatchPairs& pairs, float* features);

}  // namespace snvrag
