#include "snvrag/matching.hpp"

#include <cmath>
#include <vector>

namespace snvrag {
namespace {

// log1p of small counts is asked for at every site of every pair.
std::vector<float> log1p_table(std::int64_t n) {
  std::vector<float> table(static_cast<std::size_t>(n + 1));
  for (std::int64_t i = 0; i <= n; ++i) {
    table[static_cast<std::size_t>(i)] = std::log1p(static_cast<float>(i));
  }
  return table;
}

// A float's logarithm base e to about 1e-4, by the exponent and a polynomial of the mantissa: a
// feature needs no more, and std::log would be most of the cost.
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

struct Side {
  const std::uint64_t* query;
  const std::uint64_t* neighbour;
  const std::uint64_t* observed;
  const std::int64_t* position_bp;
  std::int64_t num_sites;
  const float* log1p_count;
  float decay;
};

// Walks over the sites in one direction and writes run, log1p kb and decayed count of each site, as
// seen from the side that it comes from.
template <int kStep>
void walk(const Side& side, float* run_out, float* kb_out, float* decayed_out) {
  const std::int64_t first = kStep > 0 ? 0 : side.num_sites - 1;
  const std::int64_t end = kStep > 0 ? side.num_sites : -1;
  std::int64_t run = 0, mismatch_bp = side.position_bp[first];
  float decayed = 0.0f;
  for (std::int64_t s = first; s != end; s += kStep) {
    const std::uint64_t seen = side.observed[s / 64];
    const std::uint64_t differ = (side.query[s / 64] ^ side.neighbour[s / 64]) & seen;
    const auto is_seen = static_cast<std::int64_t>(seen >> (s % 64) & 1);
    const bool mismatch = (differ >> (s % 64) & 1) != 0;
    const std::int64_t here = side.position_bp[s];
    run = mismatch ? 0 : run + is_seen;
    mismatch_bp = mismatch ? here : mismatch_bp;
    decayed = (is_seen != 0 ? decayed * side.decay : decayed) + (mismatch ? 1.0f : 0.0f);
    const std::int64_t distance_bp = (here - mismatch_bp) * kStep;
    run_out[s] = side.log1p_count[run];
    kb_out[s] = distance_bp == 0 ? 0.0f : fast_log(1.0f + static_cast<float>(distance_bp) * 1e-3f);
    decayed_out[s] = decayed;
  }
}

}  // namespace

void match_features(const std::uint64_t* queries, const std::uint64_t* neighbours,
                    std::int64_t num_queries, std::int64_t num_neighbours, std::int64_t num_sites,
                    const std::uint64_t* observed, const std::int64_t* position_bp,
                    float decay_sites, float* features) {
  if (num_sites == 0) return;
  const std::int64_t words = num_words(num_sites);
  const std::vector<float> log1p_count = log1p_table(num_sites);
  const float decay = std::exp(-1.0f / decay_sites);
  for (std::int64_t pair = 0; pair < num_queries * num_neighbours; ++pair) {
    const Side side = {queries + pair / num_neighbours * words,
                       neighbours + pair * words,
                       observed,
                       position_bp,
                       num_sites,
                       log1p_count.data(),
                       decay};
    float* out = features + pair * kMatchFeatures * num_sites;
    walk<1>(side, out, out + 2 * num_sites, out + 4 * num_sites);
    walk<-1>(side, out + num_sites, out + 3 * num_sites, out + 5 * num_sites);
  }
}

}  // namespace snvrag
