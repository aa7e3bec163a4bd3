// NEON (Advanced SIMD), which every 64-bit Arm processor has.
#include <arm_neon.h>

#include "kernel_table.hpp"

#define SNVRAG_LEVEL neon
#include "portable.inl"

namespace snvrag::neon {
namespace {

constexpr int kQueryTile = 2;
constexpr int kMostHead = kPortableMostHead;
constexpr int kGroupBits = kPortableGroupBits;
constexpr std::int64_t kWordTable = kPortableWordTable;
constexpr int kL2Queries = 4;
constexpr int kL2Rows = 4;
constexpr int kPairRows = 4;
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

std::uint64_t count_bits(std::uint64_t word) { return count_bits_portable(word); }

// Counts are kept as bytes between two folds.
struct BitCount {
  using Limit = uint64x2_t;
  uint64x2_t sum[4] = {vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0)};
  uint8x16_t bytes[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};

  static Limit make_limit(std::uint32_t threshold) { return vdupq_n_u64(threshold); }
  void add(const Lanes& bits, const std::int32_t*, std::int64_t) {
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
  static int head_limit(std::uint32_t threshold, int) {
    return count_head_limit(threshold, kMostHead);
  }
  template <bool kBegin>
  void store_head(std::uint8_t* head, int) const {
    const uint16x8_t lanes =
        vcombine_u16(vmovn_u32(vcombine_u32(vmovn_u64(sum[0]), vmovn_u64(sum[1]))),
                     vmovn_u32(vcombine_u32(vmovn_u64(sum[2]), vmovn_u64(sum[3]))));
    uint8x8_t eight = vqmovn_u16(lanes);
    if (!kBegin) eight = vqadd_u8(eight, vld1_u8(head));
    vst1_u8(head, vmin_u8(eight, vdup_n_u8(kMostHead)));
  }
  unsigned below(Limit limit) const {
    unsigned mask = 0;
    for (int i = 0; i < 4; ++i) {
      const uint64x2_t less = vcltq_u64(sum[i], limit);
      mask |= static_cast<unsigned>(vgetq_lane_u64(less, 0) & 1) << (2 * i);
      mask |= static_cast<unsigned>(vgetq_lane_u64(less, 1) & 1) << (2 * i + 1);
    }
    return mask;
  }
  void store(std::uint32_t* distances) const {
    for (int i = 0; i < 4; ++i) vst1_u32(distances + 2 * i, vmovn_u64(sum[i]));
  }
};

using WeightSum = WeightSumPortable<Lanes>;

std::int64_t alive_blocks(const std::uint8_t* bytes, std::int64_t num_blocks, int limit,
                          std::uint32_t* alive) {
  return alive_blocks_portable(bytes, num_blocks, limit, alive);
}

std::int64_t count_at_most(const std::uint8_t* bytes, std::int64_t num_blocks, std::int64_t step,
                           int limit) {
  return count_at_most_portable(bytes, num_blocks, step, limit);
}

bool pack_word(const std::uint8_t* alleles, std::uint64_t* bits) {
  return pack_word_portable(alleles, bits);
}
void unpack_word(std::uint64_t bits, std::uint8_t* alleles) { unpack_word_portable(bits, alleles); }
void transpose64(std::uint64_t* words) { transpose64_portable(words); }
void transpose_tiles(const std::uint64_t* const* rows, std::int64_t num_rows, std::int64_t first,
                     unsigned columns, std::uint64_t (*tiles)[64]) {
  transpose_tiles_portable(rows, num_rows, first, columns, tiles, transpose64);
}

using Floats = float32x4_t;

Floats load_floats(const float* values) { return vld1q_f32(values); }
void store_floats(float* values, Floats floats) { vst1q_f32(values, floats); }
Floats add_squared_difference(Floats sum, Floats a, Floats b) {
  const float32x4_t difference = vsubq_f32(a, b);
  return vfmaq_f32(sum, difference, difference);
}
float horizontal_sum(Floats floats) { return vaddvq_f32(floats); }

using LaneMask = uint32x4_t;

LaneMask lane_mask(std::uint64_t word, int vector) {
  const std::uint32_t lane_bits[4] = {1, 2, 4, 8};
  const auto bits = static_cast<std::uint32_t>(word >> (kFloatLanes * vector));
  return vtstq_u32(vdupq_n_u32(bits), vld1q_u32(lane_bits));
}
Floats broadcast_floats(float value) { return vdupq_n_f32(value); }
Floats add(Floats a, Floats b) { return vaddq_f32(a, b); }
Floats maximum(Floats a, Floats b) { return vmaxq_f32(a, b); }
Floats multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
Floats multiply_add(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
Floats add_where(LaneMask mask, Floats a, Floats b) {
  return vaddq_f32(a, vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(b))));
}
Floats scale_where(LaneMask mask, Floats a, Floats b) {
  return vbslq_f32(mask, vmulq_f32(a, b), a);
}
Floats gather_ascending(const float* from, const std::int32_t* index) {
  float lanes[kFloatLanes];
  for (int i = 0; i < kFloatLanes; ++i) lanes[i] = from[index[i]];
  return load_floats(lanes);
}
Floats choose(LaneMask mask, Floats a, Floats b) { return vbslq_f32(mask, b, a); }

}  // namespace
}  // namespace snvrag::neon

#include "kernels.inl"
