// Needs the include path alone: the bit layout, and a window's mask without Python.
#include <cstdint>
#include <cstdio>

#include "snvrag/bits.hpp"
#include "snvrag/philox.hpp"

int main() {
  constexpr std::int64_t num_sites = 130;
  static_assert(snvrag::num_words(num_sites) == 3);
  static_assert(snvrag::last_word_mask(num_sites) == 3);

  // Draw i of a window is word i % 4 of block i / 4, whose counter is i / 4 + 1.
  const snvrag::PhiloxKey key = snvrag::mask_key(/*seed=*/1, /*window=*/10007);
  for (std::uint64_t i = 0; i < num_sites; ++i) {
    const snvrag::PhiloxBlock block = snvrag::philox4x64({{i / 4 + 1, 0, 0, 0}}, key);
    std::putchar(snvrag::unit_double(block.word[i % 4]) < 0.5 ? '1' : '0');
  }
  std::putchar('\n');
}
