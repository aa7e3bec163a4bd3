// The search by weighted Hamming distance.
//
// Weights become integers (multiples of 2^-exponent with a sum of about 2^30; see HammingIndex in
// snvrag/hamming.hpp), so a distance is an exact sum, whatever the order of summation, and rounded
// to float32 once.
//
// The differences of query and haplotype at five sites are a number below 32, the index of a table
// in shared memory of sums of these sites' weights. All lanes of a warp read the same table of 32
// entries, one in each bank, without conflicts whatever the data. A lookup of 5 sites takes a
// shift, an AND, a load and half an addition (of three terms). A word of 64 sites takes 13 lookups
// and two XORs: for 32 pairs, 13 cycles of the load pipe (32 lanes a cycle on each multiprocessor)
// and 17 of the integer pipe (64 lanes). Tables of 4 bits would need 16 lookups; tables of 6 bits
// have two entries in each bank, and conflict. Adding site by site would take 64 times 2 to 3
// instructions; a population count for each of 30 bits of the weights, 60 at 16 lanes a cycle.
// Tensor cores (four products of bytes) would pay only for far more queries than a batch has.
#include <cfloat>

#include "compaction.cuh"
#include "cuda_api.hpp"
#include "launch.cuh"
#include "select.cuh"

namespace snvrag::cuda {
namespace {

constexpr int kGroupBits = 5;
constexpr int kGroupEntries = 1 << kGroupBits;
constexpr int kGroups = ceil_divide(static_cast<int>(kWordBits), kGroupBits);
constexpr int kWordEntries = kGroups * kGroupEntries;  // in the tables of a word: 1,664 bytes

// --- weights to tables ---------------------------------------------------------------------------

// The value of 1 in sums of integer weights.
struct WeightUnit {
  float value;
};

constexpr int kWeighThreads = 1024;

// Runs as one thread block. The total is summed in the order of the sites, as on the CPU: another
// order may round to the other side of a power of two, and give another exponent.
__global__ void __launch_bounds__(kWeighThreads)
    weigh_sites(const float* weights, const PlanHeader* header, const std::int32_t* sites,
                std::int64_t max_words, WeightUnit* unit, std::uint32_t* tables) {
  __shared__ float staged[kWeighThreads];
  __shared__ double power;  // 2^exponent
  const auto num_observed = static_cast<std::int64_t>(header->num_observed);
  double total = 0;
  bool valid = true;
  for (std::int64_t first = 0; first < num_observed; first += kWeighThreads) {
    const int count = static_cast<int>(smaller<std::int64_t>(kWeighThreads, num_observed - first));
    const int own = static_cast<int>(threadIdx.x);
    __syncthreads();
    if (own < count) staged[own] = weights[sites[first + own]];
    __syncthreads();
    if (own == 0) {
#pragma unroll 16
      for (int i = 0; i < count; ++i) {
        total += static_cast<double>(staged[i]);
        valid = valid && staged[i] >= 0;
      }
    }
  }
  if (threadIdx.x == 0) {
    valid = valid && total <= static_cast<double>(FLT_MAX);
    const int exponent = valid && total > 0 ? smaller(29 - ilogb(total), 126) : 0;
    power = valid ? ldexp(1.0, exponent) : 0.0;
    // The host could not check the weights: invalid ones make all distances NaN.
    unit->value = valid ? ldexpf(1.0f, -exponent) : nanf("");
  }
  __syncthreads();
  const std::int64_t num_entries = words_in_use(*header, max_words) * kWordEntries;
  for (std::int64_t i = threadIdx.x; i < num_entries; i += kWeighThreads) {
    const auto entry = static_cast<unsigned>(i % kGroupEntries);
    const int group = static_cast<int>(i / kGroupEntries % kGroups);
    std::uint32_t sum = 0;
#pragma unroll
    for (int bit = 0; bit < kGroupBits; ++bit) {
      const std::int64_t place = i / kWordEntries * kWordBits + group * kGroupBits + bit;
      const bool inside = group * kGroupBits + bit < kWordBits && place < num_observed;
      if (!inside || (entry >> bit & 1) == 0 || power == 0) continue;
      // The product with a power of two is exact; the sum of all weights is at most 2^30.
      sum += static_cast<std::uint32_t>(llrint(static_cast<double>(weights[sites[place]]) * power));
    }
    tables[i] = sum;
  }
}

// --- distances -----------------------------------------------------------------------------------

constexpr int kDistanceThreads = 128;
constexpr int kOwnHaplotypes = 2;  // of a thread: a vector load takes a word of both
constexpr int kTileQueries = 8;
constexpr int kTileWords = 16;
constexpr std::int64_t kTileHaplotypes = kDistanceThreads * kOwnHaplotypes;

// Returns the sum of the weights of the sites that differ in one word, whose tables begin
// `first_byte` bytes after `tables`. Entries are addressed in bytes, which saves an instruction
// each.
__device__ inline std::uint32_t weigh_word(std::uint64_t differing, const std::uint32_t* tables,
                                           unsigned first_byte) {
  constexpr int kEntryShift = 2;  // of 4 bytes
  constexpr unsigned kEntryMask = (kGroupEntries - 1u) << kEntryShift;
  const char* bytes = reinterpret_cast<const char*>(tables);
  std::uint32_t sum = 0;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    const int shift = group * kGroupBits - kEntryShift;
    const std::uint64_t shifted = shift < 0 ? differing << -shift : differing >> shift;
    const unsigned entry = first_byte | (static_cast<unsigned>(shifted) & kEntryMask);
    sum += *reinterpret_cast<const std::uint32_t*>(bytes + entry +
                                                   group * kGroupEntries * sizeof(std::uint32_t));
  }
  return sum;
}

static_assert(kGroupBits >= 2 && kWordEntries % kGroupEntries == 0, "first_byte and entry overlap");

// As hamming_distances, with sums instead of counts; writes the bits of floats, which are ordered
// as the floats are because none is negative.
__global__ void __launch_bounds__(kDistanceThreads)
    weighted_distances(const PlanHeader* header, const WeightUnit* unit,
                       const std::uint32_t* tables, const std::uint64_t* words, std::int64_t pitch,
                       std::int64_t max_words, const std::uint64_t* queries,
                       std::int64_t query_pitch, std::int64_t num_rows, std::int64_t num_tiles,
                       std::uint32_t* block) {
  __shared__ __align__(16) std::uint32_t tile_tables[kTileWords * kWordEntries];
  __shared__ std::uint64_t tile[kTileWords][kTileQueries];
  const std::int64_t first_query = blockIdx.x % num_tiles * kTileQueries;
  const std::int64_t haplotype =
      blockIdx.x / num_tiles * kTileHaplotypes + static_cast<int>(threadIdx.x) * kOwnHaplotypes;
  const std::int64_t num_words = words_in_use(*header, max_words);
  std::uint32_t sums[kTileQueries][kOwnHaplotypes] = {};
  for (std::int64_t first = 0; first < num_words; first += kTileWords) {
    const int num_staged = static_cast<int>(smaller<std::int64_t>(kTileWords, num_words - first));
    __syncthreads();
    const auto* source = reinterpret_cast<const uint4*>(tables + first * kWordEntries);
    for (int i = static_cast<int>(threadIdx.x); i < num_staged * kWordEntries / 4;
         i += kDistanceThreads) {
      reinterpret_cast<uint4*>(tile_tables)[i] = source[i];
    }
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
        const unsigned first_byte = static_cast<unsigned>(w) * kWordEntries * sizeof *tile_tables;
#pragma unroll
        for (int q = 0; q < kTileQueries; ++q) {
          sums[q][0] += weigh_word(own.x ^ tile[w][q], tile_tables, first_byte);
          sums[q][1] += weigh_word(own.y ^ tile[w][q], tile_tables, first_byte);
        }
      }
    }
  }
  if (haplotype >= pitch) return;
#pragma unroll
  for (int q = 0; q < kTileQueries; ++q) {
    if (first_query + q < num_rows) {
      *reinterpret_cast<Pair<std::uint32_t>*>(block + (first_query + q) * pitch + haplotype) = {
          __float_as_uint(static_cast<float>(sums[q][0]) * unit->value),
          __float_as_uint(static_cast<float>(sums[q][1]) * unit->value)};
    }
  }
}

// --- the search ----------------------------------------------------------------------------------

constexpr std::uint32_t kExcluded = 0xffffffff;  // above the bits of every number

SelectPlan plan_search(const HammingIndex& index, std::int64_t num_queries, std::int64_t k,
                       std::size_t block_bytes) {
  return plan_selection(num_queries, index.num_haplotypes, k, sizeof(std::uint32_t), block_bytes);
}

// Bytes of the unit and of the tables of all words.
std::size_t table_bytes(const HammingIndex& index) {
  return kWorkspaceAlignment +
         round_up(static_cast<std::size_t>(index.max_words * kWordEntries) * sizeof(std::uint32_t),
                  kWorkspaceAlignment);
}

}  // namespace

std::size_t weighted_hamming_workspace_bytes(const HammingIndex& index, std::int64_t num_queries,
                                             std::int64_t k, std::size_t block_bytes) {
  return query_bytes(index, num_queries) + table_bytes(index) +
         plan_search(index, num_queries, k, block_bytes).bytes();
}

void weighted_hamming_search(const HammingIndex& index, const float* weights,
                             const HammingQueries& queries, const Workspace& workspace,
                             float* distances, std::int64_t* indices, cudaStream_t stream) {
  if (queries.num_queries == 0) return;
  auto* compacted = static_cast<std::uint64_t*>(workspace.data);
  char* after_queries =
      static_cast<char*>(workspace.data) + query_bytes(index, queries.num_queries);
  auto* unit = reinterpret_cast<WeightUnit*>(after_queries);
  auto* tables = reinterpret_cast<std::uint32_t*>(after_queries + kWorkspaceAlignment);
  const auto selection = make_selection(
      plan_search(index, queries.num_queries, queries.k, workspace.block_bytes),
      after_queries + table_bytes(index), kExcluded, queries.exclude, distances, indices);
  const std::int64_t pitch = row_pitch(index.num_haplotypes);

  compact_queries(index, queries, compacted, stream);
  launch("weights", weigh_sites, 1, kWeighThreads, 0, stream, weights, plan_header(index),
         observed_sites(index), index.max_words, unit, tables);
  for_each_batch(selection, queries.num_queries, stream, [&](std::int64_t first, std::int64_t n) {
    const std::int64_t num_tiles = ceil_divide<std::int64_t>(n, kTileQueries);
    launch("weighted distances", weighted_distances,
           num_tiles * ceil_divide(pitch, kTileHaplotypes), kDistanceThreads, 0, stream,
           plan_header(index), unit, tables, index.words, pitch, index.max_words, compacted + first,
           queries.num_queries, n, num_tiles, selection.block);
  });
}

}  // namespace snvrag::cuda
