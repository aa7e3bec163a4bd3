// Bit layout of packed alleles.
//
// A row of n alleles takes num_words(n) little-endian 64-bit words; bit j of word w is allele
// 64*w + j, and the bits past the last allele are zero. A row is a haplotype (one bit for each
// site) or a site (one bit for each haplotype, as a panel is stored): the layout is the same.
#pragma once

#include <cstdint>

namespace snvrag {

inline constexpr std::int64_t kWordBits = 64;

constexpr std::int64_t num_words(std::int64_t num_bits) {
  return (num_bits + kWordBits - 1) / kWordBits;
}

// The bits of the last word that hold alleles, for a row of num_bits > 0.
constexpr std::uint64_t last_word_mask(std::int64_t num_bits) {
  return ~std::uint64_t{0} >> ((kWordBits - num_bits % kWordBits) % kWordBits);
}

constexpr bool has_bit(const std::uint64_t* row, std::int64_t at) {
  return (row[at / kWordBits] >> at % kWordBits & 1) != 0;
}

}  // namespace snvrag
