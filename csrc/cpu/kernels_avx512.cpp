// AVX-512 F, BW, DQ, VL and VPOPCNTDQ, with BMI2.
#include <immintrin.h>

#include "kernel_table.hpp"
#include "portable.inl"

namespace snvrag {
namespace {

constexpr int kQueryTile = 8;
constexpr int kL2Queries = 4;
constexpr int kL2Rows = 4;
constexpr int kFloatLanes = 16;

using Lanes = __m512i;

Lanes load_lanes(const std::uint64_t* words) { return _mm512_load_si512(words); }
Lanes broadcast_lanes(std::uint64_t word) {
  return _mm512_set1_epi64(static_cast<long long>(word));
}
Lanes exclusive_or(Lanes a, Lanes b) { return _mm512_xor_si512(a, b); }

struct BitCount {
  static constexpr std::int64_t kMaxWords = 1 << 24;
  __m512i lanes = _mm512_setzero_si512();

  void add(Lanes bits) { lanes = _mm512_add_epi64(lanes, _mm512_popcnt_epi64(bits)); }
  void fold() {}
  unsigned below(std::uint32_t threshold) const {
    return _mm512_cmplt_epu64_mask(lanes, _mm512_set1_epi64(threshold));
  }
  void store(std::uint64_t* distances) const { _mm512_storeu_si512(distances, lanes); }
};

std::uint64_t compress_bits(std::uint64_t bits, const CompactWord& word) {
  return _pext_u64(bits, word.keep);
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

Floats zero_floats() { return _mm512_setzero_ps(); }
Floats load_floats(const float* values) { return _mm512_loadu_ps(values); }
Floats add_squared_difference(Floats sum, Floats a, Floats b) {
  const __m512 difference = _mm512_sub_ps(a, b);
  return _mm512_fmadd_ps(difference, difference, sum);
}
float horizontal_sum(Floats floats) { return _mm512_reduce_add_ps(floats); }

}  // namespace
}  // namespace snvrag

#define SNVRAG_KERNEL_TABLE kAvx512Kernels
#include "kernels.inl"
