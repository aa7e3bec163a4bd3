// The states of a query, block by block, with their alleles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernel_table.hpp"
#include "snvrag/bits.hpp"
#include "snvrag/evidence.hpp"

namespace snvrag {

// What all queries of a call share.
struct ObservedSites {
  explicit ObservedSites(const HaplotypePanel& panel) {
    for (std::int64_t s = 0; s < panel.num_sites; ++s) {
      if (panel.observed[s] != 0) sites.push_back(s);
    }
    for (std::size_t i = 1; i < sites.size(); ++i) {
      rho.push_back(panel.cumulative_rho[sites[i]] - panel.cumulative_rho[sites[i - 1]]);
      jump.push_back(draw_probability(rho.back()));
    }
  }

  std::vector<std::int64_t> sites;
  std::vector<double> rho, jump;  // between each of them and the next
};

// The states of a block and their alleles: bit h of row(s) is the allele of state h at site s.
struct StateBlock {
  const std::int32_t* states = nullptr;
  std::int64_t num_states = 0, num_words = 0;
  std::int64_t first_rank = 0, end_rank = 0;  // observed sites
  std::int64_t first_site = 0, end_site = 0;  // those after the last observed site before the block
  const std::uint64_t* rows = nullptr;
  std::int64_t rows_from = 0;  // the site of the first row

  const std::uint64_t* row(std::int64_t site) const {
    return rows + (site - rows_from) * num_words;
  }
  std::int64_t size() const { return 64 * num_words; }
};

// Calls found(index in `from`, index in `to`) for the states that both have, and lost(index) for
// the others of `from`.
template <class Found, class Lost>
void match(const StateBlock& from, const StateBlock& to, Found found, Lost lost) {
  for (std::int64_t i = 0, j = 0; i < from.num_states; ++i) {
    while (j < to.num_states && to.states[j] < from.states[i]) ++j;
    if (j < to.num_states && to.states[j] == from.states[i]) {
      found(i, j);
    } else {
      lost(i);
    }
  }
}

// The states of one query at a time, and their alleles.
class StateBlocks {
 public:
  StateBlocks(const HaplotypePanel& panel, const ObservedSites& observed, const StatesView& states)
      : panel_(panel), observed_(observed), states_(states) {}

  const std::vector<StateBlock>& blocks() const { return blocks_; }

  void read(std::int64_t query) {
    const auto num_blocks = static_cast<std::size_t>(states_.num_blocks);
    const auto num_observed = static_cast<std::int64_t>(observed_.sites.size());
    blocks_.resize(num_blocks);
    const std::int64_t num_offsets = states_.is_constant ? 2 : states_.num_blocks + 1;
    const std::int64_t* offsets = states_.offsets + query * num_offsets;
    std::int64_t num_rows = 0;
    for (std::size_t b = 0; b < num_blocks; ++b) {
      StateBlock& block = blocks_[b];
      const bool is_last = b + 1 == num_blocks;
      const std::size_t at = states_.is_constant ? 0 : b;
      block.states = states_.haplotypes + offsets[at];
      block.num_states = offsets[at + 1] - offsets[at];
      block.num_words = num_words(block.num_states);
      block.first_rank = states_.block_starts[b];
      block.end_rank = is_last ? num_observed : states_.block_starts[b + 1];
      block.first_site = b == 0 ? 0 : site(block.first_rank - 1) + 1;
      block.end_site = is_last ? panel_.num_sites : site(block.end_rank - 1) + 1;
      block.rows_from = block.first_site / 64 * 64;
      num_rows += block.num_words * 64 * (num_words(block.end_site) - block.rows_from / 64);
    }
    rows_.resize(static_cast<std::size_t>(num_rows));
    std::uint64_t* rows = rows_.data();
    for (StateBlock& block : blocks_) {
      block.rows = rows;
      rows = read_rows(block, rows);
    }
  }

 private:
  std::int64_t site(std::int64_t rank) const {
    return observed_.sites[static_cast<std::size_t>(rank)];
  }

  // Writes the alleles of a block's states by site; returns the end of what was written.
  std::uint64_t* read_rows(const StateBlock& block, std::uint64_t* rows) {
    const std::uint64_t* tile_rows[64];
    std::uint64_t tiles[kTileColumns][64];
    const std::int64_t first = block.rows_from / 64, end = num_words(block.end_site);
    for (std::int64_t tile = 0; tile < block.num_words; ++tile) {
      const std::int64_t count = std::min<std::int64_t>(64, block.num_states - 64 * tile);
      for (std::int64_t h = 0; h < count; ++h) {
        tile_rows[h] = panel_.haplotype_bits + block.states[64 * tile + h] * panel_.row_stride;
      }
      for (std::int64_t word = first; word < end; word += kTileColumns) {
        const auto columns = static_cast<int>(std::min<std::int64_t>(kTileColumns, end - word));
        kernels().transpose_tiles(tile_rows, count, word, (1u << columns) - 1, tiles);
        std::uint64_t* out = rows + (word - first) * 64 * block.num_words + tile;
        for (int c = 0; c < columns; ++c) {
          for (int s = 0; s < 64; ++s, out += block.num_words) *out = tiles[c][s];
        }
      }
    }
    return rows + (end - first) * 64 * block.num_words;
  }

  const HaplotypePanel& panel_;
  const ObservedSites& observed_;
  const StatesView& states_;
  std::vector<StateBlock> blocks_;
  std::vector<std::uint64_t> rows_;
};

}  // namespace snvrag
