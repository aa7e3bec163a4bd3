// The plan of an index in device memory: which sites are observed, and how to compact them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda_api.hpp"
#include "launch.cuh"
#include "select.cuh"
#include "snvrag/bits.hpp"

namespace snvrag::cuda {

// How to move the observed bits of a word to its low end. A bit moves down by the number of hidden
// bits below it, in steps of 1, 2, 4, ..., 32: it takes step i if bit i of that number is set.
// move[i] marks the bits that take step i, at their positions before that step. Bits keep their
// order, so none moves onto another.
struct WordPlan {
  std::uint64_t observed;
  std::uint64_t move[6];
  std::uint64_t unused;  // 64 bytes: four aligned vector loads
};

// A plan in memory: the header, then num_words(num_sites) WordPlans, then the observed sites,
// ascending.
struct PlanHeader {
  std::uint64_t num_observed;
  std::uint64_t unused[7];
};

static_assert(sizeof(WordPlan) == 64 && sizeof(PlanHeader) == 64, "plan_size relies on it");

inline PlanHeader* plan_header(const HammingIndex& index) {
  return reinterpret_cast<PlanHeader*>(index.plan);
}

inline WordPlan* word_plans(const HammingIndex& index) {
  return reinterpret_cast<WordPlan*>(index.plan) + 1;
}

inline std::int32_t* observed_sites(const HammingIndex& index) {
  return reinterpret_cast<std::int32_t*>(word_plans(index) + num_words(index.num_sites));
}

__device__ inline std::int64_t words_in_use(const PlanHeader& header, std::int64_t max_words) {
  return smaller(ceil_divide(static_cast<std::int64_t>(header.num_observed), kWordBits), max_words);
}

// A word of both haplotypes of a thread, or a distance of both: one vector load or store.
template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T first, second;
};

// Bytes of the workspace for compacted queries, which compact_queries() writes word-major.
inline std::size_t query_bytes(const HammingIndex& index, std::int64_t num_queries) {
  return round_up(static_cast<std::size_t>(index.max_words * num_queries) * sizeof(std::uint64_t),
                  kWorkspaceAlignment);
}

void compact_queries(const HammingIndex& index, const HammingQueries& queries,
                     std::uint64_t* compacted, cudaStream_t stream);

}  // namespace snvrag::cuda
