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

  // The sums of the last site's F[i][j] over j.
  const float* last_sums() const { return first_sums_.data(); }

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

  // Computes F[state][k] and F[k][state] for all states k, before each of the first sites of a
  // piece and after the last of them. Lines are kept until those of another span are asked for, or
  // too many.
  void set_lines(std::size_t p, std::int64_t state, std::int64_t num_sites) {
    const bool is_of_span = pieces_[p].span == lines_span_;
    if (is_of_span && lines_of(p, state).num_sites >= num_sites) return;
    if (!is_of_span || lines_end_ + pieces_.sizes().most_lines > lines_room_) {
      lines_span_ = pieces_[p].span;
      lines_end_ = 0;
      lines_of_.assign((p + 1 - lines_span_) * lines_stride_, {});
    }
    add_lines(p, state, num_sites);
  }

  // F[state][k] or F[k][state] before site s of a piece, of what set_lines() has computed.
  const float* line(std::size_t p, std::int64_t state, std::int64_t s, bool as_first) {
    return lines_.data() + place_of(lines_of(p, state), s, as_first);
  }

 private:
  // What a gather may read, in whole cache lines.
  static constexpr std::size_t kPastTable = 32;
  static_assert(kPastTable >= kGatherPast);
  // A draw is never sure: its counterpart is a factor of what is kept of each site.
  static constexpr float kMostJump = 1 - 1e-6f;

  // Floats of lines that are kept, or those of one state in a span.
  static constexpr std::size_t kLineFloats = std::size_t{1} << 21;

  // Where the lines of a state in a piece begin; of so many sites, and the one past them.
  struct Lines {
    std::size_t begin = 0;
    std::int64_t num_sites = -1;
  };

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
    line_step_ = (pieces_.table(0).lower == 0 ? 1 : 2) * lines_stride_;
    lines_room_ = std::max(sizes.most_lines, kLineFloats / line_step_);
    lines_.reserve(std::max(line_step_ * sizes.most_lines, kLineFloats) + kPastTable);
    lines_span_ = pieces_.size();
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

  Lines& lines_of(std::size_t p, std::int64_t state) {
    return lines_of_[(p - lines_span_) * lines_stride_ + size_of(state)];
  }

  // Where F is symmetric, a state has one line a site.
  bool is_symmetric() const { return line_step_ == lines_stride_; }

  std::size_t place_of(const Lines& lines, std::int64_t s, bool as_first) const {
    const std::size_t first = (lines.begin + size_of(s)) * line_step_;
    return as_first || is_symmetric() ? first : first + lines_stride_;
  }

  // As set_lines(), where there is room.
  void add_lines(std::size_t p, std::int64_t state, std::int64_t num_sites) {
    const Piece& piece = pieces_[p];
    Lines& lines = lines_of(p, state);
    const auto at = [&](std::int64_t s, bool as_first) {
      return lines_.data() + place_of(lines, s, as_first);
    };
    if (lines.num_sites < 0) {
      lines = {lines_end_, 0};
      lines_end_ += size_of(piece.num_sites()) + 1;
      begin_line(p, state, true, at(0, true));
      if (!is_symmetric()) begin_line(p, state, false, at(0, false));
    }
    for (std::int64_t& s = lines.num_sites; s < num_sites; ++s) {
      const PairLine step = {change_at(piece, s), state, piece.num_columns};
      kernels().pair_line(step, at(s, true), is_symmetric() ? nullptr : at(s, false),
                          at(s + 1, true), at(s + 1, false));
    }
  }

  // Takes the line of a state to the beginning of a piece.
  void begin_line(std::size_t p, std::int64_t state, bool as_first, float* to) {
    const Piece& piece = pieces_[p];
    if (piece.span == p) {
      read_line(p, state, as_first, to);
      return;
    }
    const std::int64_t sites = pieces_[p - 1].num_sites();
    const PieceEntry entry = piece.continues ? PieceEntry{} : entry_of(p);
    const float* before = none_.data();
    if (piece.continues || entry.known[state] != 0) {
      const std::int64_t state_before = piece.continues ? state : entry.index[state];
      add_lines(p - 1, state_before, sites);
      before = line(p - 1, state_before, sites, as_first);
    }
    if (piece.continues) {
      std::copy_n(before, piece.num_columns, to);
      return;
    }
    const float* own = as_first ? entry.first_shares : entry.second_shares;
    kernels().pair_gather(before, entry.index, entry.known,
                          as_first ? entry.second_shares : entry.first_shares,
                          *entry.both + own[state], piece.num_columns, to);
  }

  // Reads the line of a state from the pairs that a span begins with.
  void read_line(std::size_t span, std::int64_t state, bool as_first, float* to) const {
    const PairTable table = pieces_.table(span);
    const float* upper = cells_.data() + pieces_[span].cells_at;
    const float *lower = upper + table.lower, *row = as_first ? upper : lower;
    for (std::int64_t k = 0; k < state; ++k) {
      to[k] = (as_first ? lower : upper)[table.rows_at[k] + state];
    }
    std::copy_n(row + table.rows_at[state] + state, table.num_states - state, to + state);
    std::fill(to + table.num_states, to + table.num_columns, 0.0f);
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
  // Of a line and of the lines of a site, in floats; the span whose lines are kept, how many they
  // are, and how many they may be.
  std::size_t lines_stride_ = 0, line_step_ = 0, lines_span_ = 0, lines_end_ = 0, lines_room_ = 0;
  std::vector<Lines> lines_of_;  // (pieces of the span, lines_stride_)
};

}  // namespace snvrag
