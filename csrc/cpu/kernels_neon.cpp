// NEON (Advanced SIMD), which every 64-bit Arm has.
#include <arm_neon.h>

#include "kernel_table.hpp"
#include "portable.inl"

namespace snvrag {
namespace {

constexpr int kQueryTile = 2;
constexpr int kL2Queries = 4;
constexpr int kL2Rows = 4;
constexpr int kFloatLanes = 4;

struct Lanes {
  uint64x2_t part[4];
};

Lanes load_lanes(const std::uint64_t* words) {
  return {{vld1q_u64(words), vld1q_u64(words + 2), vld1q_u64(words + 4), vld1q_u64(words + 6)}};
}
Lanes broadcast_lanes(std::uint64_t word) {
  const uint64x2_t all = vdupq_n_u64(word);
  return {{all, all, all, all}};
}
Lanes exclusive_or(const Lanes& a, const Lanes& b) {
  Lanes lanes;
  for (int i = 0; i < 4; ++i) lanes.part[i] = veorq_u64(a.part[i], b.part[i]);
  return lanes;
}

struct BitCount {
  static constexpr std::int64_t kMaxWords = 31;  // 31 x 8 bits fit a byte
  uint64x2_t sum[4] = {vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0)};
  uint8x16_t bytes[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};

  void add(const Lanes& bits) {
    for (int i = 0; i < 4; ++i) {
      bytes[i] = vaddq_u8(bytes[i], vcntq_u8(vreinterpretq_u8_u64(bits.part[i])));
    }
  }
  void fold() {
    for (int i = 0; i < 4; ++i) {
      sum[i] = vpadalq_u32(sum[i], vpaddlq_u16(vpaddlq_u8(bytes[i])));
      bytes[i] = vdupq_n_u8(0);
    }
  }
  unsigned below(std::uint32_t threshold) const {
    unsigned mask = 0;
    for (int i = 0; i < 4; ++i) {
      mask |= unsigned{vgetq_lane_u64(sum[i], 0) < threshold} << (2 * i);
      mask |= unsigned{vgetq_lane_u64(sum[i], 1) < threshold} << (2 * i + 1);
    }
    return mask;
  }
  void store(std::uint64_t* distances) const {
    for (int i = 0; i < 4; ++i) vst1q_u64(distances + 2 * i, sum[i]);
  }
};

std::uint64_t compress_bits(std::uint64_t bits, const CompactWord& word) {
  return compress_bits_portable(bits, word);
}
bool pack_word(const std::uint8_t* alleles, std::uint64_t* bits) {
  return pack_word_portable(alleles, bits);
}
void unpack_word(std::uint64_t bits, std::uint8_t* alleles) { unpack_word_portable(bits, alleles); }

using Floats = float32x4_t;

Floats zero_floats() { return vdupq_n_f32(0.0f); }
Floats load_floats(const float* values) { return vld1q_f32(values); }
Floats add_squared_difference(Floats sum, Floats a, Floats b) {
  const float32x4_t difference = vsubq_f32(a, b);
  return vfmaq_f32(sum, difference, difference);
}
float horizontal_sum(Floats floats) { return vaddvq_f32(floats); }

}  // namespace
}  // namespace snvrag

#define SNVRAG_KERNEL_TABLE kNeonKernels
#include "kernels.inl"
