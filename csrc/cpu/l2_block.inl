// Sums of squared differences of tiles of queries and rows; see kernels.inl for what a level
// provides.

namespace snvrag::SNVRAG_LEVEL {
namespace {

// Floats from the sums of one query to those of the next.
constexpr std::int64_t kQuerySums = kL2RowsAtOnce * kFloatLanes;

Floats zero_floats() { return Floats{}; }

template <int NQ, int NR>
void l2_tile(const L2Block& block, std::int64_t first_query, std::int64_t row) {
  const float* rows = block.rows + row * block.row_stride;
  const float* query[NQ];
  float* lanes[NQ];
  Floats sum[NQ][NR];
  for (int q = 0; q < NQ; ++q) {
    const std::int64_t chosen = block.chosen[first_query + q];
    query[q] = block.queries + chosen * block.query_stride;
    lanes[q] = block.lanes + chosen * kQuerySums + row * kFloatLanes;
    for (int r = 0; r < NR; ++r) {
      sum[q][r] = block.is_first ? zero_floats() : load_floats(lanes[q] + r * kFloatLanes);
    }
  }
  const std::int64_t whole = block.num_dimensions - block.num_dimensions % kFloatLanes;
  for (std::int64_t d = 0; d < whole; d += kFloatLanes) {
    Floats values[NR];
    for (int r = 0; r < NR; ++r) values[r] = load_floats(rows + r * block.row_stride + d);
    for (int q = 0; q < NQ; ++q) {
      const Floats value = load_floats(query[q] + d);
      for (int r = 0; r < NR; ++r) sum[q][r] = add_squared_difference(sum[q][r], value, values[r]);
    }
  }
  for (int q = 0; q < NQ; ++q) {
    for (int r = 0; r < NR; ++r) {
      float* mine = lanes[q] + r * kFloatLanes;
      store_floats(mine, sum[q][r]);
      for (std::int64_t d = whole; d < block.num_dimensions; ++d) {
        const float difference = query[q][d] - rows[r * block.row_stride + d];
        mine[d - whole] += difference * difference;
      }
    }
  }
}

// Prefetches a part of the next rows while others are processed: no hardware prefetcher recognises
// rows so far apart.
void fetch_rows(const L2Block& block, std::int64_t row, std::int64_t part, std::int64_t num_parts) {
  constexpr std::int64_t kLineFloats = 16;
  const std::int64_t begin = block.num_dimensions * part / num_parts;
  const std::int64_t end = block.num_dimensions * (part + 1) / num_parts;
  for (std::int64_t r = row; r < row + kL2Rows && r < block.num_rows; ++r) {
    for (std::int64_t d = begin; d < end; d += kLineFloats) {
      __builtin_prefetch(block.rows + r * block.row_stride + d, 0, 2);
    }
  }
}

template <int NR>
void l2_rows(const L2Block& block, std::int64_t row) {
  const std::int64_t num_tiles = block.num_chosen / kL2Queries;
  for (std::int64_t tile = 0; tile < num_tiles; ++tile) {
    fetch_rows(block, row + NR, tile, num_tiles);
    l2_tile<kL2Queries, NR>(block, tile * kL2Queries, row);
  }
  for (std::int64_t query = num_tiles * kL2Queries; query < block.num_chosen; ++query) {
    l2_tile<1, NR>(block, query, row);
  }
}

void l2_block(const L2Block& block) {
  std::int64_t row = 0;
  for (; row + kL2Rows <= block.num_rows; row += kL2Rows) l2_rows<kL2Rows>(block, row);
  for (; row < block.num_rows; ++row) l2_rows<1>(block, row);
}

void l2_sums(const float* lanes, std::int64_t n, float* sums) {
  for (std::int64_t i = 0; i < n; ++i) {
    sums[i] = horizontal_sum(load_floats(lanes + i * kFloatLanes));
  }
}

bool has_nan(const float* values, std::int64_t n) {
  bool found = false;
  for (std::int64_t i = 0; i < n; ++i) found |= values[i] != values[i];
  return found;
}

}  // namespace
}  // namespace snvrag::SNVRAG_LEVEL
