// AVX2, FMA and BMI2. Population counts by a nibble table (Mula, Kurz, Lemire, "Faster population
// counts using AVX2 instructions", 2018), kept as bytes over up to 31 words.
#include <immintrin.h>

#include "kernel_table.hpp"
#include "portable.inl"

namespace snvrag {
namespace {

constexpr int kQueryTile = 2;
constexpr int kL2Queries = 2;
constexpr int kL2Rows = 4;
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

struct BitCount {
  static constexpr std::int64_t kMaxWords = 31;  // 31 x 8 bits fit a byte
  __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();
  __m256i low_bytes = _mm256_setzero_si256(), high_bytes = _mm256_setzero_si256();

  void add(const Lanes& bits) {
    low_bytes = _mm256_add_epi8(low_bytes, byte_counts(bits.low));
    high_bytes = _mm256_add_epi8(high_bytes, byte_counts(bits.high));
  }
  void fold() {
    const __m256i zero = _mm256_setzero_si256();
    low = _mm256_add_epi64(low, _mm256_sad_epu8(low_bytes, zero));
    high = _mm256_add_epi64(high, _mm256_sad_epu8(high_bytes, zero));
    low_bytes = high_bytes = zero;
  }
  unsigned below(std::uint32_t threshold) const {
    const __m256i limit = _mm256_set1_epi64x(threshold);
    const int low_mask = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(limit, low)));
    const int high_mask = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(limit, high)));
    return static_cast<unsigned>(low_mask | high_mask << 4);
  }
  void store(std::uint64_t* distances) const {
    auto* vectors = reinterpret_cast<__m256i*>(distances);
    _mm256_storeu_si256(vectors, low);
    _mm256_storeu_si256(vectors + 1, high);
  }
};

std::uint64_t compress_bits(std::uint64_t bits, const CompactWord& word) {
  return _pext_u64(bits, word.keep);
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

using Floats = __m256;

Floats zero_floats() { return _mm256_setzero_ps(); }
Floats load_floats(const float* values) { return _mm256_loadu_ps(values); }
Floats add_squared_difference(Floats sum, Floats a, Floats b) {
  const __m256 difference = _mm256_sub_ps(a, b);
  return _mm256_fmadd_ps(difference, difference, sum);
}
float horizontal_sum(Floats floats) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(floats), _mm256_extractf128_ps(floats, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

}  // namespace
}  // namespace snvrag

#define SNVRAG_KERNEL_TABLE kAvx2Kernels
#include "kernels.inl"
