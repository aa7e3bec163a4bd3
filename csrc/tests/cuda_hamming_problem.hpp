// Panels, queries and masks for the tests of the CUDA kernels that search bits.
#pragma once

#include <cstdint>

#include "cuda_api.hpp"
#include "cuda_testing.hpp"
#include "snvrag/bits.hpp"
#include "snvrag/hamming.hpp"

namespace snvrag::testing {

inline Bytes random_mask(std::int64_t num_sites, int percent, std::uint64_t seed) {
  Bytes mask(num_sites);
  Random random(seed);
  for (std::uint8_t& site : mask) site = random.below(100) < percent;
  return mask;
}

inline Words random_words(std::int64_t n, std::uint64_t seed) {
  Words words(n);
  Random random(seed);
  for (std::uint64_t& word : words) word = random.word();
  return words;
}

// An index with its memory, filled with ones, which must not be read.
struct DeviceIndex {
  Words plan, words;
  snvrag::cuda::HammingIndex index;

  DeviceIndex(std::int64_t num_haplotypes, std::int64_t num_sites, std::int64_t max_words)
      : plan(snvrag::cuda::plan_size(num_sites), ~std::uint64_t{0}),
        words(max_words * snvrag::cuda::row_pitch(num_haplotypes), ~std::uint64_t{0}) {
    index.plan = plan.data();
    index.words = words.data();
    index.max_words = max_words;
    index.num_haplotypes = num_haplotypes;
    index.num_sites = num_sites;
  }
};

struct Case {
  std::int64_t num_haplotypes, num_sites, num_queries;
  int observed_percent;  // 101: no mask is given
  std::int64_t k;
  std::int64_t num_exclude = 0;
  int num_kinds = 50;  // distinct haplotypes; few make ties
  std::size_t block_bytes = kBlockBytes;
};

// Rows with gaps, a mask, and excluded haplotypes.
struct Problem {
  Case c;
  std::int64_t words;
  Words panel, queries;
  Bytes mask;
  Indices exclude;

  explicit Problem(const Case& given)
      : c(given),
        words(num_words(c.num_sites)),
        panel(rows_of_kinds(c.num_haplotypes, words + 3, 1)),
        queries(rows_of_kinds(c.num_queries, words + 1, 2)),
        mask(random_mask(c.num_sites, c.observed_percent, 3)),
        exclude(c.num_queries * c.num_exclude) {
    Random random(4);
    for (std::int64_t& index : exclude) index = random.below(c.num_haplotypes + 1) - 1;
  }

  // Bits past the last site are set, too: they must not count.
  Words rows_of_kinds(std::int64_t num_rows, std::int64_t stride, std::uint64_t seed) const {
    const Words kinds = random_words(c.num_kinds * words, 5);
    Words rows(num_rows == 0 ? 0 : (num_rows - 1) * stride + words);
    Random random(seed);
    for (std::int64_t r = 0; r < num_rows; ++r) {
      const std::int64_t kind = random.below(c.num_kinds);
      for (std::int64_t w = 0; w < words; ++w) rows[r * stride + w] = kinds[kind * words + w];
    }
    return rows;
  }

  HammingQueries wanted() const {
    HammingQueries wanted;
    wanted.bits = queries.data();
    wanted.num_queries = c.num_queries;
    wanted.row_stride = words + 1;
    wanted.k = c.k;
    wanted.exclude.indices = exclude.data();
    wanted.exclude.num_columns = c.num_exclude;
    return wanted;
  }
  const std::uint8_t* observed() const { return c.observed_percent > 100 ? nullptr : mask.data(); }
  std::int64_t num_observed() const {
    std::int64_t count = 0;
    for (std::uint8_t site : mask) count += observed() == nullptr || site != 0;
    return count;
  }
};

inline snvrag::cuda::Workspace workspace_of(Bytes& memory, std::size_t block_bytes) {
  snvrag::cuda::Workspace workspace;
  workspace.data = memory.data();
  workspace.block_bytes = block_bytes;
  return workspace;
}

}  // namespace snvrag::testing
