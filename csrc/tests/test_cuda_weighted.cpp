// The search by weighted distance on the device, against the CPU library and the definition.
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "cuda_api.hpp"
#include "cuda_hamming_problem.hpp"
#include "cuda_testing.hpp"

namespace {

using namespace snvrag::testing;
using snvrag::num_words;

// The distances by their definition, pair by pair.
Found<float> weigh_naively(const Problem& p, const Floats& weights) {
  const auto is_observed = [&](std::int64_t s) {
    return p.observed() == nullptr || p.observed()[s] != 0;
  };
  double total = 0;
  for (std::int64_t s = 0; s < p.c.num_sites; ++s) {
    if (is_observed(s)) total += double{weights[s]};
  }
  const int exponent = total > 0 ? std::min(29 - std::ilogb(total), 126) : 0;
  Buffer<std::uint32_t> integers(p.c.num_sites);
  for (std::int64_t s = 0; s < p.c.num_sites; ++s) {
    if (!is_observed(s)) continue;
    integers[s] = static_cast<std::uint32_t>(std::llrint(std::ldexp(double{weights[s]}, exponent)));
  }
  Found<float> found(p.c.num_queries * p.c.k);
  for (std::int64_t q = 0; q < p.c.num_queries; ++q) {
    std::vector<float> distances;
    for (std::int64_t h = 0; h < p.c.num_haplotypes; ++h) {
      std::uint32_t sum = 0;
      for (std::int64_t s = 0; s < p.c.num_sites; ++s) {
        const std::uint64_t differing =
            p.panel[h * (p.words + 3) + s / 64] ^ p.queries[q * (p.words + 1) + s / 64];
        if ((differing >> (s % 64) & 1) != 0) sum += integers[s];
      }
      distances.push_back(static_cast<float>(sum) * std::ldexp(1.0f, -exponent));
    }
    const auto order =
        nearest(distances, p.c.k, p.exclude.data() + q * p.c.num_exclude, p.c.num_exclude);
    for (std::int64_t i = 0; i < p.c.k; ++i) {
      std::tie(found.distances[q * p.c.k + i], found.indices[q * p.c.k + i]) =
          order[static_cast<std::size_t>(i)];
    }
  }
  return found;
}

Found<float> weigh_on_cpu(const Problem& p, const Floats& weights) {
  const auto index = snvrag::HammingIndex::from_haplotypes(
      p.panel.data(), p.c.num_haplotypes, p.c.num_sites, p.words + 3, p.observed());
  Found<float> found(p.c.num_queries * p.c.k);
  index.search_weighted(p.wanted(), weights.data(), 1, found.distances.data(),
                        found.indices.data());
  return found;
}

Found<float> weigh_on_device(const Problem& p, const Floats& weights, std::int64_t max_words) {
  const Case& c = p.c;
  DeviceIndex device(c.num_haplotypes, c.num_sites, max_words);
  Bytes workspace(static_cast<std::int64_t>(snvrag::cuda::weighted_hamming_workspace_bytes(
                      device.index, c.num_queries, c.k, c.block_bytes)),
                  0xee);
  Found<float> found(c.num_queries * c.k);
  snvrag::cuda::hamming_index_build(p.panel.data(), p.words + 3, p.observed(), device.index,
                                    nullptr);
  snvrag::cuda::weighted_hamming_search(device.index, weights.data(), p.wanted(),
                                        workspace_of(workspace, c.block_bytes),
                                        found.distances.data(), found.indices.data(), nullptr);
  return found;
}

void test_weighted(const Case& c, double smallest, double largest) {
  const Problem p(c);
  Floats weights(c.num_sites);
  Random random(6);
  for (float& weight : weights) {
    weight = static_cast<float>(smallest * std::pow(largest / smallest, random.unit()));
    if (random.below(10) == 0) weight = 0;
  }
  const auto expected = weigh_naively(p, weights);
  CHECK(weigh_on_cpu(p, weights) == expected);
  CHECK(weigh_on_device(p, weights, num_words(p.num_observed())) == expected);
  CHECK(weigh_on_device(p, weights, p.words) == expected);
}

void test_what_weights_may_be() {
  // A total that is the float below 2^30, which the rounded sum reaches.
  const Problem p({3, 2, 1, 101, 3});
  Floats weights(2, std::nextafter(0.5f, 0.0f));
  CHECK(weigh_on_device(p, weights, 1) == weigh_naively(p, weights));
  // No weight at all: every distance is 0, and the lowest indices win.
  const auto none = weigh_on_device(p, Floats(2), 1);
  CHECK(none.distances == Floats(3) && none.indices[0] == 0 && none.indices[2] == 2);
  // Values that a weight must not have.
  const float most = std::numeric_limits<float>::max();
  for (float wrong : {std::numeric_limits<float>::quiet_NaN(),
                      std::numeric_limits<float>::infinity(), -1.0f, most}) {
    weights[0] = weights[1] = wrong;
    const auto found = weigh_on_device(p, weights, 1);
    for (std::int64_t i = 0; i < 3; ++i) {
      CHECK(std::isnan(found.distances[i]) && found.indices[i] == i);
    }
  }
}

}  // namespace

void test_cuda_weighted() {
  for (std::int64_t sites : {0, 1, 63, 64, 65, 129}) {
    for (int percent : {0, 40, 101}) {
      test_weighted({65, sites, 9, percent, 8, 2}, 0.1, 1);
    }
  }
  test_weighted({513, 1020, 3, 40, 64, 3}, 1e-3, 1e3);
  test_weighted({300, 2500, 2, 101, 3}, 1, 2);  // more words than are staged at a time
  test_weighted({257, 129, 8, 60, 257}, 1e-45, 1e-40);
  test_weighted({257, 129, 1, 60, 8}, 1e30, 1e36);
  test_weighted({1, 65, 1, 60, 1}, 1, 1);
  test_weighted({3000, 65, 2, 101, 8, 5, 2, 13'000}, 1, 3);
  test_weighted({70, 65, 0, 60, 3}, 1, 1);
  test_what_weights_may_be();
}
