#include "snvrag/head.hpp"

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernel_table.hpp"
#include "parallel.hpp"

namespace snvrag {
namespace {

// The weights with units of zeros up to whole vectors.
struct PaddedHead {
  explicit PaddedHead(const HeadWeights& weights)
      : stride((weights.num_units + kHeadUnits - 1) / kHeadUnits * kHeadUnits),
        hidden_weight(padded(weights.hidden_weight, weights.num_evidence, weights.num_units)),
        hidden_bias(padded(weights.hidden_bias, 1, weights.num_units)),
        output_weight(padded(weights.output_weight, 1, weights.num_units)) {}

  std::vector<float> padded(const float* values, std::int64_t num_rows,
                            std::int64_t num_units) const {
    std::vector<float> result(static_cast<std::size_t>(num_rows * stride));
    for (std::int64_t r = 0; r < num_rows; ++r) {
      std::copy_n(values + r * num_units, num_units, result.begin() + r * stride);
    }
    return result;
  }

  std::int64_t stride;
  std::vector<float> hidden_weight, hidden_bias, output_weight;
};

// Few enough rows that all of their evidence stays in the first-level cache.
constexpr std::int64_t kRowsAtOnce = 64;

// Standardises rows of evidence, and clamps what comes out.
class Standardiser {
 public:
  // Means and inverse scales are repeated for as many rows, so that the compiler vectorises a loop
  // over all numbers.
  explicit Standardiser(const HeadWeights& weights) {
    for (std::int64_t r = 0; r < kRowsAtOnce; ++r) {
      for (std::int64_t e = 0; e < weights.num_evidence; ++e) {
        mean_.push_back(weights.mean[e]);
        inverse_.push_back(1.0f / weights.scale[e]);
      }
    }
  }

  void run(const float* evidence, std::int64_t size, std::vector<float>& out) const {
    const float *mean = mean_.data(), *inverse = inverse_.data();
    float* to = out.data();
    for (std::int64_t i = 0; i < size; ++i) {
      const float value = (evidence[i] - mean[i]) * inverse[i];
      const float above = value < -kHeadLimit ? -kHeadLimit : value;
      to[i] = above > kHeadLimit ? kHeadLimit : above;
    }
  }

 private:
  std::vector<float> mean_, inverse_;
};

}  // namespace

bool head_log_odds(const HeadWeights& weights, const float* evidence, std::int64_t num_rows,
                   int num_threads, float* log_odds) {
  const PaddedHead head(weights);
  const Standardiser standardiser(weights);
  std::atomic<bool> found_nan{false};
  parallel_ranges(num_rows, num_threads, [&](int, std::int64_t begin, std::int64_t end) {
    std::vector<float> standardised(static_cast<std::size_t>(kRowsAtOnce * weights.num_evidence));
    HeadRows rows;
    rows.hidden_weight = head.hidden_weight.data();
    rows.hidden_bias = head.hidden_bias.data();
    rows.output_weight = head.output_weight.data();
    rows.num_evidence = weights.num_evidence;
    rows.num_units = head.stride;
    rows.evidence = standardised.data();
    for (std::int64_t row = begin; row < end && !found_nan.load(std::memory_order_relaxed);
         row += kRowsAtOnce) {
      const float* given = evidence + row * weights.num_evidence;
      rows.num_rows = std::min(kRowsAtOnce, end - row);
      rows.correction = log_odds + row;
      if (kernels().has_nan(given, rows.num_rows * weights.num_evidence)) found_nan = true;
      standardiser.run(given, rows.num_rows * weights.num_evidence, standardised);
      kernels().head_rows(rows);
      for (std::int64_t r = 0; r < rows.num_rows; ++r) {
        rows.correction[r] += given[r * weights.num_evidence] + weights.output_bias;
      }
    }
  });
  return !found_nan;
}

}  // namespace snvrag
