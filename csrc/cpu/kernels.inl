// The kernels of an instruction-set level, written once for all levels on the vector primitives of
// primitives_<level>.cpp. For a kernel of its own, a level gets a primitive of that kernel's size,
// as transpose64 is: the other levels then call a text in portable.inl.
//
// An including file defines SNVRAG_LEVEL, the name of its level and namespace, and in an anonymous
// namespace
//   the types Lanes (eight 64-bit lanes), BitCount (their population counts), WeightSum (the same
//   with weights), Floats (kFloatLanes float32 lanes) and LaneMask (a choice among them);
//   the constants kQueryTile, kMostHead, kGroupBits, kWordTable, kL2Queries, kL2Rows and
//   kPairRows;
//   the functions that this and the included files call: on these types, and pack_word, unpack_word
//   and transpose64 on words.

#include "hamming_scan.inl"
#include "l2_block.inl"  // zero_floats()

#include "evidence_steps.inl"
#include "head_rows.inl"
#include "li_stephens_steps.inl"
#include "pair_steps.inl"

namespace snvrag::SNVRAG_LEVEL {
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

// The rows of a tile are adjacent in memory, its columns far apart; there may be fewer than 64 of
// either.
bool pack_tile(const std::uint8_t* alleles, std::int64_t num_rows, std::int64_t num_columns,
               std::int64_t column_stride, std::uint64_t* tile) {
  bool valid = true;
  for (std::int64_t c = 0; c < num_columns; ++c) {
    const std::uint8_t* column = alleles + c * column_stride;
    if (num_rows == 64) {
      // The next tile's column: no hardware prefetcher recognises such strides.
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

constexpr KernelTable make_table() {
  KernelTable table = {};
  table.carrier_sums = carrier_sums;
  table.product_sums = product_sums;
  table.log_floats = log_floats;
  table.hamming_scan = hamming_scan;
  table.weighted_scan = weighted_scan;
  table.weight_tables = weight_tables;
  table.word_table = kWordTable;
  table.count_ones = count_ones;
  table.l2_block = l2_block;
  table.l2_sums = l2_sums;
  table.float_lanes = kFloatLanes;
  table.has_nan = has_nan;
  table.head_rows = head_rows;
  table.pack_row = pack_row;
  table.pack_tile = pack_tile;
  table.unpack_row = unpack_row;
  table.transpose64 = transpose64;
  table.transpose_tiles = transpose_tiles;
  table.li_stephens_forward = li_stephens_forward;
  table.li_stephens_backward = li_stephens_backward;
  table.li_stephens_sums = li_stephens_sums;
  table.pair_step = pair_step;
  table.pair_line = pair_line;
  table.pair_lost = pair_lost;
  table.pair_gather = pair_gather;
  return table;
}

}  // namespace

const KernelTable kKernels = make_table();

}  // namespace snvrag::SNVRAG_LEVEL
