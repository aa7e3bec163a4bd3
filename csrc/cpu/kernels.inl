// The one text of the level-dependent kernels. An including file defines, in an anonymous
// namespace, the types Lanes (eight 64-bit lanes), BitCount (their population counts), WeightSum
// (the same with weights) and Floats (kFloatLanes float32 lanes, with LaneMask to choose among
// them), the constants kQueryTile,
// kMostHead, kGroupBits, kL2Queries and kL2Rows, and the functions named below, then
// SNVRAG_KERNEL_TABLE, the name of the table.

#include "hamming_scan.inl"
#include "l2_block.inl"

#include "copying_steps.inl"

namespace snvrag {
namespace {

std::int64_t count_ones(const std::uint64_t* words, std::int64_t num_words, std::int64_t step) {
  std::int64_t ones = 0;
  for (std::int64_t w = 0; w < num_words; w += step) ones += count_bits(words[w]);
  return ones;
}

bool pack_row(const std::uint8_t* alleles, std::int64_t n, std::uint64_t* bits) {
  bool valid = true;
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64) valid &= pack_word(alleles + i, bits++);
  if (i < n) {
    std::uint8_t last[64] = {};
    for (std::int64_t j = i; j < n; ++j) last[j - i] = alleles[j];
    valid &= pack_word(last, bits);
  }
  return valid;
}

// The 64 rows of a tile lie side by side, its columns far apart; both may be fewer than 64.
bool pack_tile(const std::uint8_t* alleles, std::int64_t num_rows, std::int64_t num_columns,
               std::int64_t column_stride, std::uint64_t* tile) {
  bool valid = true;
  for (std::int64_t c = 0; c < num_columns; ++c) {
    const std::uint8_t* column = alleles + c * column_stride;
    if (num_rows == 64) {
      // The next tile's: at such strides no hardware prefetcher sees it coming.
      __builtin_prefetch(column + 128);
      valid &= pack_word(column, tile + c);
    } else {
      valid &= pack_row(column, num_rows, tile + c);
    }
  }
  for (std::int64_t c = num_columns; c < 64; ++c) tile[c] = 0;
  transpose64(tile);
  return valid;
}

void unpack_row(const std::uint64_t* bits, std::int64_t n, std::uint8_t* alleles) {
  std::int64_t i = 0;
  for (; i + 64 <= n; i += 64) unpack_word(*bits++, alleles + i);
  if (i < n) {
    std::uint8_t last[64];
    unpack_word(*bits, last);
    for (std::int64_t j = i; j < n; ++j) alleles[j] = last[j - i];
  }
}

}  // namespace

extern const KernelTable SNVRAG_KERNEL_TABLE;
const KernelTable SNVRAG_KERNEL_TABLE = {hamming_scan, weighted_scan, weight_tables, kWordTable,
                                         count_ones,   l2_block,      l2_sums,       kFloatLanes,
                                         has_nan,      pack_row,      pack_tile,     unpack_row,
                                         transpose64,  copy_forward,  copy_backward, copy_sums};

}  // namespace snvrag
