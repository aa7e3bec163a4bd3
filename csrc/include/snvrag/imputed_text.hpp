// Text of imputed and of phased genotypes, as VCF has it: the cells of the samples of a record.
#pragma once

#include <cstdint>

namespace snvrag {

// Probabilities are in thousandths.
inline constexpr std::uint16_t kSureDosage = 1000;
// Of two ALT alleles: that it is the product of the haplotypes' probabilities.
inline constexpr std::uint16_t kProduct = 65535;
// A colon and a position of at most ten digits.
inline constexpr std::int64_t kMaxPhaseSetBytes = 11;
// A tab, GT, six numbers of at most five characters and a separator each, and PS.
inline constexpr std::int64_t kMaxCellBytes = 4 + 6 * 6 + kMaxPhaseSetBytes;
inline constexpr std::int64_t kMaxPhasedCellBytes = 4 + kMaxPhaseSetBytes;

struct ImputedDosages {
  std::int64_t num_samples = 0;
  const std::uint16_t* hap_dosage = nullptr;  // (num_records, num_samples, 2), up to kSureDosage
  const bool* haploid = nullptr;              // (num_samples): of these the first one counts
  const std::uint16_t* hom_alt = nullptr;     // (num_records, num_samples), or all are kProduct
  const std::int32_t* phase_set = nullptr;    // (num_records, num_samples), 0 for none, or no PS
};

// Writes the cells of one record, GT:DS:HDS:GP or GT:DS:HDS:GP:PS, each after a tab, and returns
// their end; nullptr if a dosage or a phase set is out of range. `out` has room for kMaxCellBytes a
// sample.
//
// With dosages a and b, GP is ((1 - a)(1 - b), the rest to 1, a b), each product rounded half up;
// with a `hom_alt` other than kProduct (1 - a - b + hom_alt, a + b - 2 hom_alt, hom_alt), of the
// nearest `hom_alt` for which none is negative. GT is the most probable genotype, of fewer ALT
// alleles at a tie; in a heterozygote ALT is on the haplotype of the higher dosage. If they are
// equal, it is on the first one, but with such a `hom_alt` on the second.
char* write_cells(const ImputedDosages& dosages, std::int64_t record, char* out);

struct PhasedGenotypes {
  std::int64_t num_samples = 0;
  // (num_records, ceil(2 * num_samples / 64)): bits 2 * i and 2 * i + 1 are sample i.
  const std::uint64_t* alleles = nullptr;
  const std::uint64_t* missing = nullptr;
  const bool* haploid = nullptr;            // (num_samples): of these the first one counts
  const std::int32_t* phase_set = nullptr;  // (num_records, num_samples), 0 for none
};

// Writes the cells of one record, GT:PS, each after a tab, and returns their end; nullptr if a
// phase set is out of range. `out` has room for kMaxPhasedCellBytes a sample.
char* write_phased_cells(const PhasedGenotypes& genotypes, std::int64_t record, char* out);

}  // namespace snvrag
