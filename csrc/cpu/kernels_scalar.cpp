// The level every machine runs: plain C++ for the baseline of the architecture.
#include "kernel_table.hpp"
#include "portable.inl"

namespace snvrag {
namespace {

constexpr int kQueryTile = 2;
constexpr int kL2Queries = 2;
constexpr int kL2Rows = 2;
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

// Warren, Hacker's Delight, 5-1: the baseline has no population count instruction.
std::uint64_t count_bits(std::uint64_t word) {
  word -= (word >> 1) & 0x5555555555555555u;
  word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return word * 0x0101010101010101u >> 56;
}

struct BitCount {
  static constexpr std::int64_t kMaxWords = 1 << 24;
  std::uint64_t lane[kBlockLanes] = {};

  void add(const Lanes& bits) {
    for (int i = 0; i < kBlockLanes; ++i) lane[i] += count_bits(bits.lane[i]);
  }
  void fold() {}
  unsigned below(std::uint32_t threshold) const {
    unsigned mask = 0;
    for (int i = 0; i < kBlockLanes; ++i) mask |= unsigned{lane[i] < threshold} << i;
    return mask;
  }
  void store(std::uint64_t* distances) const { __builtin_memcpy(distances, lane, sizeof lane); }
};

std::uint64_t compress_bits(std::uint64_t bits, const CompactWord& word) {
  return compress_bits_portable(bits, word);
}
bool pack_word(const std::uint8_t* alleles, std::uint64_t* bits) {
  return pack_word_portable(alleles, bits);
}
void unpack_word(std::uint64_t bits, std::uint8_t* alleles) { unpack_word_portable(bits, alleles); }

struct Floats {
  float lane[kFloatLanes];
};

Floats zero_floats() { return {}; }

Floats load_floats(const float* values) {
  Floats floats;
  __builtin_memcpy(&floats, values, sizeof floats);
  return floats;
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

}  // namespace
}  // namespace snvrag

#define SNVRAG_KERNEL_TABLE kScalarKernels
#include "kernels.inl"
