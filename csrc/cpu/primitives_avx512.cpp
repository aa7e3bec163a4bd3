// AVX-512 F, BW, DQ, VL, VBMI and VPOPCNTDQ, with GFNI: Ice Lake, Zen 4 and later.
#include <immintrin.h>

#include "kernel_table.hpp"

#define SNVRAG_LEVEL avx512
#include "portable.inl"

namespace snvrag::avx512 {
namespace {

constexpr int kQueryTile = 8;
constexpr int kMostHead = 255;
constexpr int kGroupBits = 4;  // a table of sixteen is one register
constexpr std::int64_t kWordTable = 2 * 8 * 16;
constexpr int kL2Queries = 6;
constexpr int kL2Rows = 4;
constexpr int kPairRows = 4;
constexpr int kFloatLanes = 16;

using Lanes = __m512i;

Lanes load_lanes(const std::uint64_t* words) { return _mm512_load_si512(words); }
Lanes broadcast_lanes(std::uint64_t word) {
  return _mm512_set1_epi64(static_cast<long long>(word));
}
Lanes exclusive_or(Lanes a, Lanes b) { return _mm512_xor_si512(a, b); }

std::uint64_t count_bits(std::uint64_t word) {
  return static_cast<std::uint64_t>(_mm_popcnt_u64(word));
}

// Sets eight heads or adds to them.
template <bool kBegin>
void store_eight(std::uint8_t* bytes, __m128i eight) {
  auto* heads = reinterpret_cast<__m128i*>(bytes);
  _mm_storel_epi64(heads, kBegin ? eight : _mm_adds_epu8(eight, _mm_loadl_epi64(heads)));
}

struct BitCount {
  using Limit = __m512i;
  __m512i lanes = _mm512_setzero_si512();

  static Limit make_limit(std::uint32_t threshold) { return _mm512_set1_epi64(threshold); }
  void add(Lanes bits, const std::int32_t*, std::int64_t) {
    lanes = _mm512_add_epi64(lanes, _mm512_popcnt_epi64(bits));
  }
  void fold() {}
  static int head_limit(std::uint32_t threshold, int) {
    return count_head_limit(threshold, kMostHead);
  }
  template <bool kBegin>
  void store_head(std::uint8_t* bytes, int) const {
    store_eight<kBegin>(bytes, _mm512_cvtepi64_epi8(lanes));
  }
  unsigned below(Limit limit) const { return _mm512_cmplt_epu64_mask(lanes, limit); }
  void store(std::uint32_t* distances) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(distances), _mm512_cvtepi64_epi32(lanes));
  }
};

struct WeightSum {
  using Limit = __m256;
  __m512i halves = _mm512_setzero_si512();  // sums over a lane's lower and upper 32 sites

  static Limit make_limit(std::uint32_t threshold) {
    return _mm256_set1_ps(weight_limit(threshold));
  }
  void add(Lanes bits, const std::int32_t* tables, std::int64_t word) {
    tables += word * kWordTable;
    // A lookup of 32 entries in two registers: the fifth bit is 0 in lower halves, 1 in upper ones.
    const __m512i nibble = _mm512_set1_epi32(15);
    const __m512i upper = _mm512_set1_epi64(std::int64_t{16} << 32);
    for (int group = 0; group < 8; ++group) {
      const __m512i pattern = _mm512_ternarylogic_epi64(bits, nibble, upper, 0xea);  // (a & b) | c
      const __m512i weight =
          _mm512_permutex2var_epi32(_mm512_loadu_si512(tables + 32 * group), pattern,
                                    _mm512_loadu_si512(tables + 32 * group + 16));
      halves = _mm512_add_epi32(halves, weight);
      bits = _mm512_srli_epi32(bits, kGroupBits);
    }
  }
  void fold() {}
  __m256i integers() const {
    return _mm512_cvtepi64_epi32(_mm512_add_epi64(halves, _mm512_srli_epi64(halves, 32)));
  }
  __m256 sums() const { return _mm256_cvtepi32_ps(integers()); }
  static int head_limit(std::uint32_t threshold, int shift) {
    return weight_head_limit(threshold, shift, kMostHead);
  }
  template <bool kBegin>
  void store_head(std::uint8_t* bytes, int shift) const {
    const __m256i heads = _mm256_srl_epi32(integers(), _mm_cvtsi32_si128(shift));
    store_eight<kBegin>(bytes, _mm256_cvtusepi32_epi8(heads));
  }
  unsigned below(Limit limit) const { return _mm256_cmp_ps_mask(sums(), limit, _CMP_LT_OQ); }
  void store(std::uint32_t* distances) const {
    _mm256_storeu_ps(reinterpret_cast<float*>(distances), sums());
  }
};

std::int64_t alive_blocks(const std::uint8_t* bytes, std::int64_t num_blocks, int limit,
                          std::uint32_t* alive) {
  if (limit < 0) return 0;
  const __m512i limits = _mm512_set1_epi8(static_cast<char>(limit));
  __m256i blocks = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  std::int64_t found = 0;
  for (std::int64_t block = 0; block < num_blocks; block += 8) {
    const std::int64_t left = num_blocks - block;
    const auto exist = static_cast<__mmask8>(left < 8 ? (1 << left) - 1 : 0xff);
    const __m512i heads = _mm512_maskz_loadu_epi64(exist, bytes + kBlockLanes * block);
    const __m512i low = _mm512_movm_epi8(_mm512_cmple_epu8_mask(heads, limits));
    const __mmask8 some = _mm512_mask_test_epi64_mask(exist, low, low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(alive + found),
                        _mm256_maskz_compress_epi32(some, blocks));
    found += _mm_popcnt_u32(some);
    blocks = _mm256_add_epi32(blocks, _mm256_set1_epi32(8));
  }
  return found;
}

std::int64_t count_at_most(const std::uint8_t* bytes, std::int64_t num_blocks, std::int64_t step,
                           int limit) {
  const __m512i limits = _mm512_set1_epi8(static_cast<char>(limit));
  std::int64_t found = 0;
  for (std::int64_t block = 0; block < num_blocks; block += step) {
    const __m512i heads = _mm512_loadu_si512(bytes + kBlockLanes * block);
    found += __builtin_popcountll(_mm512_cmple_epu8_mask(heads, limits));
  }
  return found;
}

// Transposes 64 x 64 bits as 8 x 8 blocks of 8 x 8 bits: the affine instruction transposes within
// blocks (with the data as its matrix and a constant diagonal as its argument), and two byte
// shuffles around a transpose of eight-byte elements move the blocks.
void transpose64(std::uint64_t* words) {
  const __m512i rows_to_blocks = _mm512_set_epi8(
      7, 15, 23, 31, 39, 47, 55, 63, 6, 14, 22, 30, 38, 46, 54, 62, 5, 13, 21, 29, 37, 45, 53, 61,
      4, 12, 20, 28, 36, 44, 52, 60, 3, 11, 19, 27, 35, 43, 51, 59, 2, 10, 18, 26, 34, 42, 50, 58,
      1, 9, 17, 25, 33, 41, 49, 57, 0, 8, 16, 24, 32, 40, 48, 56);
  const __m512i blocks_to_rows = _mm512_set_epi8(
      63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5,
      60, 52, 44, 36, 28, 20, 12, 4, 59, 51, 43, 35, 27, 19, 11, 3, 58, 50, 42, 34, 26, 18, 10, 2,
      57, 49, 41, 33, 25, 17, 9, 1, 56, 48, 40, 32, 24, 16, 8, 0);
  const __m512i diagonal = _mm512_set1_epi64(static_cast<long long>(0x8040201008040201u));
  __m512i a[8], b[8];
  for (int i = 0; i < 8; ++i) {
    const __m512i rows = _mm512_loadu_si512(words + 8 * i);
    const __m512i blocks = _mm512_permutexvar_epi8(rows_to_blocks, rows);
    a[i] = _mm512_gf2p8affine_epi64_epi8(diagonal, blocks, 0);
  }
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm512_unpacklo_epi64(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 1]);
  }
  // b[i + j] has columns j, j + 2, j + 4, j + 6 of rows i and i + 1, in its 128-bit quarters.
  for (int j = 0; j < 2; ++j) {
    const __m512i low01 = _mm512_shuffle_i64x2(b[j], b[2 + j], 0x44);
    const __m512i high01 = _mm512_shuffle_i64x2(b[j], b[2 + j], 0xee);
    const __m512i low23 = _mm512_shuffle_i64x2(b[4 + j], b[6 + j], 0x44);
    const __m512i high23 = _mm512_shuffle_i64x2(b[4 + j], b[6 + j], 0xee);
    a[j] = _mm512_shuffle_i64x2(low01, low23, 0x88);
    a[j + 2] = _mm512_shuffle_i64x2(low01, low23, 0xdd);
    a[j + 4] = _mm512_shuffle_i64x2(high01, high23, 0x88);
    a[j + 6] = _mm512_shuffle_i64x2(high01, high23, 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    _mm512_storeu_si512(words + 8 * i, _mm512_permutexvar_epi8(blocks_to_rows, a[i]));
  }
}

// Transposes 8 x 8 words.
void transpose_words(__m512i (&rows)[8]) {
  __m512i pairs[8], quads[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_unpacklo_epi64(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi64(rows[i], rows[i + 1]);
  }
  // quads[i] and quads[i + 2] have columns i % 2 + {0, 4} and {2, 6} of rows 4 * (i / 4) + 0 to 3.
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      quads[i + j] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0x88);
      quads[i + j + 2] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0xdd);
    }
  }
  for (int j = 0; j < 4; ++j) {
    rows[j] = _mm512_shuffle_i64x2(quads[j], quads[4 + j], 0x88);
    rows[4 + j] = _mm512_shuffle_i64x2(quads[j], quads[4 + j], 0xdd);
  }
}

// Reads a cache line of each row at once; for few columns, word by word.
void transpose_tiles(const std::uint64_t* const* rows, std::int64_t num_rows, std::int64_t first,
                     unsigned columns, std::uint64_t (*tiles)[64]) {
  constexpr int kFewColumns = 2;
  if (_mm_popcnt_u32(columns) <= kFewColumns) {
    transpose_tiles_portable(rows, num_rows, first, columns, tiles, transpose64);
    return;
  }
  const auto wanted = static_cast<__mmask8>(columns);
  for (std::int64_t group = 0; group < 64; group += 8) {
    __m512i words[8];
    for (std::int64_t r = 0; r < 8; ++r) {
      words[r] = group + r < num_rows ? _mm512_maskz_loadu_epi64(wanted, rows[group + r] + first)
                                      : _mm512_setzero_si512();
    }
    transpose_words(words);
    for (unsigned left = columns; left != 0; left &= left - 1) {
      const int c = __builtin_ctz(left);
      _mm512_storeu_si512(tiles[c] + group, words[c]);
    }
  }
  for (unsigned left = columns; left != 0; left &= left - 1) {
    transpose64(tiles[__builtin_ctz(left)]);
  }
}

bool pack_word(const std::uint8_t* alleles, std::uint64_t* bits) {
  const __m512i bytes = _mm512_loadu_si512(alleles);
  *bits = _mm512_test_epi8_mask(bytes, bytes);
  return _mm512_cmpgt_epu8_mask(bytes, _mm512_set1_epi8(1)) == 0;
}

void unpack_word(std::uint64_t bits, std::uint8_t* alleles) {
  _mm512_storeu_si512(alleles, _mm512_maskz_set1_epi8(bits, 1));
}

using Floats = __m512;

Floats load_floats(const float* values) { return _mm512_loadu_ps(values); }
void store_floats(float* values, Floats floats) { _mm512_storeu_ps(values, floats); }
Floats add_squared_difference(Floats sum, Floats a, Floats b) {
  const __m512 difference = _mm512_sub_ps(a, b);
  return _mm512_fmadd_ps(difference, difference, sum);
}
float horizontal_sum(Floats floats) { return _mm512_reduce_add_ps(floats); }

using LaneMask = __mmask16;

LaneMask lane_mask(std::uint64_t word, int vector) {
  return static_cast<LaneMask>(word >> (kFloatLanes * vector));
}
Floats broadcast_floats(float value) { return _mm512_set1_ps(value); }
Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
Floats add_where(LaneMask mask, Floats a, Floats b) { return _mm512_mask_add_ps(a, mask, a, b); }
Floats scale_where(LaneMask mask, Floats a, Floats b) { return _mm512_mask_mul_ps(a, mask, a, b); }
Floats gather_ascending(const float* from, const std::int32_t* index) {
  const __m512i indices = _mm512_loadu_si512(index);
  const std::int32_t first = index[0];
  if (index[kFloatLanes - 1] - first >= 2 * kFloatLanes) {
    return _mm512_i32gather_ps(indices, from, sizeof(float));
  }
  return _mm512_permutex2var_ps(load_floats(from + first),
                                _mm512_sub_epi32(indices, _mm512_set1_epi32(first)),
                                load_floats(from + first + kFloatLanes));
}
Floats choose(LaneMask mask, Floats a, Floats b) { return _mm512_mask_blend_ps(mask, a, b); }

}  // namespace
}  // namespace snvrag::avx512

#include "kernels.inl"
