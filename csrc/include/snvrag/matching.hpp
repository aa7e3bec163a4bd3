// How far two haplotypes agree around each site: what a network is told of a neighbour.
#pragma once

#include <cstdint>

#include "snvrag/bits.hpp"

namespace snvrag {

inline constexpr int kMatchFeatures = 6;

// For `num_pairs` pairs of rows over the same num_sites sites (query row pair / num_neighbours,
// neighbour row pair), writes (num_pairs, kMatchFeatures, num_sites) floats. With "mismatch" for an
// observed site at which the pair differs, the features of site s are
//   0, 1  log1p of the number of observed sites strictly after the last mismatch at or left of s,
//         up to s (0), and from s to before the first mismatch at or right of s (1);
//   2, 3  log1p of the distance in kb from s to that mismatch, or to the window's end (2, 3);
//   4, 5  sum over the mismatches at or left of s (4), at or right of s (5), of
//         exp(-observed sites between / decay_sites).
// A mismatch at s itself gives 0 for features 0 to 3. position_bp has num_sites ascending values.
void match_features(const std::uint64_t* queries, const std::uint64_t* neighbours,
                    std::int64_t num_queries, std::int64_t num_neighbours, std::int64_t num_sites,
                    const std::uint64_t* observed, const std::int64_t* position_bp,
                    float decay_sites, float* features);

}  // namespace snvrag
