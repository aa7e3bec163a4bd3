#include "snvrag/genotypes.hpp"

#include <algorithm>

#include "kernel_table.hpp"
#include "snvrag/bits.hpp"

namespace snvrag {
namespace {

constexpr std::int64_t kWordSamples = 32;
constexpr std::uint64_t kEvenBits = 0x5555555555555555;

constexpr std::int32_t kMissing = -1, kNone = -2;

std::int32_t allele_of(std::int32_t code) {
  if (code == kNoAllele) return kNone;
  return code < 2 ? kMissing : (code >> 1) - 1;
}

// Moves bit 2 i to bit i, for bits of which the odd ones are zero.
std::uint64_t even_bits(std::uint64_t bits) {
  bits = (bits | bits >> 1) & 0x3333333333333333;
  bits = (bits | bits >> 2) & 0x0f0f0f0f0f0f0f0f;
  bits = (bits | bits >> 4) & 0x00ff00ff00ff00ff;
  bits = (bits | bits >> 8) & 0x0000ffff0000ffff;
  return (bits | bits >> 16) & 0x00000000ffffffff;
}

// Reads 32 diploid calls of alleles 0 and 1, which nearly all calls are. If any is not, returns
// false and writes nothing.
bool read_plain(const KernelTable& table, const std::int32_t* codes, const std::uint8_t* ploidy,
                std::uint64_t* alleles, std::uint64_t* unphased) {
  std::uint8_t allele[2 * kWordSamples], phased[2 * kWordSamples];
  std::uint32_t unusual = 0;
  for (std::int64_t i = 0; i < 2 * kWordSamples; ++i) {
    const std::uint32_t code = static_cast<std::uint32_t>(codes[i]) - 2;
    unusual |= code & ~std::uint32_t{3};
    allele[i] = static_cast<std::uint8_t>((code >> 1) & 1);
    phased[i] = static_cast<std::uint8_t>(code & 1);
  }
  for (std::int64_t i = 0; i < kWordSamples; ++i) unusual |= ploidy[i] ^ 2u;
  if (unusual != 0) return false;
  std::uint64_t phase;
  std::uint64_t bits;
  table.pack_row(allele, 2 * kWordSamples, &bits);
  table.pack_row(phased, 2 * kWordSamples, &phase);
  *alleles = bits;
  const std::uint64_t differ = (bits ^ (bits >> 1)) & ~(phase >> 1) & kEvenBits;
  *unphased = differ == 0 ? 0 : even_bits(differ);
  return true;
}

class CallReader {
 public:
  CallReader(std::int64_t width, std::uint8_t* ploidy) : width_(width), ploidy_(ploidy) {}

  // Adds the call of a sample to the two bits at `shift` of `alleles` and `missing`; returns
  // whether its alleles differ without a phase.
  bool read(const std::int32_t* codes, std::int64_t sample, int shift, std::uint64_t* alleles,
            std::uint64_t* missing) {
    std::int32_t first = width_ > 0 ? allele_of(codes[0]) : kNone;
    std::int32_t second = width_ > 1 ? allele_of(codes[1]) : kNone;
    bool is_called = first >= 0 || second >= 0;
    bool is_polyploid = false;
    for (std::int64_t i = 2; i < width_; ++i) {
      const std::int32_t allele = allele_of(codes[i]);
      is_called |= allele >= 0;
      is_polyploid |= allele != kNone;
      summary.highest_allele = std::max<std::int64_t>(summary.highest_allele, allele);
    }
    summary.highest_allele = std::max<std::int64_t>(summary.highest_allele, first);
    summary.highest_allele = std::max<std::int64_t>(summary.highest_allele, second);
    if (is_called) {
      const std::uint8_t found = second == kNone ? 1 : 2;
      if (is_polyploid && summary.first_polyploid < 0) summary.first_polyploid = sample;
      if (ploidy_[sample] == 0) ploidy_[sample] = found;
      if (ploidy_[sample] != found && summary.first_changed < 0) summary.first_changed = sample;
    }
    const bool is_unphased = second != kNone && is_called && first != second && (codes[1] & 1) == 0;
    if (is_unphased && first >= 0 && second >= 0) {
      if (summary.first_unphased < 0) summary.first_unphased = sample;
      ++summary.num_unphased;
    }
    const bool first_missing = first < 0;
    const bool second_missing = second == kMissing || (second == kNone && first_missing);
    if (first_missing || second_missing) ++summary.num_missing;
    *missing |= (std::uint64_t{first_missing} | std::uint64_t{second_missing} << 1) << shift;
    *alleles |= (std::uint64_t{first > 0} | std::uint64_t{second > 0} << 1) << shift;
    return is_unphased;
  }

  GenotypeSummary summary;

 private:
  std::int64_t width_;
  std::uint8_t* ploidy_;
};

}  // namespace

GenotypeSummary read_genotypes(const std::int32_t* codes, std::int64_t num_samples,
                               std::int64_t width, std::uint8_t* ploidy, std::uint64_t* alleles,
                               std::uint64_t* missing, std::uint64_t* unphased) {
  const KernelTable& table = kernels();
  CallReader reader(width, ploidy);
  GenotypeSummary& summary = reader.summary;
  std::fill_n(unphased, num_words(num_samples), std::uint64_t{0});
  for (std::int64_t start = 0; start < num_samples; start += kWordSamples, ++alleles, ++missing) {
    const std::int64_t count = std::min(kWordSamples, num_samples - start);
    *alleles = *missing = 0;
    std::uint64_t found = 0;
    const std::int32_t* calls = codes + start * width;
    if (width == 2 && count == kWordSamples &&
        read_plain(table, calls, ploidy + start, alleles, &found)) {
      if (*alleles != 0) summary.highest_allele = std::max<std::int64_t>(summary.highest_allele, 1);
      if (found == 0) continue;
      if (summary.first_unphased < 0) summary.first_unphased = start + __builtin_ctzll(found);
      summary.num_unphased += __builtin_popcountll(found);
    } else {
      for (std::int64_t i = 0; i < count; ++i) {
        const bool is_unphased =
            reader.read(calls + i * width, start + i, static_cast<int>(2 * i), alleles, missing);
        found |= std::uint64_t{is_unphased} << i;
      }
    }
    unphased[start / kWordBits] |= found << start % kWordBits;
  }
  return summary;
}

}  // namespace snvrag
