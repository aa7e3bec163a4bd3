#include "snvrag/genotypes.hpp"

#include <algorithm>

namespace snvrag {

GenotypeSummary read_genotypes(const std::int16_t* calls, std::int64_t num_samples,
                               std::uint8_t* alleles) {
  GenotypeSummary summary;
  for (std::int64_t sample = 0; sample < num_samples; ++sample, calls += 3) {
    const std::int16_t first = calls[0], second = calls[1];
    if (first != second && calls[2] == 0 && first >= 0 && second >= 0 &&
        summary.first_unphased < 0) {
      summary.first_unphased = sample;
    }
    if ((first == -2 || second == -2) && summary.first_haploid < 0) summary.first_haploid = sample;
    summary.num_missing += (first < 0) + (second < 0);
    summary.num_alt += (first == 1) + (second == 1);
    summary.highest_allele =
        std::max<std::int64_t>(summary.highest_allele, std::max(first, second));
    alleles[2 * sample] = static_cast<std::uint8_t>(first < 0 ? 255 : first);
    alleles[2 * sample + 1] = static_cast<std::uint8_t>(second < 0 ? 255 : second);
  }
  return summary;
}

}  // namespace snvrag
