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
constexpr int kOwn = 4;         // a thread makes 4 x 4 distances
constexpr int kPadding = 4;     // floats: see load_tile
constexpr int kThreadsAcross = kTileRows / kOwn;

static_assert(kThreads == kThreadsAcross * (kTileQueries / kOwn), "threads cover the tile");

// Puts rows [first_row, first_row + kRows) x dimensions [first, first + kTileDepth) to shared
// memory, dimension-major; what lies outside becomes 0, which adds nothing to a distance. A warp
// takes 4 rows x 8 dimensions: whole 32-byte sectors of memory, and 32 different banks, as a
// dimension is a multiple of 4 floats, but not of 8, from the next.
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
    tile[d][r] = inside ? source.data[(first_row + r) * source.stride + first + d] : 0.0f;
  }
}

__device__ inline void load_four(const float* from, float (&to)[kOwn]) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  to[0] = four.x;
  to[1] = four.y;
  to[2] = four.z;
  to[3] = four.w;
}

// Distances of a batch of queries to all rows of the cache, as the bits of floats, which order as
// the floats do because none is negative. Sums are taken per kTileDepth dimensions first: their
// rounding errors grow with the number of tiles and not with that of dimensions.
__global__ void __launch_bounds__(kThreads)
    l2_distances(FloatRows queries, FloatRows cache, std::int64_t num_dimensions,
                 std::int64_t first_query_of_batch, std::int64_t num_tiles, std::int64_t pitch,
                 std::uint32_t* block, unsigned long long* first_nan) {
  __shared__ __align__(16) float query_tile[kTileDepth][kTileQueries + kPadding];
  __shared__ __align__(16) float cache_tile[kTileDepth][kTileRows + kPadding];
  const std::int64_t first_query = blockIdx.x % num_tiles * kTileQueries;
  const std::int64_t first_row = blockIdx.x / num_tiles * kTileRows;
  const int own_query = static_cast<int>(threadIdx.x) / kThreadsAcross * kOwn;
  const int own_row = static_cast<int>(threadIdx.x) % kThreadsAcross * kOwn;
  float sums[kOwn][kOwn] = {};
  for (std::int64_t first = 0; first < num_dimensions; first += kTileDepth) {
    __syncthreads();
    load_tile<kTileQueries>(queries, first_query, first, num_dimensions, query_tile);
    load_tile<kTileRows>(cache, first_row, first, num_dimensions, cache_tile);
    __syncthreads();
    float partial[kOwn][kOwn] = {};
#pragma unroll 8
    for (int d = 0; d < kTileDepth; ++d) {
      float query[kOwn], row[kOwn];
      load_four(&query_tile[d][own_query], query);
      load_four(&cache_tile[d][own_row], row);
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
      if (row >= cache.num_rows) continue;
      block[query * pitch + row] = __float_as_uint(sums[q][r]);
      if (isnan(sums[q][r])) {
        atomicMin(first_nan, static_cast<unsigned long long>(
                                 (first_query_of_batch + query) * cache.num_rows + row));
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

void topk_l2(const FloatRows& queries, const FloatRows& cache, std::int64_t num_dimensions,
             std::int64_t k, const std::int64_t* exclude, std::int64_t num_exclude, void* workspace,
             std::size_t block_bytes, float* distances, std::int64_t* indices,
             std::uint64_t* first_nan, cudaStream_t stream) {
  check(cudaMemsetAsync(first_nan, 0xff, sizeof *first_nan, stream), "topk_l2");
  if (queries.num_rows == 0) return;
  const SelectPlan plan = plan_search(queries.num_rows, cache.num_rows, k, block_bytes);
  auto* block = static_cast<std::uint32_t*>(workspace);
  char* partial = static_cast<char*>(workspace) + plan.block_bytes;
  constexpr std::uint32_t kExcluded = 0xffffffff;  // above the bits of every number
  for (std::int64_t first = 0; first < queries.num_rows; first += plan.batch) {
    const FloatRows batch = {queries.data + first * queries.stride,
                             smaller(plan.batch, queries.num_rows - first), queries.stride};
    const std::int64_t num_tiles = ceil_divide<std::int64_t>(batch.num_rows, kTileQueries);
    launch("L2 distances", l2_distances,
           num_tiles * ceil_divide<std::int64_t>(cache.num_rows, kTileRows), kThreads, 0, stream,
           batch, cache, num_dimensions, first, num_tiles, plan.pitch, block,
           reinterpret_cast<unsigned long long*>(first_nan));
    select_rows(plan, block, batch.num_rows, kExcluded,
                exclude == nullptr ? nullptr : exclude + first * num_exclude, num_exclude, partial,
                reinterpret_cast<std::uint32_t*>(distances) + first * k, indices + first * k,
                stream);
  }
}

}  // namespace snvrag::cuda
