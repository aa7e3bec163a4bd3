// Arguments of the searches, on the CPU and in CUDA alike.
#pragma once

#include <cstdint>

namespace snvrag {

// Haplotypes that a query must not use: (num_queries, num_columns) indices. An index that is no
// haplotype's, such as -1, excludes nothing.
struct Exclude {
  const std::int64_t* indices = nullptr;  // null only without columns
  std::int64_t num_columns = 0;

  // The same for the queries from `first` on.
  Exclude from(std::int64_t first) const { return {indices + first * num_columns, num_columns}; }
};

// `bits` are rows of haplotypes over all sites of the index (hidden sites are ignored), row_stride
// words apart. Requires 1 <= k <= num_haplotypes. The k nearest of the haplotypes that are not
// excluded are wanted; where fewer are left, the other places of the answer are unspecified.
struct HammingQueries {
  const std::uint64_t* bits = nullptr;
  std::int64_t num_queries = 0;
  std::int64_t row_stride = 0;
  std::int64_t k = 0;
  Exclude exclude;
};

// Vectors whose values are contiguous, row_stride floats from one vector to the next.
struct FloatRows {
  const float* data = nullptr;
  std::int64_t num_rows = 0;
  std::int64_t row_stride = 0;
};

// Requires 1 <= k <= database.num_rows; otherwise as HammingQueries.
struct L2Search {
  FloatRows queries;
  FloatRows database;
  std::int64_t num_dimensions = 0;
  std::int64_t k = 0;
  Exclude exclude;
};

}  // namespace snvrag
