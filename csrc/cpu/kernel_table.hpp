// What each instruction-set level provides; the rest of the CPU code is level-independent.
//
// The functions of a level live in one translation unit compiled with that level's flags
// (kernels_<level>.cpp, all from the one text kernels.inl). Such a unit must instantiate nothing
// that another unit could share at link time (no std:: templates, no inline functions with external
// linkage): the linker might keep the wide copy for everyone.
#pragma once

#include <cstdint>

#include "snvrag/simd.hpp"
#include "snvrag/topk.hpp"

namespace snvrag {

// Eight haplotypes a block, one in each lane.
constexpr std::int64_t kBlockLanes = 8;

// The first words of a haplotype, which nearly always tell that it is none of the nearest.
constexpr std::int64_t kMostHeadWords = 2;

// The sum of weights of a head is scaled to this at most: every level keeps such numbers.
constexpr int kScaledHead = 127;

// One pass of some queries over blocks [first_block, last_block) of a HammingIndex.
struct HammingScan {
  const std::uint64_t* head;                    // (blocks, num_head_words, kBlockLanes)
  const std::uint64_t* tail;                    // (blocks, num_tail_words, kBlockLanes)
  std::int64_t num_head_words, num_tail_words;  // from 1 to kMostHeadWords, from 0
  std::int64_t num_haplotypes;
  std::int64_t first_block, last_block;
  const std::uint64_t* queries;  // (num_queries, num_head_words + num_tail_words)
  std::int64_t num_queries;
  const std::int32_t* tables;  // of a weighted scan: weight_tables() of the words
  int head_shift;              // brings the largest sum of weights of a head to at most kScaledHead
  Candidates* candidates;
};

// Rows and dimensions of a dense search that are in work at a time: the queries' part stays in the
// second-level cache, a tile of rows in the first.
constexpr std::int64_t kL2RowsAtOnce = 32;
constexpr std::int64_t kL2Dimensions = 1024;

// Some dimensions of the queries chosen and of up to kL2RowsAtOnce rows.
struct L2Block {
  const float* queries;
  std::int64_t query_stride;
  const std::int64_t* chosen;
  std::int64_t num_chosen;
  const float* rows;
  std::int64_t num_rows, row_stride;
  std::int64_t num_dimensions;
  bool is_first;  // the lanes begin with these dimensions, whatever they hold
  float* lanes;   // (queries, kL2RowsAtOnce, float_lanes)
};

// One observed site in the forward or backward pass of the Li-Stephens model: where `bits` and
// `flip` differ, the panel's allele is not the query's.
struct CopyStep {
  const std::uint64_t* bits;
  std::uint64_t flip;
  std::int64_t num_words;
  const float* prior;  // of each haplotype when one is chosen anew; zero for those left out
  float keep, jump;    // what the probabilities before, and the prior, are multiplied by
  float ratio;         // of the probabilities to differ and to agree
};

struct CopySums {
  float posterior, backward;
};

struct KernelTable {
  // Appends the haplotypes below each query's threshold: their distance, or with weights the bits
  // of the sum as a float32.
  void (*hamming_scan)(const HammingScan& scan);
  void (*weighted_scan)(const HammingScan& scan);

  // `weights` has 64 for each word, not negative, and their sum is below 2^31; `tables` gets
  // word_table for each.
  void (*weight_tables)(const std::int32_t* weights, std::int64_t num_words, std::int32_t* tables);
  std::int64_t word_table;

  // Ones in every step-th of the words.
  std::int64_t (*count_ones)(const std::uint64_t* words, std::int64_t num_words, std::int64_t step);

  // Adds the squared differences of the block to its lanes; the sum over the lanes of a query and
  // row is their distance.
  void (*l2_block)(const L2Block& block);

  // Adds up the float_lanes floats of each of n sums.
  void (*l2_sums)(const float* lanes, std::int64_t n, float* sums);
  std::int64_t float_lanes;

  bool (*has_nan)(const float* values, std::int64_t n);

  // Packs n contiguous bytes; returns false if one is neither 0 nor 1.
  bool (*pack_row)(const std::uint8_t* alleles, std::int64_t n, std::uint64_t* bits);

  // Packs up to 64 x 64 bytes of which a column's lie side by side, and transposes: bit c of word r
  // is row r of column c. False as above.
  bool (*pack_tile)(const std::uint8_t* alleles, std::int64_t num_rows, std::int64_t num_columns,
                    std::int64_t column_stride, std::uint64_t* tile);

  void (*unpack_row)(const std::uint64_t* bits, std::int64_t n, std::uint8_t* alleles);

  // Transposes 64 words of 64 bits in place.
  void (*transpose64)(std::uint64_t* words);

  // Multiplies (keep * before + jump * prior) by the ratio where the alleles differ; returns the
  // sum of `after`.
  float (*copy_forward)(const CopyStep& step, const float* before, float* after);

  // With b = keep * backward + jump * prior, writes forward * b to `posterior` and b, multiplied by
  // the ratio where the alleles differ, to `backward`. Returns the sums of both.
  CopySums (*copy_backward)(const CopyStep& step, const float* forward, float* backward,
                            float* posterior);

  // Sums `first` and `second` over the ones of each of num_sites rows: (num_sites, 2) sums.
  void (*copy_sums)(const float* first, const float* second, const std::uint64_t* bits,
                    std::int64_t stride, std::int64_t num_sites, std::int64_t num_words,
                    float* sums);
};

extern const KernelTable kScalarKernels;
#if defined(SNVRAG_HAVE_AVX2)
extern const KernelTable kAvx2Kernels;
#endif
#if defined(SNVRAG_HAVE_AVX512)
extern const KernelTable kAvx512Kernels;
#endif
#if defined(SNVRAG_HAVE_NEON)
extern const KernelTable kNeonKernels;
#endif

// The table of the level in use.
const KernelTable& kernels();

}  // namespace snvrag
