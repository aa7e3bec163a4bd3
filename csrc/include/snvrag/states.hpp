// Retrieval of states: the haplotypes that a query may copy from, by where they match it longest.
#pragma once

#include <cstdint>
#include <vector>

#include "snvrag/cancel.hpp"
#include "snvrag/li_stephens.hpp"

namespace snvrag {

struct StatesQueries : LiStephensQueries {
  // (num_queries / 2, words of num_sites), or null. Queries 2 i and 2 i + 1 are then the alleles of
  // sample i, and bit 1 of row i: the data do not tell which of the two has which allele. Such a
  // bit counts at observed sites where the two have different alleles, or one lacks its allele.
  const std::uint64_t* unphased = nullptr;
  std::int64_t group_size = 1;  // consecutive queries whose states are one answer; they divide
                                // num_queries
};

// What all queries of a call share. Haplotype h of the panel is bit h of a site's row.
struct StatesPanel {
  const std::uint64_t* site_bits = nullptr;
  std::int64_t row_stride = 0;      // words from one site's row to the next
  std::int64_t num_haplotypes = 0;  // below 2^31
  std::int64_t num_sites = 0;
  const std::uint8_t* observed = nullptr;  // for each site, nonzero: the queries' alleles count
  const double* position_cm = nullptr;     // ascending
};

struct StatesOptions {
  std::int64_t neighbours = 16;  // chosen in each direction at the middle of a block, from 1
  std::int64_t step = 8;         // observed sites of a block, from 1
  double within_cm = 0.1;        // a choice holds in the blocks that are so near to its site
};

// Block b is the observed sites of rank block_starts[b] up to the next block's. The haplotypes of
// group g of the queries in block b are haplotypes[offsets[g * (B + 1) + b]] up to the next offset,
// ascending, each once.
struct States {
  std::vector<std::int64_t> block_starts;  // (B), at least one
  std::vector<std::int64_t> offsets;       // (groups, B + 1)
  std::vector<std::int32_t> haplotypes;
};

// Chooses, for each query and block, the `neighbours` haplotypes with the longest match that ends
// at the block's middle site and as many with the longest that begins there, without the excluded.
//
// Forward, the panel is kept in the order of the alleles at the site, at the one before and so on
// (positional Burrows-Wheeler transform; Durbin, Bioinformatics 30:1266, 2014); backward, the same
// from the other end. A query is not sorted into the order, but its place there is tracked, so
// queries do not influence one another. Haplotypes that match equally long lie on one side of that
// place, as there are two alleles; the nearest to it are taken. Haplotypes that are equal up to the
// site are in an order that is spread evenly over the panel: i * stride modulo num_haplotypes with
// the first stride from 0.618 num_haplotypes on that shares no factor with it, backward its
// reverse. Where a query lacks the allele, it takes that of its nearest neighbour, in each
// direction.
//
// Where a sample's phase is unknown, each of its two queries takes the allele of its nearest
// neighbour, in each direction. Where that is not the genotype (two equal alleles, or none that is
// the one known), the query whose match up to the site before is shorter takes the other allele; of
// two equally long ones, the second query.
//
// A query that has at most 2 * neighbours haplotypes to copy from gets all of them in every block,
// as does every query if no site is observed. Returns false when cancelled; the answer is then
// incomplete.
//
// Cost: 1 to 2 ns for each observed site, haplotype and direction, about 40 ns for each haplotype
// chosen, and about 50 ns for each allele filled in, in each direction; memory: the bits of the
// observed sites, 8 bytes for each haplotype and thread, 8 * neighbours for each query and block,
// and the answer twice.
bool retrieve_states(const StatesQueries& queries, const StatesPanel& panel,
                     const StatesOptions& options, int num_threads, States& states,
                     CancelFlag cancel = nullptr);

}  // namespace snvrag
