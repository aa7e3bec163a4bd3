// Text of imputed genotypes, as VCF has it: GT:DS:HDS:GP of every sample of a record.
#pragma once

#include <cstdint>

namespace snvrag {

// Probabilities are in thousandths.
inline constexpr std::uint16_t kSureDosage = 1000;
// A tab, GT, and six numbers of at most five characters and a separator each.
inline constexpr std::int64_t kMaxCellBytes = 4 + 6 * 6;

struct ImputedDosages {
  std::int64_t num_samples = 0;
  const std::uint16_t* hap_dosage = nullptr;  // (num_records, num_samples, 2), up to kSureDosage
  const bool* haploid = nullptr;              // (num_samples): of these the first one counts
};

// Writes the cells of one record, each after a tab, and returns their end; nullptr if a dosage is
// too large. `out` has room for kMaxCellBytes a sample.
//
// With dosages a and b, GP is ((1 - a)(1 - b), the rest to 1, a b), each product rounded half up.
// GT is the most probable genotype, of fewer ALT alleles at a tie; in a heterozygote ALT is on the
// haplotype of the higher dosage, the first at a tie.
char* write_cells(const ImputedDosages& dosages, std::int64_t record, char* out);

}  // namespace snvrag
