// Genotypes in BCF's coding, converted to bits.
#pragma once

#include <cstdint>

namespace snvrag {

// BCF's end-of-vector code: fills up a call that has fewer alleles than others of its record.
constexpr std::int32_t kNoAllele = INT32_MIN + 1;

struct GenotypeSummary {
  std::int64_t first_unphased = -1;   // sample of the first unphased heterozygote
  std::int64_t num_unphased = 0;      // such samples
  std::int64_t first_changed = -1;    // sample of the first call whose ploidy differs from before
  std::int64_t first_polyploid = -1;  // sample of the first call of three alleles or more
  std::int64_t num_missing = 0;       // samples with a missing allele
  std::int64_t highest_allele = 0;
};

// `codes` has num_samples rows of `width` codes, (allele + 1) << 1 | phased; 0 and 1 are a missing
// allele, kNoAllele ends a haploid call. A call whose alleles are all missing leaves its ploidy
// open.
//
// Writes two bits for each sample to `alleles` (0 where missing) and to `missing`, in
// ceil(2 * num_samples / 64) words each. The second bit of a haploid sample is 0 in both.
// `ploidy`, one byte for each sample, is read and written: 0 while unknown, then 1 or 2. Writes one
// bit for each sample to `unphased`, in ceil(num_samples / 64) words: 1 where the call has no phase
// and its two alleles differ, one of which may be missing.
GenotypeSummary read_genotypes(const std::int32_t* codes, std::int64_t num_samples,
                               std::int64_t width, std::uint8_t* ploidy, std::uint64_t* alleles,
                               std::uint64_t* missing, std::uint64_t* unphased);

}  // namespace snvrag
