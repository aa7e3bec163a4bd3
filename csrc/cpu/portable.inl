// Portable versions of what a level may have better instructions for, in the including file's
// namespace. Little-endian.

namespace snvrag::SNVRAG_LEVEL {
namespace {

// Converts a threshold to a float; the initial threshold, which is none, becomes infinity.
[[maybe_unused]] float weight_limit(std::uint32_t threshold) {
  constexpr std::uint32_t kInfinity = 0x7f800000u;
  if (threshold > kInfinity) threshold = kInfinity;
  float limit;
  __builtin_memcpy(&limit, &threshold, sizeof limit);
  return limit;
}

// The largest head, up to `most`, that a distance below the threshold can have.
[[maybe_unused]] int weight_head_limit(std::uint32_t threshold, int shift, int most) {
  const float limit = weight_limit(threshold);
  if (!(limit < 2147483648.0f)) return most;
  const int head = static_cast<std::int32_t>(limit) >> shift;
  return head < most ? head : most;
}

[[maybe_unused]] int count_head_limit(std::uint32_t threshold, int most) {
  return threshold > static_cast<std::uint32_t>(most) ? most : static_cast<int>(threshold) - 1;
}

// Sets the top bits of the bytes that do not exceed the limit. Heads are below 128, so that no byte
// borrows from its neighbour.
[[maybe_unused]] inline std::uint64_t bytes_at_most(const std::uint8_t* eight_bytes, int limit) {
  constexpr std::uint64_t kOnes = 0x0101010101010101u, kTops = kOnes << 7;
  std::uint64_t eight;
  __builtin_memcpy(&eight, eight_bytes, sizeof eight);
  return ~((eight | kTops) - kOnes * static_cast<std::uint64_t>(limit + 1)) & kTops;
}

[[maybe_unused]] std::int64_t alive_blocks_portable(const std::uint8_t* bytes,
                                                    std::int64_t num_blocks, int limit,
                                                    std::uint32_t* alive) {
  std::int64_t found = 0;
  for (std::int64_t block = 0; block < num_blocks; ++block) {
    alive[found] = static_cast<std::uint32_t>(block);
    found += bytes_at_most(bytes + kBlockLanes * block, limit) != 0;
  }
  return found;
}

// Counts in the first eight of every `step` blocks.
[[maybe_unused]] std::int64_t count_at_most_portable(const std::uint8_t* bytes,
                                                     std::int64_t num_blocks, std::int64_t step,
                                                     int limit) {
  std::int64_t total = 0;
  for (std::int64_t first = 0; first < num_blocks; first += step) {
    std::uint64_t sums = 0;
    for (std::int64_t block = first; block < first + 8; ++block) {
      sums += bytes_at_most(bytes + kBlockLanes * block, limit) >> 7;
    }
    total += static_cast<std::int64_t>(sums * 0x0101010101010101u >> 56);
  }
  return total;
}

// Warren, Hacker's Delight, 5-1: not every baseline has a population count instruction.
[[maybe_unused]] std::uint64_t count_bits_portable(std::uint64_t word) {
  word -= (word >> 1) & 0x5555555555555555u;
  word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return word * 0x0101010101010101u >> 56;
}

constexpr int kPortableGroupBits = 4;
constexpr std::int64_t kPortableWordTable = 16 * (1 << kPortableGroupBits);

// Largest head of the levels without a comparison of unsigned bytes.
constexpr int kPortableMostHead = 127;

template <class Lanes>
struct WeightSumPortable {
  using Limit = float;
  std::int32_t lane[kBlockLanes] = {};

  static Limit make_limit(std::uint32_t threshold) { return weight_limit(threshold); }
  void add(const Lanes& bits, const std::int32_t* tables, std::int64_t word) {
    tables += word * kPortableWordTable;
    std::uint64_t words[kBlockLanes];
    __builtin_memcpy(words, &bits, sizeof words);
    for (int group = 0; group < 8; ++group) {
      const std::int32_t* low = tables + 32 * group;
      const std::int32_t* high = low + 16;
      for (int i = 0; i < kBlockLanes; ++i) {
        lane[i] += low[words[i] >> (4 * group) & 15] + high[words[i] >> (4 * group + 32) & 15];
      }
    }
  }
  void fold() {}
  static int head_limit(std::uint32_t threshold, int shift) {
    return weight_head_limit(threshold, shift, kPortableMostHead);
  }
  template <bool kBegin>
  void store_head(std::uint8_t* bytes, int shift) const {
    for (int i = 0; i < kBlockLanes; ++i) {
      const std::int64_t sum = std::int64_t{lane[i] >> shift} + (kBegin ? 0 : bytes[i]);
      bytes[i] = static_cast<std::uint8_t>(sum < kPortableMostHead ? sum : kPortableMostHead);
    }
  }
  unsigned below(Limit limit) const {
    unsigned mask = 0;
    for (int i = 0; i < kBlockLanes; ++i) {
      mask |= unsigned{static_cast<float>(lane[i]) < limit} << i;
    }
    return mask;
  }
  void store(std::uint32_t* distances) const {
    for (int i = 0; i < kBlockLanes; ++i) {
      const auto sum = static_cast<float>(lane[i]);
      __builtin_memcpy(distances + i, &sum, sizeof sum);
    }
  }
};

// One of the six rounds of the recursive block transpose (Warren, Hacker's Delight, 7-3), here
// with bit 0 as the first column.
template <int J>
[[maybe_unused]] void transpose_round(std::uint64_t* words, std::uint64_t mask) {
  for (int base = 0; base < 64; base += 2 * J) {
    for (int i = base; i < base + J; ++i) {
      const std::uint64_t swap = ((words[i] >> J) ^ words[i + J]) & mask;
      words[i] ^= swap << J;
      words[i + J] ^= swap;
    }
  }
}

[[maybe_unused]] void transpose64_portable(std::uint64_t* words) {
  transpose_round<32>(words, 0x00000000ffffffffu);
  transpose_round<16>(words, 0x0000ffff0000ffffu);
  transpose_round<8>(words, 0x00ff00ff00ff00ffu);
  transpose_round<4>(words, 0x0f0f0f0f0f0f0f0fu);
  transpose_round<2>(words, 0x3333333333333333u);
  transpose_round<1>(words, 0x5555555555555555u);
}

template <class Transpose>
void transpose_tiles_portable(const std::uint64_t* const* rows, std::int64_t num_rows,
                              std::int64_t first, unsigned columns, std::uint64_t (*tiles)[64],
                              Transpose transpose) {
  for (; columns != 0; columns &= columns - 1) {
    const int c = __builtin_ctz(columns);
    for (std::int64_t r = 0; r < num_rows; ++r) tiles[c][r] = rows[r][first + c];
    for (std::int64_t r = num_rows; r < 64; ++r) tiles[c][r] = 0;
    transpose(tiles[c]);
  }
}

[[maybe_unused]] bool pack_word_portable(const std::uint8_t* alleles, std::uint64_t* bits) {
  std::uint64_t word = 0, seen = 0;
  for (int i = 0; i < 8; ++i) {
    std::uint64_t eight;
    __builtin_memcpy(&eight, alleles + 8 * i, 8);
    seen |= eight;
    word |= ((eight & 0x0101010101010101u) * 0x0102040810204080u >> 56) << (8 * i);
  }
  *bits = word;
  return (seen & 0xfefefefefefefefeu) == 0;
}

[[maybe_unused]] void unpack_word_portable(std::uint64_t bits, std::uint8_t* alleles) {
  for (int i = 0; i < 8; ++i) {
    // Copies the byte into all eight, keeps one bit in each, and makes any such bit a 1.
    std::uint64_t eight = ((bits >> (8 * i)) & 0xff) * 0x0101010101010101u & 0x8040201008040201u;
    eight = ((eight + 0x7f7f7f7f7f7f7f7fu) >> 7 | eight >> 7) & 0x0101010101010101u;
    __builtin_memcpy(alleles + 8 * i, &eight, 8);
  }
}

}  // namespace
}  // namespace snvrag::SNVRAG_LEVEL
