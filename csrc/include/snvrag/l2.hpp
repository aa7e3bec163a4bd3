// Exact top-k by squared Euclidean distance over dense float32 vectors.
#pragma once

#include <cstdint>

#include "snvrag/cancel.hpp"
#include "snvrag/search.hpp"

namespace snvrag {

enum class L2Result { ok, cancelled, not_a_number };

// Outputs as in HammingIndex::search. Distances are sums of squared differences in float32, so
// equal rows are at exactly 0 and the result does not depend on the number of threads.
// Memory: a copy of the queries, and num_queries x 32 partial sums for each thread.
// Returns not_a_number if any distance was NaN; the outputs are then unspecified.
L2Result topk_l2(const L2Search& search, int num_threads, float* distances, std::int64_t* indices,
                 CancelFlag cancel = nullptr);

}  // namespace snvrag
