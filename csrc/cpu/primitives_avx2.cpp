// AVX2, FMA and BMI2. Population counts by a nibble table (Mula, Kurz, Lemire, "Faster population
// counts using AVX2 instructions", 2018), kept as bytes between two folds.
#include <immintrin.h>

#include "kernel_table.hpp"

#define SNVRAG_LEVEL avx2
#include "portable.inl"

namespace snvrag::avx2 {
namespace {

constexpr int kQueryTile = 2;
constexpr int kMostHead = kPortableMostHead;
constexpr int kGroupBits = 3;  // a table of eight is one register
constexpr std::int64_t kWordTable = 2 * 11 * 8;
constexpr int kL2Queries = 2;
constexpr int kL2Rows = 4;
constexpr int kPairRows = 2;
constexpr int kFloatLanes = 8;

struct Lanes {
  __m256i low, high;
};

Lanes load_lanes(const std::uint64_t* words) {
  const auto* vectors = reinterpret_cast<const __m256i*>(words);
  return {_mm256_load_si256(vectors), _mm256_load_si256(vectors + 1)};
}
Lanes broadcast_lanes(std::uint64_t word) {
  const __m256i all = _mm256_set1_epi64x(static_cast<long long>(word));
  return {all, all};
}
Lanes exclusive_or(const Lanes& a, const Lanes& b) {
  return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)};
}

__m256i byte_counts(__m256i bits) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2,
                                         1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i nibble = _mm256_set1_epi8(0x0f);
  const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(bits, nibble));
  const __m256i high =
      _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi32(bits, 4), nibble));
  return _mm256_add_epi8(low, high);
}

std::uint64_t count_bits(std::uint64_t word) {
  return static_cast<std::uint64_t>(_mm_popcnt_u64(word));
}

// The lower 32 bits of eight 64-bit lanes.
__m256i low_halves(__m256i first, __m256i last) {
  const __m256i even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  return _mm256_blend_epi32(_mm256_permutevar8x32_epi32(first, even),
                            _mm256_permutevar8x32_epi32(last, even), 0xf0);
}

// Sets eight heads or adds to them, up to kMostHead.
template <bool kBegin>
void store_eight(std::uint8_t* bytes, __m128i eight) {
  auto* heads = reinterpret_cast<__m128i*>(bytes);
  if (!kBegin) eight = _mm_adds_epu8(eight, _mm_loadl_epi64(heads));
  _mm_storel_epi64(heads, _mm_min_epu8(eight, _mm_set1_epi8(kMostHead)));
}

struct BitCount {
  using Limit = __m256i;
  __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
  __m256i low_bytes = _mm256_setzero_si256(), high_bytes = _mm256_setzero_si256();

  static Limit make_limit(std::uint32_t threshold) { return _mm256_set1_epi64x(threshold); }
  void add(const Lanes& bits, const std::int32_t*, std::int64_t) {
    low_bytes = _mm256_add_epi8(low_bytes, byte_counts(bits.low));
    high_bytes = _mm256_add_epi8(high_bytes, byte_counts(bits.high));
  }
  void fold() {
    const __m256i zero = _mm256_setzero_si256();
    low = _mm256_add_epi64(low, _mm256_sad_epu8(low_bytes, zero));
    high = _mm256_add_epi64(high, _mm256_sad_epu8(high_bytes, zero));
    low_bytes = high_bytes = zero;
  }
  static int head_limit(std::uint32_t threshold, int) {
    return count_head_limit(threshold, kMostHead);
  }
  template <bool kBegin>
  void store_head(std::uint8_t* bytes, int) const {
    const __m256i both = _mm256_packs_epi32(low, high);  // counts in the even 16-bit elements
    const __m256i order =
        _mm256_setr_epi8(0, 4, -1, -1, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4,
                         -1, -1, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i placed = _mm256_shuffle_epi8(both, order);
    const __m128i eight =
        _mm_or_si128(_mm256_castsi256_si128(placed), _mm256_extracti128_si256(placed, 1));
    store_eight<kBegin>(bytes, eight);
  }
  unsigned below(Limit limit) const {
    const int low_mask = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(limit, low)));
    const int high_mask = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(limit, high)));
    return static_cast<unsigned>(low_mask | high_mask << 4);
  }
  void store(std::uint32_t* distances) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(distances), low_halves(low, high));
  }
};

struct WeightSum {
  using Limit = __m256;
  __m256i lanes = _mm256_setzero_si256();

  static Limit make_limit(std::uint32_t threshold) {
    return _mm256_set1_ps(weight_limit(threshold));
  }
  void add(const Lanes& bits, const std::int32_t* tables, std::int64_t word) {
    tables += word * kWordTable;
    const auto* table = reinterpret_cast<const __m256i*>(tables);
    __m256i low = low_halves(bits.low, bits.high);
    __m256i high = low_halves(_mm256_srli_epi64(bits.low, 32), _mm256_srli_epi64(bits.high, 32));
    for (int group = 0; group < 11; ++group) {
      // The instruction reads only the lowest three bits of each lane.
      const __m256i first = _mm256_permutevar8x32_epi32(_mm256_loadu_si256(table++), low);
      const __m256i second = _mm256_permutevar8x32_epi32(_mm256_loadu_si256(table++), high);
      lanes = _mm256_add_epi32(lanes, _mm256_add_epi32(first, second));
      low = _mm256_srli_epi32(low, kGroupBits);
      high = _mm256_srli_epi32(high, kGroupBits);
    }
  }
  void fold() {}
  static int head_limit(std::uint32_t threshold, int shift) {
    return weight_head_limit(threshold, shift, kMostHead);
  }
  template <bool kBegin>
  void store_head(std::uint8_t* bytes, int shift) const {
    const __m256i heads = _mm256_srl_epi32(lanes, _mm_cvtsi32_si128(shift));
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(heads), _mm256_extracti128_si256(heads, 1));
    store_eight<kBegin>(bytes, _mm_packus_epi16(words, words));
  }
  unsigned below(Limit limit) const {
    return static_cast<unsigned>(
        _mm256_movemask_ps(_mm256_cmp_ps(_mm256_cvtepi32_ps(lanes), limit, _CMP_LT_OQ)));
  }
  void store(std::uint32_t* distances) const {
    _mm256_storeu_ps(reinterpret_cast<float*>(distances), _mm256_cvtepi32_ps(lanes));
  }
};

std::int64_t alive_blocks(const std::uint8_t* bytes, std::int64_t num_blocks, int limit,
                          std::uint32_t* alive) {
  return alive_blocks_portable(bytes, num_blocks, limit, alive);
}

std::int64_t count_at_most(const std::uint8_t* bytes, std::int64_t num_blocks, std::int64_t step,
                           int limit) {
  return count_at_most_portable(bytes, num_blocks, step, limit);
}

bool pack_word(const std::uint8_t* alleles, std::uint64_t* bits) {
  const auto* vectors = reinterpret_cast<const __m256i*>(alleles);
  const __m256i low = _mm256_loadu_si256(vectors), high = _mm256_loadu_si256(vectors + 1);
  const auto low_mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_slli_epi16(low, 7)));
  const auto high_mask =
      static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_slli_epi16(high, 7)));
  *bits = low_mask | static_cast<std::uint64_t>(high_mask) << 32;
  return _mm256_testz_si256(_mm256_or_si256(low, high), _mm256_set1_epi8(static_cast<char>(0xfe)));
}

void unpack_word(std::uint64_t bits, std::uint8_t* alleles) { unpack_word_portable(bits, alleles); }
void transpose64(std::uint64_t* words) { transpose64_portable(words); }
void transpose_tiles(const std::uint64_t* const* rows, std::int64_t num_rows, std::int64_t first,
                     unsigned columns, std::uint64_t (*tiles)[64]) {
  transpose_tiles_portable(rows, num_rows, first, columns, tiles, transpose64);
}

using Floats = __m256;

Floats load_floats(const float* values) { return _mm256_loadu_ps(values); }
void store_floats(float* values, Floats floats) { _mm256_storeu_ps(values, floats); }
Floats add_squared_difference(Floats sum, Floats a, Floats b) {
  const __m256 difference = _mm256_sub_ps(a, b);
  return _mm256_fmadd_ps(difference, difference, sum);
}
float horizontal_sum(Floats floats) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(floats), _mm256_extractf128_ps(floats, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

using LaneMask = __m256;

LaneMask lane_mask(std::uint64_t word, int vector) {
  const __m256i lane_bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i bits = _mm256_set1_epi32(static_cast<int>(word >> (kFloatLanes * vector)));
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(bits, lane_bits), lane_bits));
}
Floats broadcast_floats(float value) { return _mm256_set1_ps(value); }
Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
Floats add_where(LaneMask mask, Floats a, Floats b) {
  return _mm256_add_ps(a, _mm256_and_ps(mask, b));
}
Floats scale_where(LaneMask mask, Floats a, Floats b) {
  return _mm256_blendv_ps(a, _mm256_mul_ps(a, b), mask);
}
Floats gather_ascending(const float* from, const std::int32_t* index) {
  float lanes[kFloatLanes];
  for (int i = 0; i < kFloatLanes; ++i) lanes[i] = from[index[i]];
  return load_floats(lanes);
}
Floats choose(LaneMask mask, Floats a, Floats b) { return _mm256_blendv_ps(a, b, mask); }

}  // namespace
}  // namespace snvrag::avx2

#include "kernels.inl"
