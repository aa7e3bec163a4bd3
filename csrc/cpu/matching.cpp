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

}  // namespace

void match_features(const std::uint64_t* queries, const std::uint64_t* neighbours,
                    std::int64_t num_queries, std::int64_t num_neighbours, std::int64_t num_sites,
                    const std::uint64_t* observed, const std::int64_t* position_bp,
                    float decay_sites, float* features) {
  if (num_sites == 0) return;
  const std::int64_t words = num_words(num_sites);
  const std::vector<float> log1p_count = log1p_table(num_sites);
  const float decay = std::exp(-1.0f / decay_sites);
  const auto log1p_kb = [](std::int64_t distance_bp) {
    return distance_bp == 0 ? 0.0f : fast_log(1.0f + static_cast<float>(distance_bp) * 1e-3f);
  };

  for (std::int64_t pair = 0; pair < num_queries * num_neighbours; ++pair) {
    const std::uint64_t* query = queries + pair / num_neighbours * words;
    const std::uint64_t* neighbour = neighbours + pair * words;
    float* out = features + pair * kMatchFeatures * num_sites;
    const auto bit = [](std::uint64_t word, std::int64_t s) {
      return static_cast<std::int64_t>((word >> (s % 64)) & 1);
    };

    std::int64_t run = 0;
    std::int64_t mismatch_bp = position_bp[0];
    float decayed = 0.0f;
    for (std::int64_t s = 0; s < num_sites; ++s) {
      const std::uint64_t seen = observed[s / 64];
      const std::uint64_t differ = (query[s / 64] ^ neighbour[s / 64]) & seen;
      const bool mismatch = bit(differ, s) != 0;
      const std::int64_t is_seen = bit(seen, s);
      const std::int64_t here = position_bp[s];
      run = mismatch ? 0 : run + is_seen;
      mismatch_bp = mismatch ? here : mismatch_bp;
      decayed = (is_seen != 0 ? decayed * decay : decayed) + (mismatch ? 1.0f : 0.0f);
      out[s] = log1p_count[static_cast<std::size_t>(run)];
      out[2 * num_sites + s] = log1p_kb(here - mismatch_bp);
      out[4 * num_sites + s] = decayed;
    }

    run = 0;
    mismatch_bp = position_bp[num_sites - 1];
    decayed = 0.0f;
    for (std::int64_t s = num_sites - 1; s >= 0; --s) {
      const std::uint64_t seen = observed[s / 64];
      const std::uint64_t differ = (query[s / 64] ^ neighbour[s / 64]) & seen;
      const bool mismatch = bit(differ, s) != 0;
      const std::int64_t is_seen = bit(seen, s);
      const std::int64_t here = position_bp[s];
      run = mismatch ? 0 : run + is_seen;
      mismatch_bp = mismatch ? here : mismatch_bp;
      decayed = (is_seen != 0 ? decayed * decay : decayed) + (mismatch ? 1.0f : 0.0f);
      out[num_sites + s] = log1p_count[static_cast<std::size_t>(run)];
      out[3 * num_sites + s] = log1p_kb(mismatch_bp - here);
      out[5 * num_sites + s] = decayed;
    }
  }
}

}  // namespace snvrag
