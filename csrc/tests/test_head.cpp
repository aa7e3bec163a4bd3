// The head against a naive loop in double.
#include "snvrag/head.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

Buffer<float> random_floats(std::int64_t n, std::uint64_t seed) {
  Buffer<float> values(n);
  Random random(seed);
  for (float& value : values) value = static_cast<float>(4 * random.unit() - 2);
  return values;
}

void test_rows(std::int64_t num_rows, std::int64_t num_evidence, std::int64_t num_units) {
  const Buffer<float> mean = random_floats(num_evidence, 1);
  Buffer<float> scale = random_floats(num_evidence, 2);
  for (float& value : scale) value = 0.5f + std::abs(value);
  const Buffer<float> hidden_weight = random_floats(num_evidence * num_units, 3);
  const Buffer<float> hidden_bias = random_floats(num_units, 4);
  const Buffer<float> output_weight = random_floats(num_units, 5);
  Buffer<float> evidence = random_floats(num_rows * num_evidence, 6);
  for (std::int64_t i = 0; i < evidence.size(); i += 5) evidence[i] *= 20;  // beyond the limit
  HeadWeights weights;
  weights.num_evidence = num_evidence;
  weights.num_units = num_units;
  weights.mean = mean.data();
  weights.scale = scale.data();
  weights.hidden_weight = hidden_weight.data();
  weights.hidden_bias = hidden_bias.data();
  weights.output_weight = output_weight.data();
  weights.output_bias = -0.25f;
  for (int threads : {1, 3}) {
    Buffer<float> got(num_rows);
    CHECK(head_log_odds(weights, evidence.data(), num_rows, threads, got.data()));
    bool close = true;
    for (std::int64_t r = 0; r < num_rows; ++r) {
      double expected = double{evidence[r * num_evidence]} - 0.25;
      for (std::int64_t u = 0; u < num_units; ++u) {
        double hidden = double{hidden_bias[u]};
        for (std::int64_t e = 0; e < num_evidence; ++e) {
          const double value = double{evidence[r * num_evidence + e]} - double{mean[e]};
          const double limit = double{kHeadLimit};
          hidden += std::min(std::max(value / double{scale[e]}, -limit), limit) *
                    double{hidden_weight[e * num_units + u]};
        }
        expected += double{output_weight[u]} * (hidden > 0 ? hidden : 0);
      }
      close &= std::abs(double{got[r]} - expected) < 1e-3;
    }
    CHECK(close);
    if (num_rows == 0) continue;
    evidence[num_rows * num_evidence - 1] = std::numeric_limits<float>::quiet_NaN();
    CHECK(!head_log_odds(weights, evidence.data(), num_rows, threads, got.data()));
    evidence[num_rows * num_evidence - 1] = 0.5f;
  }
}

}  // namespace

void test_head() {
  for (std::int64_t rows : {0, 1, 3, 4, 5, 127, 128, 129, 300}) {
    for (std::int64_t units : {0, 1, 15, 16, 17, 33}) test_rows(rows, 7, units);
  }
  test_rows(9, 1, 48);
}

}  // namespace snvrag::testing
