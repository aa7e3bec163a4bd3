// Phasings of genotypes, drawn from the Li-Stephens model of pairs of haplotypes.
#pragma once

#include <cstdint>

#include "snvrag/cancel.hpp"
#include "snvrag/evidence.hpp"

namespace snvrag {

// The genotypes of num_queries samples: a sample's alleles in the file's order are rows 2 i and
// 2 i + 1 of queries.bits, (2 * num_queries, words of num_sites), and of queries.missing.
struct PhasingQueries {
  LiStephensQueries queries;
  const std::uint64_t* unphased = nullptr;  // (num_queries, words): 1 where the file has no phase;
                                            // null: nowhere
  float switch_error = 0;  // probability that the file's phase is wrong, from one phased
                           // heterozygote to the next; in [0, 1]
  const std::uint64_t* keys = nullptr;  // (num_queries), of Philox4x64-10
  std::int64_t first_rank = 0;          // of the first observed site, in the counter; from 0
  std::int64_t draws = 0;               // of each sample, from 1
};

// Draws phasings from their posterior, given the sample's genotypes at the observed sites, and
// writes (num_queries, draws, words) `swapped` and (num_queries) `log_likelihood`. A bit is 1 where
// the draw's first haplotype has the file's second allele, and 0 at sites that are not observed or
// have no two different alleles (a known and a missing one differ). At the first site of different
// alleles it is 0.
//
// The hidden state is a pair (i, j) of states: what the file's first and second haplotype copy.
// Each of the two moves along the panel as the state of li_stephens_evidence does. With e(g, i) the
// probability of allele g where state i is copied, 1 if g is missing, the emission is
// e(g1, i) e(g2, j), or, where the file has no phase for two different alleles, the mean of this
// and e(g2, i) e(g1, j). Before a phased site of two known, different alleles the pair is swapped
// with probability switch_error, but for the first such site.
//
// Forward probabilities F[i][j] of all pairs are exact. Kept are, for each site, the sums over the
// rows and over the columns of F, and F itself every 64 observed sites or less. From those follow
// the row and the column of one state at any site, which is all that a draw needs on its way from
// the last site to the first. The draws of a sample go together and share them.
//
// Cost: some 10 instructions for each sample, observed site and vector of pairs, half of it where
// no site of a sample tells its two haplotypes apart; 3 for each vector of pairs where the states
// change. For 64 observed sites and each state that is read there by any draw, 16 instructions (8
// in that case) for each vector of states and each site; for each draw and site, some 200, most of
// them of random numbers; each time that a drawn path goes to another state, 3 for each state.
// Memory of a thread: 4 bytes for each pair of states (2 in that case) and 64 observed sites, 8 for
// each observed site and state, and 8 MiB, or what one state needs for 64 sites if more: beyond,
// the rows and columns of states are computed again. The draws of a sample depend on its key, not
// on the number of threads or draws. Returns false when cancelled; the output is then incomplete.
bool sample_phasings(const PhasingQueries& samples, const HaplotypePanel& panel,
                     const StatesView& states, int num_threads, std::uint64_t* swapped,
                     double* log_likelihood, CancelFlag cancel = nullptr);

}  // namespace snvrag
