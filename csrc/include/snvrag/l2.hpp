// Exact top-k by squared Euclidean distance over dense float32 vectors.
#pragma once

#include <cstdint>

#include "snvrag/hamming.hpp"

namespace snvrag {

enum class L2Result { ok, cancelled, not_a_number };

// Rows of `queries` and `cache` have num_dimensions floats, contiguous within a row, rows `stride`
// floats apart. Outputs as in HammingIndex::search. Distances are sums of squared differences in
// float32, so equal rows are at exactly 0 and the result does not depend on the number of threads.
// Memory: a block of num_queries x 32 partial sums for each thread.
// Returns not_a_number if any distance was NaN; the outputs are then unspecified.
L2Result topk_l2(const float* queries, std::int64_t num_queries, std::int64_t query_stride,
                 const float* cache, std::int64_t num_rows, std::int64_t cache_stride,
                 std::int64_t num_dimensions, std::int64_t k, const std::int64_t* exclude,
                 std::int64_t num_exclude, int num_threads, float* distances, std::int64_t* indices,
                 CancelFlag cancel = nullptr);

}  // namespace snvrag
