// The search by Hamming distance over observed sites.
#include "compaction.cuh"
#include "cuda_api.hpp"
#include "launch.cuh"
#include "select.cuh"

namespace snvrag::cuda {
namespace {

// --- distances -----------------------------------------------------------------------------------

constexpr int kDistanceThreads = 128;
constexpr int kOwnHaplotypes = 2;  // of a thread: a vector load takes a word of both
constexpr int kTileQueries = 16;
constexpr int kWordsAtOnce = 3;  // see add_words
constexpr int kTileWords = 48;
constexpr std::int64_t kTileHaplotypes = kDistanceThreads * kOwnHaplotypes;

using Counts = unsigned[kTileQueries][kOwnHaplotypes];

// Returns the bits set in at least two of three words. Without the assembly, the compiler
// recomputes the exclusive ors that made the words, and needs eight instructions instead of five.
__device__ inline std::uint32_t majority(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
#if defined(__CUDA_ARCH__)
  std::uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xe8;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
#else
  return (a & b) | (a & c) | (b & c);
#endif
}

__device__ inline std::uint64_t majority(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  const auto low = [](std::uint64_t word) { return static_cast<std::uint32_t>(word); };
  const auto high = [](std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); };
  return majority(low(a), low(b), low(c)) |
         static_cast<std::uint64_t>(majority(high(a), high(b), high(c))) << 32;
}

// Adds the differing bits of some words of the thread's two haplotypes. A population count takes
// four times as long as an addition or a function of three bits. Three words are therefore reduced
// to two, parity and majority, which are counted: 8 cycles for a query and haplotype instead of the
// 12 of three counts.
template <int kNumWords>
__device__ void add_words(const std::uint64_t* words, std::int64_t pitch,
                          const std::uint64_t (*queries)[kTileQueries], Counts& counts) {
  static_assert(kNumWords == 1 || kNumWords == kWordsAtOnce, "only these are implemented");
  std::uint64_t own[kNumWords][kOwnHaplotypes];
#pragma unroll
  for (int w = 0; w < kNumWords; ++w) {
    const ulonglong2 both = *reinterpret_cast<const ulonglong2*>(words + w * pitch);
    own[w][0] = both.x;
    own[w][1] = both.y;
  }
#pragma unroll
  for (int q = 0; q < kTileQueries; ++q) {
#pragma unroll
    for (int h = 0; h < kOwnHaplotypes; ++h) {
      const std::uint64_t a = own[0][h] ^ queries[0][q];
      if constexpr (kNumWords == 1) {
        counts[q][h] += static_cast<unsigned>(__popcll(a));
      } else {
        const std::uint64_t b = own[1][h] ^ queries[1][q], c = own[2][h] ^ queries[2][q];
        counts[q][h] +=
            static_cast<unsigned>(__popcll(a ^ b ^ c) + 2 * __popcll(majority(a, b, c)));
      }
    }
  }
}

static_assert(kTileWords % kWordsAtOnce == 0, "only the last tile has words left over");

// Writes the distances of num_rows queries to all haplotypes, in rows of `pitch` values; queries
// and haplotypes are both word-major. A thread keeps the counts of its two haplotypes with each
// query of the tile in registers, so a word of the panel is read once for 16 queries. Thread blocks
// of the same haplotypes have consecutive numbers, so that the panel is read from memory about
// once, and then from the second-level cache.
template <class T>
__global__ void __launch_bounds__(kDistanceThreads)
    hamming_distances(const PlanHeader* header, const std::uint64_t* words, std::int64_t pitch,
                      std::int64_t max_words, const std::uint64_t* queries,
                      std::int64_t query_pitch, std::int64_t num_rows, std::int64_t num_tiles,
                      T* block) {
  __shared__ __align__(16) std::uint64_t tile[kTileWords][kTileQueries];
  const std::int64_t first_query = blockIdx.x % num_tiles * kTileQueries;
  const std::int64_t haplotype =
      blockIdx.x / num_tiles * kTileHaplotypes + static_cast<int>(threadIdx.x) * kOwnHaplotypes;
  const std::int64_t num_words = words_in_use(*header, max_words);
  Counts counts = {};
  for (std::int64_t first = 0; first < num_words; first += kTileWords) {
    const int num_staged = static_cast<int>(smaller<std::int64_t>(kTileWords, num_words - first));
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < num_staged * kTileQueries;
         i += kDistanceThreads) {
      const int w = i / kTileQueries, q = i % kTileQueries;
      const bool inside = first_query + q < num_rows;
      tile[w][q] = inside ? queries[(first + w) * query_pitch + first_query + q] : 0;
    }
    __syncthreads();
    if (haplotype < pitch) {
      const std::uint64_t* own = words + first * pitch + haplotype;
      int w = 0;
      for (; w + kWordsAtOnce <= num_staged; w += kWordsAtOnce) {
        add_words<kWordsAtOnce>(own + w * pitch, pitch, tile + w, counts);
      }
      for (; w < num_staged; ++w) add_words<1>(own + w * pitch, pitch, tile + w, counts);
    }
  }
  if (haplotype >= pitch) return;
#pragma unroll
  for (int q = 0; q < kTileQueries; ++q) {
    if (first_query + q < num_rows) {
      *reinterpret_cast<Pair<T>*>(block + (first_query + q) * pitch + haplotype) = {
          static_cast<T>(counts[q][0]), static_cast<T>(counts[q][1])};
    }
  }
}

// --- the search ----------------------------------------------------------------------------------

// Returns a value above every distance, for excluded haplotypes.
std::int64_t excluded_distance(const HammingIndex& index) {
  return index.max_words * kWordBits + 1;
}

bool fits_16_bits(const HammingIndex& index) { return excluded_distance(index) <= 0xffff; }

SelectPlan plan_search(const HammingIndex& index, std::int64_t num_queries, std::int64_t k,
                       std::size_t block_bytes) {
  return plan_selection(num_queries, index.num_haplotypes, k,
                        fits_16_bits(index) ? sizeof(std::uint16_t) : sizeof(std::uint32_t),
                        block_bytes);
}

template <class T>
void search(const HammingIndex& index, const HammingQueries& queries,
            const std::uint64_t* compacted, const Selection<T>& selection, cudaStream_t stream) {
  const std::int64_t pitch = row_pitch(index.num_haplotypes);
  for_each_batch(selection, queries.num_queries, stream, [&](std::int64_t first, std::int64_t n) {
    const std::int64_t num_tiles = ceil_divide<std::int64_t>(n, kTileQueries);
    launch("Hamming distances", hamming_distances<T>,
           num_tiles * ceil_divide(pitch, kTileHaplotypes), kDistanceThreads, 0, stream,
           plan_header(index), index.words, pitch, index.max_words, compacted + first,
           queries.num_queries, n, num_tiles, selection.block);
  });
}

}  // namespace

std::size_t hamming_workspace_bytes(const HammingIndex& index, std::int64_t num_queries,
                                    std::int64_t k, std::size_t block_bytes) {
  return query_bytes(index, num_queries) + plan_search(index, num_queries, k, block_bytes).bytes();
}

void hamming_search(const HammingIndex& index, const HammingQueries& queries,
                    const Workspace& workspace, std::int32_t* distances, std::int64_t* indices,
                    cudaStream_t stream) {
  if (queries.num_queries == 0) return;
  const SelectPlan plan = plan_search(index, queries.num_queries, queries.k, workspace.block_bytes);
  auto* compacted = static_cast<std::uint64_t*>(workspace.data);
  char* block = static_cast<char*>(workspace.data) + query_bytes(index, queries.num_queries);
  const std::int64_t excluded = excluded_distance(index);
  compact_queries(index, queries, compacted, stream);
  if (fits_16_bits(index)) {
    search(index, queries, compacted,
           make_selection(plan, block, static_cast<std::uint16_t>(excluded), queries.exclude,
                          distances, indices),
           stream);
  } else {
    search(index, queries, compacted,
           make_selection(plan, block, static_cast<std::uint32_t>(excluded), queries.exclude,
                          distances, indices),
           stream);
  }
}

}  // namespace snvrag::cuda
