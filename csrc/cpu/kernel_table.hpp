// The table of kernels that exists once for each instruction-set level; the rest of the CPU code is
// level-independent.
//
// The functions of a level are compiled in one translation unit with that level's flags
// (primitives_<level>.cpp, which includes kernels.inl), in the namespace of the level, so that a
// profile or debugger tells them apart. Such a unit must not instantiate anything that another unit
// could share at link time (no std:: templates, no inline functions with external linkage): the
// linker might keep the copy with the wider instructions for all.
#pragma once

#include <cstdint>

#include "snvrag/simd.hpp"
#include "snvrag/topk.hpp"

namespace snvrag {

// Haplotypes of a block, one in each lane.
constexpr std::int64_t kBlockLanes = 8;

// Most words in the head of a haplotype, which nearly always suffice to reject it.
constexpr std::int64_t kMostHeadWords = 2;

// The largest scaled sum of the weights of a head: a number that every level can store.
constexpr int kScaledHead = 127;

// One pass of some queries over blocks [first_block, last_block) of a HammingIndex.
struct HammingScan {
  const std::uint64_t* head;                    // (blocks, num_head_words, kBlockLanes)
  const std::uint64_t* tail;                    // (blocks, num_tail_words, kBlockLanes)
  std::int64_t num_head_words, num_tail_words;  // from 1 to kMostHeadWords, from 0
  std::int64_t num_haplotypes;
  std::int64_t first_block, last_block;
  const std::uint64_t* queries;  // (num_queries, num_head_words + num_tail_words)
  std::int64_t num_queries;
  const std::int32_t* tables;  // weight_tables() of the words; null without weights
  int head_shift;              // scales the sums of weights of heads to at most kScaledHead
  Candidates* candidates;
};

// Rows and dimensions that a dense search processes at a time: the queries' part stays in the
// second-level cache, a tile of rows in the first-level cache.
constexpr std::int64_t kL2RowsAtOnce = 32;
constexpr std::int64_t kL2Dimensions = 1024;

// Some dimensions of the chosen queries and of up to kL2RowsAtOnce rows.
struct L2Block {
  const float* queries;
  std::int64_t query_stride;
  const std::int64_t* chosen;
  std::int64_t num_chosen;
  const float* rows;
  std::int64_t num_rows, row_stride;
  std::int64_t num_dimensions;
  bool is_first;  // overwrite the lanes; otherwise add to them
  float* lanes;   // (queries, kL2RowsAtOnce, float_lanes)
};

// Units of a head are padded to a multiple of this: a whole number of vectors at every level.
constexpr std::int64_t kHeadUnits = 16;

// Rows of standardised evidence and a head for them: correction = the sum over units of
// output_weight * max(0, hidden_bias + evidence . hidden_weight).
struct HeadRows {
  const float* hidden_weight;            // (num_evidence, num_units)
  const float* hidden_bias;              // (num_units)
  const float* output_weight;            // (num_units)
  std::int64_t num_evidence, num_units;  // from 1; a multiple of kHeadUnits
  const float* evidence;                 // (num_rows, num_evidence)
  std::int64_t num_rows;
  float* correction;  // (num_rows)
};

// One observed site in the forward or backward pass of the Li-Stephens model. Where `bits` and
// `flip` differ, the panel's allele differs from the query's.
struct LiStephensStep {
  const std::uint64_t* bits;
  std::uint64_t flip;
  std::int64_t num_words;
  const float* prior;  // probability of each haplotype to be drawn; 0 if excluded
  float keep, jump;    // factors of the preceding probabilities and of the prior
  float ratio;         // probability of a mismatch over that of a match
};

// Probabilities F[i][j] of pairs of states, in two tables of the pairs i <= j: F[i][j] in the upper
// one, F[j][i] in the lower. Row i begins at the last column that is a multiple of
// kPairColumns and not above i, and ends at the number of states, rounded up; what is no pair
// i <= j of states is 0.
constexpr std::int64_t kPairColumns = 16;

constexpr std::int64_t kGatherPast = 31;

struct PairTable {
  std::int64_t num_states;
  std::int64_t num_columns;     // rounded up to a multiple of kPairColumns
  const std::int64_t* rows_at;  // of each state i: the cell of column j is at rows_at[i] + j
  std::int64_t lower;           // where the lower table begins; 0: it is the upper one, F symmetric
};

// What changes the probability of a pair from one observed site to the next: with G[i][j] =
// keep F[i][j] + swap F[j][i], it becomes emission * (G[i][j] + both + first[i] + second[j]).
struct PairChange {
  float keep, swap, both;
  const float *first, *second;  // (num_columns): the second or the first state is drawn anew
  const std::uint64_t* bits;    // the states' alleles
  float emission[2][2];         // by the alleles of the first and the second
};

// One observed site in the forward pass over pairs; `after` may be `before`.
struct PairStep {
  PairTable table;
  PairChange change;
  const float* before;
  float* after;
  float* space;                     // 6 * num_columns
  float *first_sums, *second_sums;  // (num_columns): sums over the second state, and over the first
};

// The pairs that one state makes, F[state][k] and F[k][state] for each state k, at one site.
struct PairLine {
  PairChange change;
  std::int64_t state, num_columns;
};

struct LiStephensSums {
  float posterior, backward;
};

// Words that a cache line has.
inline constexpr int kTileColumns = 8;

// What the evidence of a site adds up over the states that carry its minor allele.
enum : int {
  kForward,
  kBackward,
  kUnswitched,  // forward times backward, times the number of states
  kShare,       // posterior halfway between the neighbouring observed sites
  kSquare,      // of the share
  kBefore,      // share times length
  kBehind,
  kCount,
  kRecordFloats
};

struct StateRecord {
  float values[kRecordFloats];
  float length;  // of the match before and behind together
};

struct CarrierSums {
  float values[kRecordFloats];
  float largest_share, greatest_length;
};

struct ProductSums {
  float all, differing;
};

struct KernelTable {
  // Sums the records of the states whose bit differs from that of `flip`, all ones or zeros.
  void (*carrier_sums)(const StateRecord* records, const std::uint64_t* bits, std::uint64_t flip,
                       std::int64_t num_states, CarrierSums* sums);

  // Sums the products of two arrays of 64 floats for each word of bits; `differing` are those whose
  // bit differs from that of `flip`, all ones or zeros.
  ProductSums (*product_sums)(const float* first, const float* second, const std::uint64_t* bits,
                              std::uint64_t flip, std::int64_t num_words);

  // Replaces positive, normal floats by their natural logarithms, to a few units in the last place.
  void (*log_floats)(float* values, std::int64_t n);

  // Appends the haplotypes below each query's threshold, with their distance, or with the bits of
  // the float32 sum of the weights.
  void (*hamming_scan)(const HammingScan& scan);
  void (*weighted_scan)(const HammingScan& scan);

  // `weights` has 64 integers for each word, none negative, with a sum below 2^31; writes
  // word_table entries for each word.
  void (*weight_tables)(const std::int32_t* weights, std::int64_t num_words, std::int32_t* tables);
  std::int64_t word_table;

  // Counts the ones in every step-th word.
  std::int64_t (*count_ones)(const std::uint64_t* words, std::int64_t num_words, std::int64_t step);

  // Adds the squared differences of the block to its lanes; a distance is the sum of the lanes of a
  // query and row.
  void (*l2_block)(const L2Block& block);

  // Sums the float_lanes floats of each of n groups.
  void (*l2_sums)(const float* lanes, std::int64_t n, float* sums);
  std::int64_t float_lanes;

  bool (*has_nan)(const float* values, std::int64_t n);

  void (*head_rows)(const HeadRows& head);

  // Packs n contiguous bytes; returns false if one is neither 0 nor 1.
  bool (*pack_row)(const std::uint8_t* alleles, std::int64_t n, std::uint64_t* bits);

  // Packs up to 64 x 64 bytes, those of a column adjacent, and transposes: bit c of word r is row r
  // of column c. Returns false as above.
  bool (*pack_tile)(const std::uint8_t* alleles, std::int64_t num_rows, std::int64_t num_columns,
                    std::int64_t column_stride, std::uint64_t* tile);

  void (*unpack_row)(const std::uint64_t* bits, std::int64_t n, std::uint8_t* alleles);

  // Transposes 64 words of 64 bits in place.
  void (*transpose64)(std::uint64_t* words);

  // Transposes words first + c of up to 64 rows, for each c below kTileColumns that is a bit of
  // `columns`: bit r of word j of tiles[c] is bit j of that word of rows[r], 0 past the last row.
  void (*transpose_tiles)(const std::uint64_t* const* rows, std::int64_t num_rows,
                          std::int64_t first, unsigned columns, std::uint64_t (*tiles)[64]);

  // Writes keep * before + jump * prior, times the ratio where the alleles differ, to `after`;
  // returns its sum.
  float (*li_stephens_forward)(const LiStephensStep& step, const float* before, float* after);

  // With b = keep * backward + jump * prior, writes forward * b to `posterior` and b, times the
  // ratio where the alleles differ, to `backward`. Returns the sums of both.
  LiStephensSums (*li_stephens_backward)(const LiStephensStep& step, const float* forward,
                                         float* backward, float* posterior);

  // Takes all pairs one site further; returns the sum of their probabilities.
  float (*pair_step)(const PairStep& step);

  // Takes F[state][k] (`as_first`) and F[k][state] one site further, or the former alone where
  // as_second is null: nothing is swapped. Past the last state, values are unspecified.
  void (*pair_line)(const PairLine& line, const float* as_first, const float* as_second,
                    float* first_after, float* second_after);

  // With `lost` 1 for some states and 0 for others, (num_columns), writes the sums of F[i][j] over
  // the lost j to first[i], and those over the lost i to second[j].
  void (*pair_lost)(const PairTable& table, const float* cells, const float* lost, float* first,
                    float* second);

  // Writes from[index[j]] * known[j] + (share + shares[j]) for j < num_columns, a multiple of
  // kPairColumns. Indices never descend; up to kGatherPast floats past one may be read.
  void (*pair_gather)(const float* from, const std::int32_t* index, const float* known,
                      const float* shares, float share, std::int64_t num_columns, float* to);

  // Sums `first` and `second` over the ones of each of num_sites rows: (num_sites, 2) sums.
  void (*li_stephens_sums)(const float* first, const float* second, const std::uint64_t* bits,
                           std::int64_t stride, std::int64_t num_sites, std::int64_t num_words,
                           float* sums);
};

// A build defines those of its architecture.
namespace scalar {
extern const KernelTable kKernels;
}
namespace neon {
extern const KernelTable kKernels;
}
namespace avx2 {
extern const KernelTable kKernels;
}
namespace avx512 {
extern const KernelTable kKernels;
}

// The table of the level in use.
const KernelTable& kernels();

}  // namespace snvrag
