// Hamming distance over observed sites: the compacted panel and the search of it.
#include "cuda_api.hpp"
#include "launch.cuh"
#include "select.cuh"
#include "snvrag/bits.hpp"

namespace snvrag::cuda {
namespace {

// --- compaction ----------------------------------------------------------------------------------

// How to move the observed bits of a word to its low end. A bit moves down by the number of hidden
// bits below it, in steps of 1, 2, 4, ..., 32 of which step i is taken if bit i of that number is
// set; move[i] marks the bits that take step i, where they are by then. Bits keep their order, so
// none lands on another that stays.
struct WordPlan {
  std::uint64_t observed;
  std::uint64_t move[6];
  std::uint64_t unused;  // 64 bytes: four aligned vector loads
};

// A plan in memory: the header, then num_words(num_sites) WordPlans.
struct PlanHeader {
  std::uint64_t num_observed;
  std::uint64_t unused[7];
};

static_assert(sizeof(WordPlan) == 64 && sizeof(PlanHeader) == 64, "plan_size counts on it");

__device__ inline WordPlan make_word_plan(std::uint64_t observed) {
  WordPlan plan = {observed, {0, 0, 0, 0, 0, 0}, 0};
  unsigned hidden_below = 0;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if ((observed >> bit & 1) == 0) {
      ++hidden_below;
      continue;
    }
    unsigned at = bit;
    for (unsigned step = 0; step < 6; ++step) {
      if (hidden_below >> step & 1) {
        plan.move[step] |= std::uint64_t{1} << at;
        at -= 1u << step;
      }
    }
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

// One thread block; a thread makes whole words.
__global__ void __launch_bounds__(kPlanThreads)
    plan_compaction(const std::uint8_t* observed, std::int64_t num_sites, std::int64_t num_words,
                    PlanHeader* header, WordPlan* plan) {
  __shared__ unsigned long long num_observed;
  if (threadIdx.x == 0) num_observed = 0;
  __syncthreads();
  for (std::int64_t w = threadIdx.x; w < num_words; w += kPlanThreads) {
    const std::int64_t first = w * kWordBits;
    const std::int64_t count = smaller(kWordBits, num_sites - first);
    std::uint64_t bits = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const bool is_observed = observed == nullptr || observed[first + i] != 0;
      bits |= static_cast<std::uint64_t>(is_observed) << i;
    }
    plan[w] = make_word_plan(bits);
    atomicAdd(&num_observed, static_cast<unsigned long long>(__popcll(bits)));
  }
  __syncthreads();
  if (threadIdx.x == 0) *header = {num_observed, {0, 0, 0, 0, 0, 0, 0}};
}

constexpr int kCompactThreads = 128;  // rows of a thread block
constexpr int kStagedWords = 8;

// Rows of bits to compacted words, word-major: a thread makes a row. Columns of `out` from num_rows
// to the pitch become zero. Words go through shared memory because reading a row in each thread
// would touch 128 rows at once; one word of padding a row keeps its banks apart.
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

WordPlan* word_plans(const HammingIndex& index) {
  return reinterpret_cast<WordPlan*>(index.plan) + 1;
}

void compact(const std::uint64_t* rows, std::int64_t num_rows, std::int64_t row_stride,
             const HammingIndex& index, std::uint64_t* out, std::int64_t pitch,
             cudaStream_t stream) {
  launch("compaction", compact_rows, ceil_divide<std::int64_t>(pitch, kCompactThreads),
         kCompactThreads, 0, stream, rows, num_rows, row_stride, num_words(index.num_sites),
         word_plans(index), out, pitch, index.max_words);
}

// --- distances -----------------------------------------------------------------------------------

constexpr int kDistanceThreads = 128;
constexpr int kOwnHaplotypes = 2;  // of a thread: a vector load takes a word of both
constexpr int kTileQueries = 16;
constexpr int kTileWords = 64;
constexpr std::int64_t kTileHaplotypes = kDistanceThreads * kOwnHaplotypes;

template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T first, second;
};

// Distances of num_rows queries to all haplotypes, to rows of `pitch` values; queries and
// haplotypes are both word-major. A thread keeps the counts of its two haplotypes with each query
// of the tile in registers, so a word of the panel is read once for 16 queries. Thread blocks of
// the same haplotypes have neighbouring numbers: the panel comes from memory about once, and from
// the second-level cache after that.
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
  const std::int64_t in_use =
      ceil_divide(static_cast<std::int64_t>(header->num_observed), kWordBits);
  const std::int64_t num_words = smaller(in_use, max_words);
  unsigned counts[kTileQueries][kOwnHaplotypes] = {};
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
      for (int w = 0; w < num_staged; ++w) {
        const ulonglong2 own =
            *reinterpret_cast<const ulonglong2*>(words + (first + w) * pitch + haplotype);
#pragma unroll
        for (int q = 0; q < kTileQueries; ++q) {
          counts[q][0] += static_cast<unsigned>(__popcll(own.x ^ tile[w][q]));
          counts[q][1] += static_cast<unsigned>(__popcll(own.y ^ tile[w][q]));
        }
      }
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

// A value above every distance, for excluded haplotypes.
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

std::size_t query_bytes(const HammingIndex& index, std::int64_t num_queries) {
  return round_up(static_cast<std::size_t>(index.max_words * num_queries) * sizeof(std::uint64_t),
                  kWorkspaceAlignment);
}

template <class T>
void search(const HammingIndex& index, const SelectPlan& plan, const std::uint64_t* queries,
            std::int64_t num_queries, T* block, void* partial, const std::int64_t* exclude,
            std::int64_t num_exclude, std::int32_t* distances, std::int64_t* indices,
            cudaStream_t stream) {
  const std::int64_t pitch = row_pitch(index.num_haplotypes);
  for (std::int64_t first = 0; first < num_queries; first += plan.batch) {
    const std::int64_t num_rows = smaller(plan.batch, num_queries - first);
    const std::int64_t num_tiles = ceil_divide<std::int64_t>(num_rows, kTileQueries);
    launch("Hamming distances", hamming_distances<T>,
           num_tiles * ceil_divide(pitch, kTileHaplotypes), kDistanceThreads, 0, stream,
           reinterpret_cast<const PlanHeader*>(index.plan), index.words, pitch, index.max_words,
           queries + first, num_queries, num_rows, num_tiles, block);
    select_rows(plan, block, num_rows, static_cast<T>(excluded_distance(index)),
                exclude == nullptr ? nullptr : exclude + first * num_exclude, num_exclude, partial,
                reinterpret_cast<std::uint32_t*>(distances) + first * plan.k,
                indices + first * plan.k, stream);
  }
}

}  // namespace

std::int64_t row_pitch(std::int64_t num_rows) { return round_up(num_rows, kRowAlignment); }

std::int64_t plan_size(std::int64_t num_sites) {
  return static_cast<std::int64_t>(sizeof(WordPlan) / sizeof(std::uint64_t)) *
         (num_words(num_sites) + 1);
}

void hamming_index_build(const std::uint64_t* panel, std::int64_t row_stride,
                         const std::uint8_t* observed, const HammingIndex& index,
                         cudaStream_t stream) {
  launch("compaction plan", plan_compaction, 1, kPlanThreads, 0, stream, observed, index.num_sites,
         num_words(index.num_sites), reinterpret_cast<PlanHeader*>(index.plan), word_plans(index));
  compact(panel, index.num_haplotypes, row_stride, index, index.words,
          row_pitch(index.num_haplotypes), stream);
}

std::size_t hamming_workspace_bytes(const HammingIndex& index, std::int64_t num_queries,
                                    std::int64_t k, std::size_t block_bytes) {
  return query_bytes(index, num_queries) + plan_search(index, num_queries, k, block_bytes).bytes();
}

void hamming_search(const HammingIndex& index, const std::uint64_t* queries,
                    std::int64_t num_queries, std::int64_t row_stride, std::int64_t k,
                    const std::int64_t* exclude, std::int64_t num_exclude, void* workspace,
                    std::size_t block_bytes, std::int32_t* distances, std::int64_t* indices,
                    cudaStream_t stream) {
  if (num_queries == 0) return;
  const SelectPlan plan = plan_search(index, num_queries, k, block_bytes);
  auto* compacted = static_cast<std::uint64_t*>(workspace);
  char* block = static_cast<char*>(workspace) + query_bytes(index, num_queries);
  char* partial = block + plan.block_bytes;
  compact(queries, num_queries, row_stride, index, compacted, num_queries, stream);
  if (fits_16_bits(index)) {
    search(index, plan, compacted, num_queries, reinterpret_cast<std::uint16_t*>(block), partial,
           exclude, num_exclude, distances, indices, stream);
  } else {
    search(index, plan, compacted, num_queries, reinterpret_cast<std::uint32_t*>(block), partial,
           exclude, num_exclude, distances, indices, stream);
  }
}

}  // namespace snvrag::cuda
