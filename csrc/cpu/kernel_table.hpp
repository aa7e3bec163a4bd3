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

// One pass of a group of queries over blocks [first_block, last_block) of a HammingIndex.
struct HammingScan {
  const std::uint64_t* words;
  std::int64_t num_words;  // of observed sites
  std::int64_t num_haplotypes;
  std::int64_t first_block, last_block;
  const std::uint64_t* queries;  // (num_queries, num_words), compacted
  std::int64_t num_queries;
  Candidates* candidates;
};

// Bits to keep of each word of a row, with the six shift masks of a software bit-compress (Warren,
// Hacker's Delight, 7-4) worked out once for all rows.
struct CompactWord {
  std::uint64_t keep;
  std::uint64_t move[6];
  std::int64_t num_kept;
};

struct KernelTable {
  // Appends the haplotypes below each query's threshold.
  void (*hamming_scan)(const HammingScan& scan);

  // Writes the kept bits of a row side by side; `out` has ceil(kept / 64) zeroed words.
  void (*compact_row)(const std::uint64_t* row, const CompactWord* words, std::int64_t num_words,
                      std::uint64_t* out);

  // Adds to sums[q * sums_stride + r] the squared distance of query q and row r.
  void (*l2_block)(const float* queries, std::int64_t num_queries, std::int64_t query_stride,
                   const float* rows, std::int64_t num_rows, std::int64_t row_stride,
                   std::int64_t num_dimensions, float* sums, std::int64_t sums_stride);

  // Packs n contiguous bytes; returns false if one is neither 0 nor 1.
  bool (*pack_row)(const std::uint8_t* alleles, std::int64_t n, std::uint64_t* bits);

  void (*unpack_row)(const std::uint64_t* bits, std::int64_t n, std::uint8_t* alleles);

  // Transposes 64 words of 64 bits in place.
  void (*transpose64)(std::uint64_t* words);
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
