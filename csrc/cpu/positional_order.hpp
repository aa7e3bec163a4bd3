// The order in which haplotypes that match long up to a site are neighbours, and lengths of
// matches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "snvrag/bits.hpp"

namespace snvrag {

// How many sites in a row, from bit `at` on towards lower bits, two haplotypes have equal.
inline std::int64_t match_before(const std::uint64_t* a, const std::uint64_t* b, std::int64_t at) {
  std::int64_t w = at / 64;
  const std::uint64_t here = (a[w] ^ b[w]) << (63 - at % 64);
  if (here != 0) return __builtin_clzll(here);
  while (w > 0 && a[w - 1] == b[w - 1]) --w;
  if (w == 0) return at + 1;
  return at + 1 - 64 * w + __builtin_clzll(a[w - 1] ^ b[w - 1]);
}

// The same towards higher bits, in a row of `num_bits` whose padding is equal.
inline std::int64_t match_after(const std::uint64_t* a, const std::uint64_t* b, std::int64_t at,
                                std::int64_t num_bits) {
  std::int64_t w = at / 64;
  const std::int64_t stop = num_words(num_bits);
  const std::uint64_t here = (a[w] ^ b[w]) >> (at % 64);
  if (here != 0) return __builtin_ctzll(here);
  do {
    if (++w == stop) return num_bits - at;
  } while (a[w] == b[w]);
  return 64 * w - at + __builtin_ctzll(a[w] ^ b[w]);
}

// The haplotypes of a panel by their alleles at the last site, then at the one before, and so on:
// the positional Burrows-Wheeler transform (Durbin, Bioinformatics 30:1266, 2014).
class PositionalOrder {
 public:
  PositionalOrder(std::int64_t num_haplotypes, bool is_backward)
      : size_(num_haplotypes),
        order_(static_cast<std::size_t>(num_haplotypes)),
        with_one_(order_.size()),
        alleles_(static_cast<std::size_t>(num_haplotypes / 64 + 1)),
        ones_before_(alleles_.size()) {
    // Without sites: an order in which neighbours are spread evenly over the panel.
    std::int64_t stride = std::max<std::int64_t>(1, size_ * 618 / 1000);
    while (std::gcd(stride, size_) != 1) ++stride;
    for (std::int64_t i = 0, h = 0; i < size_; ++i, h = (h + stride) % size_) {
      order_[static_cast<std::size_t>(is_backward ? size_ - 1 - i : i)] =
          static_cast<std::uint32_t>(h);
    }
  }

  std::int64_t size() const { return size_; }
  std::int32_t operator[](std::int64_t place) const {
    return static_cast<std::int32_t>(order_[static_cast<std::size_t>(place)]);
  }

  // Sorts by the alleles of one more site, stably. Each haplotype is written both after the zeros
  // and after the ones, of which one counts: there is no branch.
  void advance(const std::uint64_t* row) {
    std::uint32_t* order = order_.data();
    std::int64_t ones = 0;
    for (std::int64_t first = 0; first <= size_; first += 64) {
      const std::int64_t count = std::min<std::int64_t>(64, size_ - first);
      std::uint64_t word = 0;
      ones_before_[static_cast<std::size_t>(first / 64)] = ones;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::uint32_t haplotype = order[first + i];
        const std::uint64_t allele = row[haplotype / 64] >> (haplotype % 64) & 1;
        word = word >> 1 | allele << 63;
        order[first + i - ones] = haplotype;
        with_one_[static_cast<std::size_t>(ones)] = haplotype;
        ones += static_cast<std::int64_t>(allele);
      }
      alleles_[static_cast<std::size_t>(first / 64)] = count == 0 ? 0 : word >> (64 - count);
    }
    num_zeros_ = size_ - ones;
    std::copy_n(with_one_.data(), ones, order + num_zeros_);
  }

  // Where a query of this allele goes that was before the haplotype at `place`.
  std::int64_t advanced(std::int64_t place, bool allele) const {
    const auto w = static_cast<std::size_t>(place / 64);
    const std::uint64_t before = alleles_[w] & ((std::uint64_t{1} << (place % 64)) - 1);
    const std::int64_t ones = ones_before_[w] + __builtin_popcountll(before);
    return allele ? num_zeros_ + ones : place - ones;
  }

 private:
  const std::int64_t size_;
  std::vector<std::uint32_t> order_, with_one_;
  // Of the last site: the alleles in the order before it, and how many are ALT before each word.
  std::vector<std::uint64_t> alleles_;
  std::vector<std::int64_t> ones_before_;
  std::int64_t num_zeros_ = 0;
};

}  // namespace snvrag
