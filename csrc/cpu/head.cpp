#include "snvrag/head.hpp"

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernel_table.hpp"
#include "parallel.hpp"

namespace snvrag {
namespace {

// The weights with the standardisation folded in (in double, rounded once), and units of zeros up
// to whole vectors.
struct FoldedHead {
  explicit FoldedHead(const HeadWeights& weights) {
    const std::int64_t stride = (weights.num_units + kHeadUnits - 1) / kHeadUnits * kHeadUnits;
    const auto padded = [&](std::int64_t num_rows) {
      return std::vector<float>(static_cast<std::size_t>(num_rows * stride));
    };
    hidden_weight = padded(weights.num_evidence);
    hidden_bias = padded(1);
    output_weight = padded(1);
    for (std::int64_t u = 0; u < weights.num_units; ++u) {
      double bias = double{weights.hidden_bias[u]};
      for (std::int64_t e = 0; e < weights.num_evidence; ++e) {
        const double weight =
            double{weights.hidden_weight[e * weights.num_units + u]} / double{weights.scale[e]};
        bias -= weight * double{weights.mean[e]};
        hidden_weight[static_cast<std::size_t>(e * stride + u)] = static_cast<float>(weight);
      }
      hidden_bias[static_cast<std::size_t>(u)] = static_cast<float>(bias);
      output_weight[static_cast<std::size_t>(u)] = weights.output_weight[u];
    }
    rows.num_evidence = weights.num_evidence;
    rows.num_units = stride;
    rows.hidden_weight = hidden_weight.data();
    rows.hidden_bias = hidden_bias.data();
    rows.output_weight = output_weight.data();
    rows.output_bias = weights.output_bias;
  }

  std::vector<float> hidden_weight, hidden_bias, output_weight;
  HeadRows rows;
};

}  // namespace

bool head_log_odds(const HeadWeights& weights, const float* evidence, std::int64_t num_rows,
                   int num_threads, float* log_odds) {
  const FoldedHead head(weights);
  std::atomic<bool> found_nan{false};
  parallel_ranges(num_rows, num_threads, [&](int, std::int64_t begin, std::int64_t end) {
    // Few enough rows that the second look at the evidence finds it in the first-level cache.
    constexpr std::int64_t kRowsAtOnce = 128;
    for (std::int64_t row = begin; row < end && !found_nan.load(std::memory_order_relaxed);
         row += kRowsAtOnce) {
      HeadRows rows = head.rows;
      rows.evidence = evidence + row * rows.num_evidence;
      rows.num_rows = std::min(kRowsAtOnce, end - row);
      rows.log_odds = log_odds + row;
      if (kernels().has_nan(rows.evidence, rows.num_rows * rows.num_evidence)) found_nan = true;
      kernels().head_rows(rows);
    }
  });
  return !found_nan;
}

}  // namespace snvrag
