// Genotypes as variant readers give them, to alleles.
#pragma once

#include <cstdint>

namespace snvrag {

struct GenotypeSummary {
  std::int64_t first_unphased = -1;  // sample of the first unphased heterozygote
  std::int64_t first_haploid = -1;   // sample of the first call with fewer than two alleles
  std::int64_t num_missing = 0;      // alleles that are missing
  std::int64_t num_alt = 0;          // alleles that are 1
  std::int64_t highest_allele = 0;
};

// `calls` has num_samples rows (allele, allele, phased flag), -1 a missing allele, -2 none (the end
// of a haploid call). Writes 2 * num_samples bytes: 0, 1, or 255 for missing and for none; alleles
// above 1 are written as they are, cut to a byte, and counted in highest_allele.
GenotypeSummary read_genotypes(const std::int16_t* calls, std::int64_t num_samples,
                               std::uint8_t* alleles);

}  // namespace snvrag
