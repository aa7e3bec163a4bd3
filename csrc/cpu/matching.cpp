#include "snvrag/matching.hpp"

#include <cmath>
#include <vector>

namespace snvrag {
namespace {

// Tabulates log1p of small counts, which every site of every pair needs.
std::vector<float> log1p_table(std::int64_t n) {
  std::vector<float> table(static_cast<std::size_t>(n + 1));
  for (std::int64_t i = 0; i <= n; ++i) {
    table[static_cast<std::size_t>(i)] = std::log1p(static_cast<float>(i));
  }
  return table;
}

// Natural logarithm of a float to about 1e-4, from the exponent and a polynomial of the mantissa: a
// feature needs no more, and std::log would dominate the cost.
float fast_log(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(bits >> 23) - 127);
  bits = (bits & 0x007fffffu) | 0x3f800000u;
  float m;
  __builtin_memcpy(&m, &bits, sizeof m);
  // Minimax on [1, 2), error below 6e-5 in the natural logarithm.
  const float p =
      -1.7417939f + m * (2.8212026f + m * (-1.4699568f + m * (0.44717955f - 0.056570851f * m)));
  return p + 0.69314718f * exponent;
}

struct Pair {
  const std::uint64_t* query;
  const std::uint64_t* neighbour;
  const std::uint64_t* observed;
  const std::int64_t* position_bp;
  std::int64_t num_sites;
  const float* log1p_count;
  float decay;
};

// Walks over the sites in one direction and writes the run, log1p kb and decayed count of each
// site, looking back.
template <int kStep>
void walk(const Pair& pair, float* run_out, float* kb_out, float* decayed_out) {
  const std::int64_t first = kStep > 0 ? 0 : pair.num_sites - 1;
  const std::int64_t end = kStep > 0 ? pair.num_sites : -1;
  std::int64_t run = 0, mismatch_bp = pair.position_bp[first];
  float decayed = 0.0f;
  for (std::int64_t s = first; s != end; s += kStep) {
    const std::uint64_t seen = pair.observed[s / 64];
    const std::uint64_t differ = (pair.query[s / 64] ^ pair.neighbour[s / 64]) & seen;
    const auto is_seen = static_cast<std::int64_t>(seen >> (s % 64) & 1);
    const bool mismatch = (differ >> (s % 64) & 1) != 0;
    const std::int64_t here = pair.position_bp[s];
    run = mismatch ? 0 : run + is_seen;
    mismatch_bp = mismatch ? here : mismatch_bp;
    decayed = (is_seen != 0 ? decayed * pair.decay : decayed) + (mismatch ? 1.0f : 0.0f);
    const std::int64_t distance_bp = (here - mismatch_bp) * kStep;
    run_out[s] = pair.log1p_count[run];
    kb_out[s] = distance_bp == 0 ? 0.0f : fast_log(1.0f + static_cast<float>(distance_bp) * 1e-3f);
    decayed_out[s] = decayed;
  }
}

}  // namespace

void match_features(const MatchPairs& pairs, float* features) {
  if (pairs.num_sites == 0) return;
  const std::int64_t words = num_words(pairs.num_sites);
  const std::vector<float> log1p_count = log1p_table(pairs.num_sites);
  Pair pair = {};
  pair.observed = pairs.observed;
  pair.position_bp = pairs.position_bp;
  pair.num_sites = pairs.num_sites;
  pair.log1p_count = log1p_count.data();
  pair.decay = std::exp(-1.0f / pairs.decay_sites);
  for (std::int64_t i = 0; i < pairs.num_queries * pairs.num_neighbours; ++i) {
    pair.query = pairs.queries + i / pairs.num_neighbours * words;
    pair.neighbour = pairs.neighbours + i * words;
    float* out = features + i * kMatchFeatures * pairs.num_sites;
    walk<1>(pair, out, out + 2 * pairs.num_sites, out + 4 * pairs.num_sites);
    walk<-1>(pair, out + pairs.num_sites, out + 3 * pairs.num_sites, out + 5 * pairs.num_sites);
  }
}

}  // namespace snvrag
