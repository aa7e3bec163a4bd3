// The Li-Stephens model: a haplotype as an imperfect mosaic of the haplotypes of a panel.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "snvrag/cancel.hpp"
#include "snvrag/search.hpp"

namespace snvrag {

// The probability that the copied haplotype is drawn anew over some expected switches, at least
// 1e-7: every haplotype stays reachable, and no probability becomes subnormal, which would be slow.
inline double draw_probability(double rho) { return std::max(1e-7, -std::expm1(-rho)); }

struct LiStephensQueries {
  const std::uint64_t* bits = nullptr;     // (num_queries, words of num_sites)
  const std::uint64_t* missing = nullptr;  // the same shape: 1 at observed sites whose allele this
                                           // query lacks; null: none
  std::int64_t num_queries = 0;
  Exclude exclude;  // never copied from
};

// What all queries of a call share. Haplotype h of the panel is bit h of a site's row.
struct LiStephensPanel {
  const std::uint64_t* site_bits = nullptr;
  std::int64_t row_stride = 0;  // words from one site's row to the next
  std::int64_t num_haplotypes = 0;
  std::int64_t num_sites = 0;
  const std::uint8_t* observed = nullptr;  // for each site, nonzero: the queries' alleles count
  const double* cumulative_rho = nullptr;  // expected switches from the first site on, ascending
  float mismatch = 0;  // probability that an allele differs from the copied one, in (0, 0.5];
                       // values below 1e-12 count as 1e-12
};

// Writes (num_queries, num_sites) probabilities that a query's allele is ALT: the panel's alleles,
// weighted by the posterior of the copied haplotype (forward-backward algorithm over the observed
// sites; Li and Stephens, Genetics 165, 2003). Between two observed sites the posterior is
// interpolated linearly in `cumulative_rho`; before the first and after the last it is that of the
// nearest observed site. From one observed site to the next, the copied haplotype is drawn anew
// with probability 1 - exp(-difference of cumulative_rho). At observed sites the answer is the
// copied allele's probability as well, not the observed allele.
//
// A query without an observed site gets the ALT frequency of the haplotypes that it may copy from.
// If it may copy from none, its answer is unspecified. Cost: O(1) vector instructions for each
// query, site and vector of haplotypes; memory: 8 * sqrt(observed sites) bytes for each haplotype
// and thread. Returns false when cancelled; the output is then incomplete.
bool li_stephens_dosage(const LiStephensQueries& queries, const LiStephensPanel& panel,
                        int num_threads, float* dosage, CancelFlag cancel = nullptr);

}  // namespace snvrag
