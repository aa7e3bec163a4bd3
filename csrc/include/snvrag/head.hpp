// The head: a small network per site, from evidence to the log-odds of the minor allele.
#pragma once

#include <cstdint>

namespace snvrag {

// Standardised evidence beyond what is usual in training would be extrapolated.
inline constexpr float kHeadLimit = 6;

// One hidden layer of rectified units. All arrays are row-major.
struct HeadWeights {
  std::int64_t num_evidence = 0, num_units = 0;
  const float* mean = nullptr;           // (num_evidence); evidence is standardised,
  const float* scale = nullptr;          // (num_evidence): (evidence - mean) / scale,
                                         // and clamped to +-kHeadLimit
  const float* hidden_weight = nullptr;  // (num_evidence, num_units)
  const float* hidden_bias = nullptr;    // (num_units)
  const float* output_weight = nullptr;  // (num_units)
  float output_bias = 0;
};

// Writes evidence[0] (as given) + output_bias + sum over units of output_weight * max(0, hidden)
// for each row of (num_rows, num_evidence) evidence, num_evidence from 1. Returns false if a row
// has a NaN; answers are then unspecified. Cost: num_evidence * num_units multiply-adds a row.
bool head_log_odds(const HeadWeights& weights, const float* evidence, std::int64_t num_rows,
                   int num_threads, float* log_odds);

}  // namespace snvrag
