// The forward algorithm over pairs of states that change along the panel, and the pairs of one
// state at any site.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "pair_pieces.hpp"
#include "state_blocks.hpp"

namespace snvrag {

// What the model of pairs has at an observed site.
struct PairSite {
  float emission[2][2];  // by the alleles of the pair's states
  float error;           // the probability that the pair is swapped before it
};

// How a piece of other states is entered. Of the states before it, (num_columns of the piece
// before): 1 for those that it lacks, F[i][j] of a first state i with any such j, and of a second
// with any such first one. Of its own states: where they were, whether they were, and the shares
// that all pairs of a first or a second state have of `first_lost` and `second_lost`.
struct PieceEntry {
  float *lost, *first_lost, *second_lost;
  float *known, *first_shares, *second_shares, *both;
  std::int32_t* index;
};

// Keeps all pairs F[i][j] where a span of pieces begins, and for each site the sums over i and over
// j. From these follow the pairs of one state, a line, at any site.
class PairForward {
 public:
  explicit PairForward(const ObservedSites& observed) : observed_(observed) {}

  // Prepares for a query; with is_symmetric, no site tells the states of a pair apart.
  void begin(const std::vector<StateBlock>& blocks, const std::vector<PairSite>& sites,
             bool is_symmetric) {
    sites_ = sites.data();
    pieces_.cut(blocks, is_symmetric);
    make_room();
    factors_.resize(sites.size());
  }

  // Returns the log-likelihood; cancelled() is asked at every site.
  template <class Cancelled>
  double run(Cancelled cancelled) {
    double log_likelihood = 0;
    float *work = scratch_.data(), *other = work + scratch_size_;
    for (std::size_t p = 0; p < pieces_.size() && !cancelled(); ++p) {
      const Piece& piece = pieces_[p];
      float* entry = piece.span == p ? cells_.data() + piece.cells_at : other;
      if (p == 0) {
        begin_even(entry);
      } else if (!piece.continues) {
        enter(p, work, entry);
      } else if (piece.span != p) {
        entry = work;
      }
      if (entry == other) std::swap(work, other);
      // The pairs that a span begins with are kept, so the first step is to other memory.
      const bool is_continued =
          p + 1 < pieces_.size() && pieces_[p + 1].continues && pieces_[p + 1].span == p + 1;
      for (std::int64_t s = 0; s < piece.num_sites() && !cancelled(); ++s) {
        const bool is_last = s + 1 == piece.num_sites();
        float* after = is_last && is_continued ? cells_.data() + pieces_[p + 1].cells_at : work;
        log_likelihood += step(p, s, s == 0 ? entry : work, after);
      }
    }
    return log_likelihood;
  }

  const PairPieces& pieces() const { return pieces_; }

  // The sum of the last site's F[i][j] over j.
  float last_sum(std::int64_t i) const { return first_sums_.data()[i]; }

  // The change before site s of a piece, and its emission.
  PairChange change_at(const Piece& piece, std::int64_t s) const {
    const std::int64_t rank = piece.first_rank + s;
    const PairSite& site = sites_[rank];
    const float jump = jump_before(rank), stays = (1 - jump) * (1 - jump) / factor_before(rank);
    const float each = jump / static_cast<float>(piece.block->num_states);
    PairChange change = {};
    change.keep = stays * (1 - site.error);
    change.swap = stays * site.error;
    change.both = each * each;
    change.first = changes_.data() + piece.changes_at + 2 * s * piece.num_columns;
    change.second = change.first + piece.num_columns;
    change.bits = piece.block->row(observed_.sites[size_of(rank)]);
    for (int i = 0; i < 2; ++i) std::copy_n(site.emission[i], 2, change.emission[i]);
    return change;
  }

  PieceEntry entry_of(std::size_t p) {
    const Piece& piece = pieces_[p];
    const std::int64_t before = pieces_[p - 1].num_columns, here = piece.num_columns;
    float* at = entries_.data() + piece.entry_at;
    float* own = at + 3 * before;
    return {at,         at + before,    at + 2 * before, own,
            own + here, own + 2 * here, own + 3 * here,  indices_.data() + piece.index_at};
  }

  // On a way from the last site to the first, lines are needed at ever earlier sites.
  void begin_draw() { lines_piece_ = pieces_.size(); }

  bool has_lines(std::size_t p, std::int64_t state) const {
    return p <= lines_piece_ && lines_piece_ < pieces_.size() &&
           pieces_[p].span == pieces_[lines_piece_].span &&
           line_states_[p - pieces_[p].span] == state;
  }

  // Computes F[state][k] and F[k][state] for all states k, before each of the first sites of a
  // piece and after the last of them.
  void set_lines(std::size_t p, std::int64_t state, std::int64_t num_sites) {
    if (has_lines(p, state)) return;
    const std::size_t span = pieces_[p].span;
    line_states_.assign(p + 1 - span, -1);
    lines_piece_ = p;
    std::size_t from = p;  // before it, the state is none
    for (line_states_.back() = state; from > span; --from) {
      if (!pieces_[from].continues) {
        const PieceEntry entry = entry_of(from);
        if (entry.known[state] == 0) break;
        state = entry.index[state];
      }
      line_states_[from - 1 - span] = state;
    }
    if (from == span) {
      read_line(span, state);
    } else {
      enter_line(from);
    }
    for (std::size_t q = from; q <= p; ++q) {
      if (q > from) enter_line(q);
      const std::int64_t steps = q == p ? num_sites : pieces_[q].num_sites();
      for (std::int64_t s = 0; s < steps; ++s) {
        const PairLine step = {change_at(pieces_[q], s), line_states_[q - span],
                               pieces_[q].num_columns};
        kernels().pair_line(step, line(q, s, true), line(q, s, false), line(q, s + 1, true),
                            line(q, s + 1, false));
      }
    }
  }

  // F[state][k] or F[k][state] of the lines' state before site s of a piece.
  float* line(std::size_t p, std::int64_t s, bool as_first) {
    return lines_.data() +
           (2 * (pieces_[p].lines_at + size_of(s)) + (as_first ? 0 : 1)) * lines_stride_;
  }

  // F[i][j] there; one of the two is the lines' state.
  float cell(std::size_t p, std::int64_t s, std::int64_t i, std::int64_t j) {
    return line_states_[p - pieces_[p].span] == i ? line(p, s, true)[j] : line(p, s, false)[i];
  }

 private:
  // What a gather may read, in whole cache lines.
  static constexpr std::size_t kPastTable = 32;
  static_assert(kPastTable >= kGatherPast);
  // A draw is never sure: its counterpart is a factor of what is kept of each site.
  static constexpr float kMostJump = 1 - 1e-6f;

  static std::size_t size_of(std::int64_t n) { return static_cast<std::size_t>(n); }

  float jump_before(std::int64_t rank) const {
    if (rank == 0) return 0.0f;
    return std::min(kMostJump, static_cast<float>(observed_.jump[size_of(rank - 1)]));
  }
  // The sum of the probabilities before a site.
  float factor_before(std::int64_t rank) const {
    return rank == 0 ? 1.0f : factors_[size_of(rank - 1)];
  }

  // Makes room for what is kept of each piece.
  void make_room() {
    const PieceSizes& sizes = pieces_.sizes();
    scratch_size_ = sizes.most_cells + kPastTable;
    lines_stride_ = sizes.most_columns;
    cells_.grow(sizes.cells);
    changes_.grow(sizes.changes);
    entries_.grow(sizes.entries);
    if (indices_.size() < sizes.indices) indices_.resize(sizes.indices);
    scratch_.grow(2 * scratch_size_);
    lines_.grow(2 * lines_stride_ * sizes.most_lines + kPastTable);
    none_.grow(lines_stride_ + kPastTable);
    space_.grow(6 * lines_stride_);
    for (auto* sums : {&first_sums_, &second_sums_, &first_before_, &second_before_}) {
      sums->grow(lines_stride_);
    }
  }

  // Takes all pairs to site s of a piece; returns the logarithm of the likelihood's factor.
  double step(std::size_t p, std::int64_t s, const float* before, float* after) {
    const Piece& piece = pieces_[p];
    const std::int64_t rank = piece.first_rank + s;
    const float jump = jump_before(rank), error = sites_[rank].error;
    const float draw =
        (1 - jump) * jump / static_cast<float>(piece.block->num_states) / factor_before(rank);
    float* first = changes_.data() + piece.changes_at + 2 * s * piece.num_columns;
    float* second = first + piece.num_columns;
    for (std::int64_t k = 0; k < piece.num_columns; ++k) {
      const float as_first = first_sums_.data()[k], as_second = second_sums_.data()[k];
      first[k] = draw * ((1 - error) * as_first + error * as_second);
      second[k] = draw * ((1 - error) * as_second + error * as_first);
    }
    PairStep step = {};
    step.table = pieces_.table(p);
    step.change = change_at(piece, s);
    step.before = before;
    step.after = after;
    step.space = space_.data();
    step.first_sums = first_sums_.data();
    step.second_sums = second_sums_.data();
    const float factor = kernels().pair_step(step);
    factors_[size_of(rank)] = factor;
    return std::log(static_cast<double>(factor));
  }

  void begin_even(float* cells) {
    const PairTable table = pieces_.table(0);
    const auto count = static_cast<float>(table.num_states);
    for (std::int64_t i = 0; i < table.num_states; ++i) {
      for (const std::int64_t lower : {std::int64_t{0}, table.lower}) {
        float* row = cells + table.rows_at[i] + lower;
        std::fill(row + i, row + table.num_states, 1 / count / count);
        fill_outside(table, i, row);
      }
    }
    for (auto* sums : {&first_sums_, &second_sums_}) {
      std::fill_n(sums->data(), table.num_states, 1 / count);
      std::fill(sums->data() + table.num_states, sums->data() + table.num_columns, 0.0f);
    }
  }

  // Zeroes what is no pair i <= j of a row.
  static void fill_outside(const PairTable& table, std::int64_t i, float* row) {
    std::fill(row + i / kPairColumns * kPairColumns, row + i, 0.0f);
    std::fill(row + table.num_states, row + table.num_columns, 0.0f);
  }

  // Makes the pairs at the last site of the piece before those of a piece of other states: of each
  // chromosome, what belonged to states that the piece lacks is spread evenly.
  void enter(std::size_t p, const float* from, float* to) {
    const PairTable table = pieces_.table(p), before = pieces_.table(p - 1);
    const PieceEntry entry = entry_of(p);
    set_entry(entry, p, from);
    for (std::int64_t i = 0; i < table.num_states; ++i) {
      // Of a state that is not known, the row of another is read, times 0.
      const float* row = from + before.rows_at[entry.index[i]];
      const float* known = entry.known[i] != 0 ? entry.known : none_.data();
      const std::int64_t begin = i / kPairColumns * kPairColumns;
      const auto gather = [&](const float* cells, const float* shares, float share, float* out) {
        kernels().pair_gather(cells, entry.index + begin, known + begin, shares + begin, share,
                              table.num_columns - begin, out + begin);
        fill_outside(table, i, out);
      };
      float* out = to + table.rows_at[i];
      gather(row, entry.second_shares, *entry.both + entry.first_shares[i], out);
      if (table.lower == 0) continue;
      gather(row + before.lower, entry.first_shares, *entry.both + entry.second_shares[i],
             out + table.lower);
    }
  }

  // Sets an entry, and takes the sums over pairs to the states of the piece.
  void set_entry(const PieceEntry& entry, std::size_t p, const float* from) {
    const PairTable table = pieces_.table(p), before = pieces_.table(p - 1);
    std::fill_n(entry.lost, before.num_columns, 0.0f);
    std::fill_n(entry.known, table.num_columns, 0.0f);
    std::fill_n(entry.index, table.num_columns, 0);
    match(
        *pieces_[p - 1].block, *pieces_[p].block,
        [&](std::int64_t i, std::int64_t j) {
          entry.index[j] = static_cast<std::int32_t>(i);
          entry.known[j] = 1;
        },
        [&](std::int64_t i) { entry.lost[i] = 1; });
    kernels().pair_lost(before, from, entry.lost, entry.first_lost, entry.second_lost);
    std::swap(first_before_, first_sums_);
    std::swap(second_before_, second_sums_);
    float both = 0, first = 0, second = 0;  // what is spread
    for (std::int64_t i = 0; i < before.num_states; ++i) {
      both += entry.lost[i] * entry.first_lost[i];
      first += entry.lost[i] * first_before_.data()[i];
      second += entry.lost[i] * second_before_.data()[i];
    }
    const float each = 1 / static_cast<float>(table.num_states);
    for (std::int64_t j = 0; j < table.num_columns; ++j) {
      const float known = entry.known[j], here = j < table.num_states ? each : 0.0f;
      const std::int32_t i = entry.index[j];
      entry.first_shares[j] = known * each * entry.first_lost[i];
      entry.second_shares[j] = known * each * entry.second_lost[i];
      first_sums_.data()[j] = known * first_before_.data()[i] + here * first;
      second_sums_.data()[j] = known * second_before_.data()[i] + here * second;
      // So that indices do not descend.
      if (j > 0 && known == 0) entry.index[j] = entry.index[j - 1];
    }
    *entry.both = both * each * each;
  }

  // Reads the line of a state from the pairs that a span begins with.
  void read_line(std::size_t span, std::int64_t state) {
    const PairTable table = pieces_.table(span);
    const float* cells = cells_.data() + pieces_[span].cells_at;
    float *first = line(span, 0, true), *second = line(span, 0, false);
    for (std::int64_t k = 0; k < table.num_states; ++k) {
      const float* cell = cells + table.rows_at[std::min(k, state)] + std::max(k, state);
      first[k] = k < state ? cell[table.lower] : *cell;
      second[k] = k < state ? *cell : cell[table.lower];
    }
    std::fill(first + table.num_states, first + table.num_columns, 0.0f);
    std::fill(second + table.num_states, second + table.num_columns, 0.0f);
  }

  // Takes the line of a state to a piece that is not the first of its span.
  void enter_line(std::size_t p) {
    const std::int64_t columns = pieces_[p].num_columns, sites = pieces_[p - 1].num_sites();
    const std::int64_t state = line_states_[p - pieces_[p].span];
    const PieceEntry entry = pieces_[p].continues ? PieceEntry{} : entry_of(p);
    for (const bool as_first : {true, false}) {
      const float* before = line(p - 1, sites, as_first);
      float* here = line(p, 0, as_first);
      if (pieces_[p].continues) {
        std::copy_n(before, columns, here);
        continue;
      }
      const bool is_known = entry.known[state] != 0;
      const float* own = as_first ? entry.first_shares : entry.second_shares;
      kernels().pair_gather(is_known ? before : none_.data(), entry.index, entry.known,
                            as_first ? entry.second_shares : entry.first_shares,
                            *entry.both + own[state], columns, here);
    }
  }

  const ObservedSites& observed_;
  const PairSite* sites_ = nullptr;
  PairPieces pieces_;
  AlignedFloats cells_, changes_, entries_;
  std::vector<std::int32_t> indices_;
  std::vector<float> factors_;            // of the likelihood, for each observed site
  AlignedFloats scratch_, space_, none_;  // of two tables; of a step; zeros
  std::size_t scratch_size_ = 0;
  AlignedFloats first_sums_, second_sums_, first_before_, second_before_, lines_;
  std::vector<std::int64_t> line_states_;  // in the pieces of a span, up to lines_piece_; -1: none
  std::size_t lines_stride_ = 0, lines_piece_ = 0;
};

}  // namespace snvrag
