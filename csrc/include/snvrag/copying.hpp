// The Li-Stephens model: a haplotype as an imperfect mosaic of those of a panel.
#pragma once

#include <cstdint>

#include "snvrag/cancel.hpp"

namespace snvrag {

// What all queries of a call share. Haplotype h of the panel is bit h of a site's row.
struct CopyingPanel {
  const std::uint64_t* site_bits;
  std::int64_t stride;  // words from one site's row to the next
  std::int64_t num_haplotypes, num_sites;
  const std::uint8_t* observed;  // of each site, whether the queries' alleles are known
  const double* switches;        // expected switches from the first site on, ascending
  float error;                   // probability that a copied allele differs, in (0, 0.5]; at least
                                 // 1e-12 is taken
};

struct CopyingQueries {
  const std::uint64_t* bits;     // (num_queries, words of num_sites)
  const std::uint64_t* missing;  // the same shape, ones at observed sites that one query lacks; or
                                 // null
  std::int64_t num_queries;
  const std::int64_t* exclude;  // (num_queries, num_exclude): not copied from; negative: none
  std::int64_t num_exclude;
};

// Writes (num_queries, num_sites) probabilities that a query's allele is ALT: the posterior of the
// copied haplotype at the observed sites (forward-backward; Li and Stephens, Genetics 165, 2003),
// by which the panel's alleles are averaged. Between two observed sites the posterior is
// interpolated linearly in `switches`, outside them it is that of the nearest. From one observed
// site to the next the copied haplotype is chosen anew with probability 1 - exp(-switches between).
// At observed sites the answer is the model's too: the copied allele, not the one seen.
//
// A query without an observed site gets the frequency in the haplotypes it may copy from, of which
// there must be one. Cost: some operations for each query, haplotype and site, a vector of
// haplotypes at a time; memory: 8 * sqrt(observed sites) bytes a haplotype and thread.
// Returns false, with an answer that is not whole, when cancelled.
bool copying_dosage(const CopyingPanel& panel, const CopyingQueries& queries, int num_threads,
                    CancelFlag cancel, float* dosage);

}  // namespace snvrag
