// Squared Euclidean distances of float32 vectors, and the search by them.
#include "cuda_api.hpp"
#include "launch.cuh"
#include "select.cuh"

namespace snvrag::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarpSize = 32;
constexpr int kTileQueries = 32;
constexpr int kTileRows = 64;
constexpr int kTileDepth = 32;  // dimensions in shared memory at a time
constexpr int kOwn = 4;         // a thread computes 4 x 4 distances
constexpr int kPadding = 4;     // floats: see load_tile
constexpr int kThreadsAcross = kTileRows / kOwn;

static_assert(kThreads == kThreadsAcross * (kTileQueries / kOwn), "threads cover the tile");

// Copies rows [first_row, first_row + kRows) x dimensions [first, first + kTileDepth) to shared
// memory, dimension-major; values outside become 0, which adds nothing to a distance. A warp takes
// 4 rows x 8 dimensions: entire 32-byte sectors of memory, and 32 different banks, because the
// distance between dimensions is a multiple of 4 floats, but not of 8.
template <int kRows>
__device__ void load_tile(const FloatRows& source, std::int64_t first_row, std::int64_t first,
                          std::int64_t num_dimensions, float (*tile)[kRows + kPadding]) {
  static_assert((kRows + kPadding) % 8 == 4, "banks");
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
#pragma unroll 4
  for (int part = warp; part < kRows / 4 * (kTileDepth / 8); part += kThreads / kWarpSize) {
    const int r = part / (kTileDepth / 8) * 4 + lane / 8;
    const int d = part % (kTileDepth / 8) * 8 + lane % 8;
    const bool inside = first_row + r < source.num_rows && first + d < num_dimensions;
    tile[d][r] = inside ? source.data[(first_row + r) * source.row_stride + first + d] : 0.0f;
  }
}

__device__ inline void load_four(const float* from, float (&to)[kOwn]) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  to[0] = four.x;
  to[1] = four.y;
  to[2] = four.z;
  to[3] = four.w;
}

// Writes the distances of a batch of queries to all rows of the database, as the bits of floats,
// which are ordered as the floats are because none is negative. Sums over kTileDepth dimensions are
// summed in turn, so that rounding errors grow with the number of tiles, not of dimensions.
__global__ void __launch_bounds__(kThreads)
    l2_distances(FloatRows queries, FloatRows database, std::int64_t num_dimensions,
                 std::int64_t first_query_of_batch, std::int64_t num_tiles, std::int64_t pitch,
                 std::uint32_t* block, unsigned long long* first_nan) {
  __shared__ __align__(16) float query_tile[kTileDepth][kTileQueries + kPadding];
  __shared__ __align__(16) float row_tile[kTileDepth][kTileRows + kPadding];
  const std::int64_t first_query = blockIdx.x % num_tiles * kTileQueries;
  const std::int64_t first_row = blockIdx.x / num_tiles * kTileRows;
  const int own_query = static_cast<int>(threadIdx.x) / kThreadsAcross * kOwn;
  const int own_row = static_cast<int>(threadIdx.x) % kThreadsAcross * kOwn;
  float sums[kOwn][kOwn] = {};
  for (std::int64_t first = 0; first < num_dimensions; first += kTileDepth) {
    __syncthreads();
    load_tile<kTileQueries>(queries, first_query, first, num_dimensions, query_tile);
    load_tile<kTileRows>(database, first_row, first, num_dimensions, row_tile);
    __syncthreads();
    float partial[kOwn][kOwn] = {};
#pragma unroll 8
    for (int d = 0; d < kTileDepth; ++d) {
      float query[kOwn], row[kOwn];
      load_four(&query_tile[d][own_query], query);
      load_four(&row_tile[d][own_row], row);
#pragma unroll
      for (int q = 0; q < kOwn; ++q) {
#pragma unroll
        for (int r = 0; r < kOwn; ++r) {
          const float difference = query[q] - row[r];
          partial[q][r] = fmaf(difference, difference, partial[q][r]);
        }
      }
    }
#pragma unroll
    for (int q = 0; q < kOwn; ++q) {
#pragma unroll
      for (int r = 0; r < kOwn; ++r) sums[q][r] += partial[q][r];
    }
  }
#pragma unroll
  for (int q = 0; q < kOwn; ++q) {
    const std::int64_t query = first_query + own_query + q;
    if (query >= queries.num_rows) continue;
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
      const std::int64_t row = first_row + own_row + r;
      if (row >= database.num_rows) continue;
      block[query * pitch + row] = __float_as_uint(sums[q][r]);
      if (isnan(sums[q][r])) {
        atomicMin(first_nan, static_cast<unsigned long long>(
                                 (first_query_of_batch + query) * database.num_rows + row));
      }
    }
  }
}

SelectPlan plan_search(std::int64_t num_queries, std::int64_t num_rows, std::int64_t k,
                       std::size_t block_bytes) {
  return plan_selection(num_queries, num_rows, k, sizeof(std::uint32_t), block_bytes);
}

}  // namespace

std::size_t l2_workspace_bytes(std::int64_t num_queries, std::int64_t num_rows, std::int64_t k,
                               std::size_t block_bytes) {
  return plan_search(num_queries, num_rows, k, block_bytes).bytes();
}

void topk_l2(const L2Search& search, const Workspace& workspace, float* distances,
             std::int64_t* indices, std::uint64_t* first_nan, cudaStream_t stream) {
  check(cudaMemsetAsync(first_nan, 0xff, sizeof *first_nan, stream), "topk_l2");
  const std::int64_t num_queries = search.queries.num_rows, num_rows = search.database.num_rows;
  if (num_queries == 0) return;
  constexpr std::uint32_t kExcluded = 0xffffffff;  // above the bits of every number
  const auto selection = make_selection(
      plan_search(num_queries, num_rows, search.k, workspace.block_bytes),
      static_cast<char*>(workspace.data), kExcluded, search.exclude, distances, indices);
  for_each_batch(selection, num_queries, stream, [&](std::int64_t first, std::int64_t n) {
    FloatRows batch = search.queries;
    batch.data += first * batch.row_stride;
    batch.num_rows = n;
    const std::int64_t num_tiles = ceil_divide<std::int64_t>(n, kTileQueries);
    launch("L2 distances", l2_distances, num_tiles * ceil_divide<std::int64_t>(num_rows, kTileRows),
           kThreads, 0, stream, batch, search.database, search.num_dimensions, first, num_tiles,
           selection.plan.pitch, selection.block, reinterpret_cast<unsigned long long*>(first_nan));
  });
}

}  // namespace snvrag::cuda
