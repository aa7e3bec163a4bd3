// Genotypes as BCF writes them, to bits.
#pragma once

#include <cstdint>

namespace snvrag {

// The code behind the last allele of a call that has fewer than the others of its record.
constexpr std::int32_t kNoAllele = INT32_MIN + 1;

struct GenotypeSummary {
  std::int64_t first_unphased = -1;   // sample of the first unphased heterozygote
  std::int64_t num_unphased = 0;      // such samples
  std::int64_t first_changed = -1;    // sample of the first call of another ploidy than before
  std::int64_t first_polyploid = -1;  // sample of the first call of three alleles or more
  std::int64_t num_missing = 0;       // samples with a missing allele
  std::int64_t highest_allele = 0;
};

// `codes` has num_samples rows of `width` codes, (allele + 1) << 1 | phased; 0 and 1 are a missing
// allele, kNoAllele is none (the end of a haploid call). A call without any allele tells nothing of
// its ploidy.
//
// Two bits a sample, ceil(2 * num_samples / 64) words each: `alleles` (0 where missing) and
// `missing`. The second bit of a haploid sample is 0 in both. `ploidy`, one byte a sample, is 0
// until a call tells 1 or 2. With `hide_unphased`, unphased heterozygotes become missing (both
// bits), and count as unphased alone.
GenotypeSummary read_genotypes(const std::int32_t* codes, std::int64_t num_samples,
                               std::int64_t width, bool hide_unphased, std::uint8_t* ploidy,
                               std::uint64_t* alleles, std::uint64_t* missing);

}  // namespace snvrag
