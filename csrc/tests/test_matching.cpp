// Features of neighbours against a walk from every site.
#include "snvrag/matching.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

void test_pairs(std::int64_t num_sites, std::int64_t num_queries, std::int64_t num_neighbours) {
  const std::int64_t pairs = num_queries * num_neighbours;
  const Bytes queries = random_alleles(num_queries * num_sites, 11);
  const Bytes observed = random_alleles(num_sites, 12);
  Bytes neighbours(pairs * num_sites);
  Random random(static_cast<std::uint64_t>(num_sites));
  for (std::int64_t p = 0; p < pairs; ++p) {
    for (std::int64_t s = 0; s < num_sites; ++s) {
      const int flip = random.below(10) == 0;
      neighbours[p * num_sites + s] =
          static_cast<std::uint8_t>(queries[p / num_neighbours * num_sites + s] ^ flip);
    }
  }
  Buffer<std::int64_t> position(num_sites);
  std::int64_t place = 1'000'000;
  for (std::int64_t& site : position) site = place += random.below(5000);

  const double decay_sites = 7.0;
  Buffer<float> got(pairs * kMatchFeatures * num_sites, std::numeric_limits<float>::quiet_NaN());
  const Words query_bits = naive_pack(queries, num_queries, num_sites);
  const Words neighbour_bits = naive_pack(neighbours, pairs, num_sites);
  const Words observed_bits = naive_pack(observed, 1, num_sites);
  MatchPairs wanted;
  wanted.queries = query_bits.data();
  wanted.neighbours = neighbour_bits.data();
  wanted.num_queries = num_queries;
  wanted.num_neighbours = num_neighbours;
  wanted.num_sites = num_sites;
  wanted.observed = observed_bits.data();
  wanted.position_bp = position.data();
  wanted.decay_sites = static_cast<float>(decay_sites);
  match_features(wanted, got.data());

  double worst = 0;
  for (std::int64_t p = 0; p < pairs; ++p) {
    const auto mismatch = [&](std::int64_t s) {
      return observed[s] != 0 &&
             queries[p / num_neighbours * num_sites + s] != neighbours[p * num_sites + s];
    };
    for (std::int64_t s = 0; s < num_sites; ++s) {
      for (int side = 0; side < 2; ++side) {
        const std::int64_t step = side == 0 ? -1 : 1;
        std::int64_t end = -1, seen = 0, crossed = 0;
        double decayed = 0;
        for (std::int64_t t = s; t >= 0 && t < num_sites; t += step) {
          if (mismatch(t)) {
            if (end < 0) end = t;
            decayed += std::exp(-static_cast<double>(crossed) / decay_sites);
          }
          if (end < 0) seen += observed[t];
          crossed += observed[t];
        }
        if (end < 0) end = side == 0 ? 0 : num_sites - 1;
        const double kb = std::abs(static_cast<double>(position[s] - position[end])) / 1000;
        const double expected[] = {std::log1p(static_cast<double>(seen)), std::log1p(kb), decayed};
        for (int i = 0; i < 3; ++i) {
          const std::int64_t feature = 2 * i + side;
          const double value = double{got[(p * kMatchFeatures + feature) * num_sites + s]};
          const double error = std::abs(value - expected[i]);
          worst = std::isnan(error) ? 1e9 : std::max(worst, error);
        }
      }
    }
  }
  CHECK(worst < 5e-4);
}

}  // namespace

void test_matching() {
  for (std::int64_t sites : {0, 1, 2, 63, 64, 65, 129, 200}) test_pairs(sites, 2, 3);
  test_pairs(64, 2, 0);
  test_pairs(64, 0, 3);
}

}  // namespace snvrag::testing
