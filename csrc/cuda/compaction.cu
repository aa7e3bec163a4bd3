// Compacts the observed sites of a panel, stored by haplotypes or by sites, to the words of an
// index.
#include "compaction.cuh"
#include "cuda_api.hpp"
#include "launch.cuh"
#include "scan.cuh"

namespace snvrag::cuda {
namespace {

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = 0xffffffff;

// --- the plan ------------------------------------------------------------------------------------

// Finds the bits that move down by 1, 2, 4, ... to close the gaps (Warren, Hacker's Delight, 7-4).
__device__ inline WordPlan make_word_plan(std::uint64_t observed) {
  WordPlan plan = {observed, {0, 0, 0, 0, 0, 0}, 0};
  std::uint64_t bits = observed, zeros_below = ~observed << 1;
#pragma unroll
  for (int step = 0; step < 6; ++step) {
    std::uint64_t parity = zeros_below;
#pragma unroll
    for (int shift = 1; shift < 64; shift *= 2) parity ^= parity << shift;
    const std::uint64_t moving = parity & bits;
    plan.move[step] = moving;
    bits = (bits ^ moving) | moving >> (1 << step);
    zeros_below &= ~parity;
  }
  return plan;
}

__device__ inline std::uint64_t compact_word(std::uint64_t word, const WordPlan& plan) {
  word &= plan.observed;
#pragma unroll
  for (int step = 0; step < 6; ++step) {
    const std::uint64_t moving = word & plan.move[step];
    word = (word ^ moving) | moving >> (1 << step);
  }
  return word;
}

constexpr int kPlanThreads = 256;

// Runs as one thread block. A warp reads the mask of a word, whose bytes are adjacent; then a
// thread makes the plan of a word.
__global__ void __launch_bounds__(kPlanThreads)
    plan_compaction(const std::uint8_t* observed, std::int64_t num_sites, std::int64_t num_words,
                    PlanHeader* header, WordPlan* plans, std::int32_t* sites) {
  __shared__ std::uint64_t masks[kPlanThreads];
  __shared__ unsigned sums[kPlanThreads];
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  unsigned before = 0;  // observed sites before the words of this round
  for (std::int64_t first = 0; first < num_words; first += kPlanThreads) {
    const int count = static_cast<int>(smaller<std::int64_t>(kPlanThreads, num_words - first));
    for (int w = warp; w < count; w += kPlanThreads / kWarpSize) {
      unsigned halves[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::int64_t site = (first + w) * kWordBits + half * kWarpSize + lane;
        halves[half] = __ballot_sync(
            kAllLanes, site < num_sites && (observed == nullptr || observed[site] != 0));
      }
      if (lane == 0) masks[w] = halves[0] | static_cast<std::uint64_t>(halves[1]) << 32;
    }
    __syncthreads();
    const int w = static_cast<int>(threadIdx.x);
    const std::uint64_t mask = w < count ? masks[w] : 0;
    const unsigned own = static_cast<unsigned>(__popcll(mask));
    const unsigned through = inclusive_sum<kPlanThreads>(own, sums);
    if (w < count) {
      plans[first + w] = make_word_plan(mask);
      std::int32_t* place = sites + before + (through - own);
      const auto word_start = static_cast<std::int32_t>((first + w) * kWordBits);
      for (std::uint64_t rest = mask; rest != 0; rest &= rest - 1) {
        *place++ = word_start + __popcll(~rest & (rest - 1));  // zeros below the lowest one
      }
    }
    before += sums[kPlanThreads - 1];
    __syncthreads();  // the next round overwrites the masks and sums
  }
  if (threadIdx.x == 0) *header = {before, {0, 0, 0, 0, 0, 0, 0}};
}

// --- from rows of haplotypes ---------------------------------------------------------------------

constexpr int kCompactThreads = 128;  // rows of a thread block
constexpr int kStagedWords = 8;

// Compacts rows of bits to words, word-major, one row for each thread. Columns of `out` from
// num_rows to the pitch become zero. Words are staged in shared memory because otherwise the
// threads would read 128 rows at once; a word of padding for each row avoids bank conflicts.
__global__ void __launch_bounds__(kCompactThreads)
    compact_rows(const std::uint64_t* rows, std::int64_t num_rows, std::int64_t row_stride,
                 std::int64_t num_words, const WordPlan* plan, std::uint64_t* out,
                 std::int64_t pitch, std::int64_t max_words) {
  __shared__ std::uint64_t staged[kCompactThreads][kStagedWords + 1];
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kCompactThreads;
  const std::int64_t row = first_row + threadIdx.x;
  std::uint64_t current = 0;  // the word being filled, and its bits in use, 0 to 63
  int filled = 0;
  std::int64_t written = 0;
  const auto write = [&] {
    if (row < pitch && written < max_words) out[written * pitch + row] = current;
    ++written;
  };
  for (std::int64_t first = 0; first < num_words; first += kStagedWords) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kCompactThreads * kStagedWords;
         i += kCompactThreads) {
      const int r = i / kStagedWords, w = i % kStagedWords;
      const bool inside = first_row + r < num_rows && first + w < num_words;
      staged[r][w] = inside ? rows[(first_row + r) * row_stride + first + w] : 0;
    }
    __syncthreads();
    for (int w = 0; w < kStagedWords && first + w < num_words; ++w) {
      const WordPlan word_plan = plan[first + w];
      const std::uint64_t packed = compact_word(staged[threadIdx.x][w], word_plan);
      current |= packed << filled;
      const int used = filled;
      filled += __popcll(word_plan.observed);
      if (filled >= kWordBits) {
        write();
        filled -= static_cast<int>(kWordBits);
        current = used > 0 ? packed >> (kWordBits - used) : 0;
      }
    }
  }
  if (filled > 0) write();
}

void compact(const HammingIndex& index, const std::uint64_t* rows, std::int64_t num_rows,
             std::int64_t row_stride, std::uint64_t* out, std::int64_t pitch, cudaStream_t stream) {
  launch("compaction", compact_rows, ceil_divide<std::int64_t>(pitch, kCompactThreads),
         kCompactThreads, 0, stream, rows, num_rows, row_stride, num_words(index.num_sites),
         word_plans(index), out, pitch, index.max_words);
}

// --- from rows of sites --------------------------------------------------------------------------

constexpr int kTransposeThreads = 128;
constexpr int kOwnColumns = 4;  // of a warp: entire 32-byte sectors, which the first-level cache
                                // keeps from one column to the next
constexpr int kTileColumns = kTransposeThreads / kWarpSize * kOwnColumns;

// Transposes 32 x 32 bits: lane i passes row i and receives column i.
__device__ inline std::uint32_t transpose_bits(std::uint32_t row, int lane) {
  std::uint32_t keep = 0xffffffff;  // bits whose number has a 0 where `step` has a 1
#pragma unroll
  for (int step = kWarpSize / 2; step > 0; step /= 2) {
    keep ^= keep << step;
    const std::uint32_t other = __shfl_xor_sync(kAllLanes, row, step);
    row = (lane & step) == 0 ? (row & keep) | (other & keep) << step
                             : (row & ~keep) | (other & ~keep) >> step;
  }
  return row;
}

// A thread block makes one compacted word of the haplotypes in kTileColumns words of the rows. A
// lane reads two of the word's 64 sites.
__global__ void __launch_bounds__(kTransposeThreads)
    transpose_sites(const std::uint64_t* rows, std::int64_t row_stride, std::int64_t num_columns,
                    std::int64_t num_tiles, const PlanHeader* header, const std::int32_t* sites,
                    std::uint64_t* out, std::int64_t num_haplotypes, std::int64_t pitch) {
  const std::int64_t w = blockIdx.x / num_tiles;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const auto num_observed = static_cast<std::int64_t>(header->num_observed);
  if (w * kWordBits >= num_observed) return;
  const std::uint64_t* own[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::int64_t place = w * kWordBits + half * kWarpSize + lane;
    own[half] = place < num_observed ? rows + sites[place] * row_stride : nullptr;
  }
  const std::int64_t first = blockIdx.x % num_tiles * kTileColumns + warp * kOwnColumns;
  for (std::int64_t column = first; column < smaller(first + kOwnColumns, num_columns); ++column) {
    const std::uint64_t low = own[0] == nullptr ? 0 : own[0][column];
    const std::uint64_t high = own[1] == nullptr ? 0 : own[1][column];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t a = transpose_bits(static_cast<std::uint32_t>(low >> 32 * half), lane);
      const std::uint32_t b = transpose_bits(static_cast<std::uint32_t>(high >> 32 * half), lane);
      const std::int64_t haplotype = column * kWordBits + half * kWarpSize + lane;
      const std::uint64_t word = a | static_cast<std::uint64_t>(b) << 32;
      out[w * pitch + haplotype] = haplotype < num_haplotypes ? word : 0;
    }
  }
}

static_assert(kRowAlignment == kWordBits, "columns of site rows end where the pitch does");

void make_plan(const std::uint8_t* observed, const HammingIndex& index, cudaStream_t stream) {
  launch("compaction plan", plan_compaction, 1, kPlanThreads, 0, stream, observed, index.num_sites,
         num_words(index.num_sites), plan_header(index), word_plans(index), observed_sites(index));
}

}  // namespace

std::int64_t row_pitch(std::int64_t num_rows) { return round_up(num_rows, kRowAlignment); }

std::int64_t plan_size(std::int64_t num_sites) {
  constexpr std::int64_t kWords = sizeof(WordPlan) / sizeof(std::uint64_t);
  return kWords * (num_words(num_sites) + 1) + ceil_divide<std::int64_t>(num_sites, 2);
}

void hamming_index_build(const std::uint64_t* panel, std::int64_t row_stride,
                         const std::uint8_t* observed, const HammingIndex& index,
                         cudaStream_t stream) {
  make_plan(observed, index, stream);
  compact(index, panel, index.num_haplotypes, row_stride, index.words,
          row_pitch(index.num_haplotypes), stream);
}

void hamming_index_build_from_sites(const std::uint64_t* site_bits, std::int64_t row_stride,
                                    const std::uint8_t* observed, const HammingIndex& index,
                                    cudaStream_t stream) {
  make_plan(observed, index, stream);
  const std::int64_t num_columns = num_words(index.num_haplotypes);
  const std::int64_t num_tiles = ceil_divide<std::int64_t>(num_columns, kTileColumns);
  launch("transposition", transpose_sites, index.max_words * num_tiles, kTransposeThreads, 0,
         stream, site_bits, row_stride, num_columns, num_tiles, plan_header(index),
         observed_sites(index), index.words, index.num_haplotypes, row_pitch(index.num_haplotypes));
}

void compact_queries(const HammingIndex& index, const HammingQueries& queries,
                     std::uint64_t* compacted, cudaStream_t stream) {
  compact(index, queries.bits, queries.num_queries, queries.row_stride, compacted,
          queries.num_queries, stream);
}

}  // namespace snvrag::cuda
