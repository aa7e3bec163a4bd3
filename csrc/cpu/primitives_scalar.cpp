// The level that every machine runs: plain C++ for the baseline of the architecture.
#include "kernel_table.hpp"

#define SNVRAG_LEVEL scalar
#include "portable.inl"

namespace snvrag::scalar {
namespace {

constexpr int kQueryTile = 2;
constexpr int kMostHead = kPortableMostHead;
constexpr int kGroupBits = kPortableGroupBits;
constexpr std::int64_t kWordTable = kPortableWordTable;
constexpr int kL2Queries = 2;
constexpr int kL2Rows = 2;
constexpr int kPairRows = 2;
constexpr int kFloatLanes = 4;

struct Lanes {
  std::uint64_t lane[kBlockLanes];
};

Lanes load_lanes(const std::uint64_t* words) {
  Lanes lanes;
  __builtin_memcpy(&lanes, words, sizeof lanes);
  return lanes;
}

Lanes broadcast_lanes(std::uint64_t word) {
  return {{word, word, word, word, word, word, word, word}};
}

Lanes exclusive_or(const Lanes& a, const Lanes& b) {
  Lanes lanes;
  for (int i = 0; i < kBlockLanes; ++i) lanes.lane[i] = a.lane[i] ^ b.lane[i];
  return lanes;
}

std::uint64_t count_bits(std::uint64_t word) { return count_bits_portable(word); }

struct BitCount {
  using Limit = std::uint64_t;
  std::uint64_t lane[kBlockLanes] = {};

  static Limit make_limit(std::uint32_t threshold) { return threshold; }
  void add(const Lanes& bits, const std::int32_t*, std::int64_t) {
    for (int i = 0; i < kBlockLanes; ++i) lane[i] += count_bits(bits.lane[i]);
  }
  void fold() {}
  static int head_limit(std::uint32_t threshold, int) {
    return count_head_limit(threshold, kMostHead);
  }
  template <bool kBegin>
  void store_head(std::uint8_t* bytes, int) const {
    for (int i = 0; i < kBlockLanes; ++i) {
      const std::uint64_t sum = lane[i] + (kBegin ? 0 : bytes[i]);
      bytes[i] = static_cast<std::uint8_t>(sum < kMostHead ? sum : kMostHead);
    }
  }
  unsigned below(Limit limit) const {
    unsigned mask = 0;
    for (int i = 0; i < kBlockLanes; ++i) mask |= unsigned{lane[i] < limit} << i;
    return mask;
  }
  void store(std::uint32_t* distances) const {
    for (int i = 0; i < kBlockLanes; ++i) distances[i] = static_cast<std::uint32_t>(lane[i]);
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

struct Floats {
  float lane[kFloatLanes];
};

Floats load_floats(const float* values) {
  Floats floats;
  __builtin_memcpy(&floats, values, sizeof floats);
  return floats;
}

void store_floats(float* values, const Floats& floats) {
  __builtin_memcpy(values, &floats, sizeof floats);
}
Floats add_squared_difference(Floats sum, const Floats& a, const Floats& b) {
  for (int i = 0; i < kFloatLanes; ++i) {
    const float difference = a.lane[i] - b.lane[i];
    sum.lane[i] += difference * difference;
  }
  return sum;
}

float horizontal_sum(const Floats& floats) {
  return (floats.lane[0] + floats.lane[1]) + (floats.lane[2] + floats.lane[3]);
}

using LaneMask = unsigned;

LaneMask lane_mask(std::uint64_t word, int vector) {
  return static_cast<LaneMask>(word >> (kFloatLanes * vector));
}

Floats broadcast_floats(float value) { return {{value, value, value, value}}; }

Floats add(Floats a, const Floats& b) {
  for (int i = 0; i < kFloatLanes; ++i) a.lane[i] += b.lane[i];
  return a;
}

Floats maximum(Floats a, const Floats& b) {
  for (int i = 0; i < kFloatLanes; ++i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
  return a;
}

Floats multiply(Floats a, const Floats& b) {
  for (int i = 0; i < kFloatLanes; ++i) a.lane[i] *= b.lane[i];
  return a;
}

Floats multiply_add(const Floats& a, const Floats& b, Floats c) {
  for (int i = 0; i < kFloatLanes; ++i) c.lane[i] += a.lane[i] * b.lane[i];
  return c;
}

Floats add_where(LaneMask mask, Floats a, const Floats& b) {
  for (int i = 0; i < kFloatLanes; ++i) a.lane[i] += (mask >> i & 1) != 0 ? b.lane[i] : 0.0f;
  return a;
}

Floats scale_where(LaneMask mask, Floats a, const Floats& b) {
  for (int i = 0; i < kFloatLanes; ++i) a.lane[i] *= (mask >> i & 1) != 0 ? b.lane[i] : 1.0f;
  return a;
}

Floats gather_ascending(const float* from, const std::int32_t* index) {
  float lanes[kFloatLanes];
  for (int i = 0; i < kFloatLanes; ++i) lanes[i] = from[index[i]];
  return load_floats(lanes);
}

Floats choose(LaneMask mask, Floats a, const Floats& b) {
  for (int i = 0; i < kFloatLanes; ++i) a.lane[i] = (mask >> i & 1) != 0 ? b.lane[i] : a.lane[i];
  return a;
}

}  // namespace
}  // namespace snvrag::scalar

#include "kernels.inl"
