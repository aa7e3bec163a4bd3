// Level-independent pieces that levels without a better instruction take, in the including file's
// anonymous namespace. Little-endian.

namespace snvrag {
namespace {

constexpr std::int64_t kBlockLanes = 8;

[[maybe_unused]] std::uint64_t compress_bits_portable(std::uint64_t bits, const CompactWord& word) {
  bits &= word.keep;
  for (int step = 0; step < 6; ++step) {
    const std::uint64_t moving = bits & word.move[step];
    bits = (bits ^ moving) | (moving >> (1 << step));
  }
  return bits;
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
}  // namespace snvrag
