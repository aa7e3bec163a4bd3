// Li-Stephens model of a query over its states, and what it says about hidden alleles.
#pragma once

#include <cstdint>

#include "snvrag/cancel.hpp"
#include "snvrag/li_stephens.hpp"

namespace snvrag {

// What all queries of a call share. Site s of a haplotype is bit s of its row.
struct HaplotypePanel {
  const std::uint64_t* haplotype_bits = nullptr;
  std::int64_t row_stride = 0;  // words from one haplotype's row to the next
  std::int64_t num_haplotypes = 0;
  std::int64_t num_sites = 0;
  const std::uint8_t* observed = nullptr;  // for each site, nonzero: the queries' alleles count
  const double* cumulative_rho = nullptr;  // expected switches from the first site on, ascending
  float mismatch = 0;                      // as in LiStephensPanel
};

// The states of each query, as retrieve_states makes them; every block of a query has one or more.
// With is_constant they are the same in all blocks, and offsets is (num_queries, 2).
struct StatesView {
  const std::int64_t* block_starts = nullptr;  // (num_blocks), ranks of observed sites
  std::int64_t num_blocks = 0;
  const std::int64_t* offsets = nullptr;  // (num_queries, num_blocks + 1)
  const std::int32_t* haplotypes = nullptr;
  bool is_constant = false;
};

// Columns of the evidence; snvrag/kernels/evidence.py defines them. "Carriers" are the states that
// have the minor allele, "others" the rest; shares are those of the posterior of the copied state
// halfway between the neighbouring observed sites. Lengths are of the match between query and
// state, in expected switches, up to each neighbouring observed site. Odds are those of
// probabilities from 1e-5 to 1 - 1e-5; to what else is a logarithm, 1e-6 (shares) or 1 has been
// added.
enum Evidence : int {
  kLogOdds,         // of the minor allele: the model's answer
  kForwardOdds,     // the same from the alleles before the site alone
  kBackwardOdds,    // and from those behind it
  kUnswitchedOdds,  // the same, given that no state is drawn between the neighbours
  kSwitchOdds,      // log-odds that a state is drawn between the neighbours
  kDifference,      // of the probabilities at the two neighbours, absolute; no logarithm
  kConcentration,   // log of the sum of squared shares of all states
  kCarrierConcentration,
  kOtherConcentration,
  kCarrierLengthBefore,  // log of the mean length, weighted by the shares
  kCarrierLengthBehind,
  kOtherLengthBefore,
  kOtherLengthBehind,
  kLargestCarrier,  // log-odds of the largest share of a carrier
  kLongestCarrier,  // log of the greatest length, before and behind together
  kLongest,
  kMinorCount,    // log of 1 + carriers in the panel, without the excluded haplotypes
  kCarrierCount,  // log of 1 + carriers among the states
  kRhoBefore,  // log of 1e-4 + expected switches since the neighbour before; 0 where there is none
  kRhoBehind,
  kNumEvidence
};

// Writes (num_queries, num_wanted, kNumEvidence) for the sites `wanted`, which ascend.
//
// Transitions: with probability 1 - exp(-difference of cumulative_rho) a state is drawn anew, from
// all states of the next block evenly; a state that the next block lacks is drawn anew in any case.
// Between two observed sites the posterior is exact, with the states of the latter's block; before
// the first and past the last it is that of this site. minor_counts is (num_wanted) carriers in the
// whole panel, and is_alt (num_wanted) nonzero where the minor allele is ALT.
//
// Cost: some 40 instructions for each query, observed site and 16 states, a word of bits for each
// state and 64 sites, and a few instructions for each query, wanted site and carrier among its
// states, or for each of its states where most of the posterior is that of carriers. Memory for
// each thread: a bit for each site and state, and 8 bytes for each block and state. Returns false
// when cancelled; the output is then incomplete.
bool li_stephens_evidence(const LiStephensQueries& queries, const HaplotypePanel& panel,
                          const StatesView& states, const std::int64_t* wanted,
                          std::int64_t num_wanted, const std::int64_t* minor_counts,
                          const std::uint8_t* is_alt, int num_threads, float* evidence,
                          CancelFlag cancel = nullptr);

// What is expected to happen on the queries' hidden paths, given their alleles: the E-step of
// expectation-maximisation of the rates.
struct LiStephensEvents {
  double* switches = nullptr;        // (intervals between the panel's observed sites): draws of the
                                     // copied haplotype, also of the same one, over all queries
  double* log_likelihood = nullptr;  // (num_queries), of the query's observed alleles
  double mismatches = 0;             // alleles that differ from the copied one, over all queries
  std::int64_t num_alleles = 0;      // observed and not missing, over all queries
};

// Writes the expected events of the model of li_stephens_evidence. With jump the probability of a
// draw between two observed sites, f and b the forward and backward probabilities and r the
// emission, the posterior probability of a draw is
//     jump * (sum of f_i) * sum_h(prior(h) * r_{i+1}(h) * b_{i+1}(h)) / likelihood.
// Draws for want of a state in the next block do not count. The queries' numbers are added in the
// order of the queries, in double, so the number of threads does not matter. If a query may copy
// from no haplotype, numbers are unspecified. Returns false when cancelled.
//
// Cost: some 20 instructions for each query, observed site and 16 states; memory: that of
// li_stephens_evidence, and 512 bytes for each observed site.
bool li_stephens_events(const LiStephensQueries& queries, const HaplotypePanel& panel,
                        const StatesView& states, int num_threads, LiStephensEvents& events,
                        CancelFlag cancel = nullptr);

}  // namespace snvrag
