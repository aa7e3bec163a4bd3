#include "snvrag/phasings.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.hpp"
#include "snvrag/philox.hpp"
#include "state_blocks.hpp"

namespace snvrag {
namespace {

// Observed sites after which all probabilities are kept: a row of them takes as many steps at most.
constexpr std::int64_t kPieceSites = 32;

// A sample's genotype at an observed site. Chances are by the alleles of the two states copied.
struct Genotype {
  float in_order[2][2];  // of the alleles, in the file's order
  float emission[2][2];  // the same, or, without a phase, their mean with the other order
  bool differs, has_no_phase;
  bool swaps;  // the file's phase may be wrong since the phased heterozygote before
};

// Observed sites [first_rank, end_rank), all of a block of states.
struct Piece {
  const StateBlock* block = nullptr;
  std::int64_t first_rank = 0, end_rank = 0;
  std::int64_t num_columns = 0;
  bool continues = false;      // has the states of the piece before
  std::size_t cells_at = 0;    // its first probabilities, in cells_
  std::size_t rows_at = 0;     // of its table, in rows_at_
  std::int64_t lower = 0;      // of its table
  std::size_t changes_at = 0;  // of its first site, in changes_
  std::size_t lost_at = 0;     // where it does not continue: in lost_, of the states before

  std::int64_t num_sites() const { return end_rank - first_rank; }
};

// A draw is never sure: sums that are needed to draw from are kept as its counterpart.
constexpr float kMostJump = 1 - 1e-6f;

// Which states of a pair are drawn anew.
enum : std::int64_t { kNeither, kFirst, kSecond, kBoth };

// Of a sample's unit uniform numbers in a draw at an observed site, or past the last one.
enum Purpose : std::uint64_t { kChange, kBlock, kOrder };

class Units {
 public:
  Units(std::uint64_t key, std::int64_t draw, std::int64_t rank, Purpose purpose)
      : block_(philox4x64(
            {{static_cast<std::uint64_t>(draw), static_cast<std::uint64_t>(rank), purpose, 0}},
            {key, 0})) {}
  double operator[](int i) const { return unit_double(block_.word[i]); }

 private:
  PhiloxBlock block_;
};

// Chooses k < n in proportion to weight(k), which is not negative.
template <class Weight>
std::int64_t choose(std::int64_t n, double unit, Weight weight) {
  double total = 0;
  for (std::int64_t k = 0; k < n; ++k) total += static_cast<double>(weight(k));
  double left = unit * total;
  std::int64_t last = 0;
  for (std::int64_t k = 0; k < n; ++k) {
    const auto value = static_cast<double>(weight(k));
    if (value <= 0) continue;
    last = k;
    left -= value;
    if (left < 0) break;
  }
  return last;
}

// The phasings of one sample at a time.
class PhasingsOfSample {
 public:
  PhasingsOfSample(const PhasingQueries& samples, const HaplotypePanel& panel,
                   const ObservedSites& observed, const StatesView& states, CancelFlag cancel)
      : samples_(samples),
        panel_(panel),
        observed_(observed),
        is_constant_(states.is_constant),
        cancel_(cancel),
        ratio_(std::max(1e-12f, panel.mismatch / (1.0f - panel.mismatch))),
        words_(num_words(panel.num_sites)),
        states_(panel, observed, states) {}

  void run(std::int64_t sample, std::uint64_t* swapped, double* log_likelihood) {
    states_.read(sample);
    read_genotypes(sample);
    cut();
    *log_likelihood = go_forward();
    lines_piece_ = pieces_.size();  // none
    std::fill_n(swapped, samples_.draws * words_, std::uint64_t{0});
    for (std::int64_t d = 0; d < samples_.draws && !cancelled(); ++d) {
      draw(samples_.keys[sample], d, swapped + d * words_);
    }
  }

 private:
  bool cancelled() const { return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed); }

  static std::size_t size_of(std::int64_t n) { return static_cast<std::size_t>(n); }

  // --- what the model is about ---

  void read_genotypes(std::int64_t sample) {
    const std::uint64_t* bits = samples_.queries.bits + 2 * sample * words_;
    const std::uint64_t* missing = samples_.queries.missing;
    if (missing != nullptr) missing += 2 * sample * words_;
    const std::uint64_t* unphased = samples_.unphased;
    if (unphased != nullptr) unphased += sample * words_;
    genotypes_.clear();
    num_alleles_ = 0;
    is_symmetric_ = true;
    bool is_after_phased = false;
    for (const std::int64_t site : observed_.sites) {
      Genotype genotype = {};
      bool lacks[2], alleles[2];
      float chance[2][2];  // of an allele, by that of the state
      for (int h = 0; h < 2; ++h) {
        lacks[h] = missing != nullptr && has_bit(missing + h * words_, site);
        alleles[h] = has_bit(bits + h * words_, site);
        num_alleles_ += lacks[h] ? 0 : 1;
        for (int copied = 0; copied < 2; ++copied) {
          chance[h][copied] = lacks[h] || alleles[h] == (copied != 0) ? 1.0f : ratio_;
        }
      }
      genotype.differs = lacks[0] != lacks[1] || (!lacks[0] && alleles[0] != alleles[1]);
      genotype.has_no_phase = genotype.differs && unphased != nullptr && has_bit(unphased, site);
      if (genotype.differs && !genotype.has_no_phase) {
        is_symmetric_ = false;
        genotype.swaps = is_after_phased && !lacks[0] && !lacks[1] && samples_.switch_error > 0;
        is_after_phased = is_after_phased || (!lacks[0] && !lacks[1]);
      }
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
          genotype.in_order[i][j] = chance[0][i] * chance[1][j];
          const float mean = (chance[0][i] * chance[1][j] + chance[1][i] * chance[0][j]) / 2;
          genotype.emission[i][j] = genotype.has_no_phase ? mean : genotype.in_order[i][j];
        }
      }
      genotypes_.push_back(genotype);
    }
  }

  // Divides the blocks into pieces, and makes room for what is kept of each.
  void cut() {
    pieces_.clear();
    rows_at_.clear();
    std::int64_t num_cells = 0, num_changes = 0, num_lost = 0, most = 0, most_cells = 0;
    std::int64_t upper_size = 0;
    const StateBlock* before = nullptr;
    for (const StateBlock& block : states_.blocks()) {
      const std::int64_t num_sites = block.end_rank - block.first_rank;
      const std::int64_t parts =
          std::max<std::int64_t>(1, (num_sites + kPieceSites - 1) / kPieceSites);
      for (std::int64_t part = 0; part < parts; ++part) {
        Piece piece;
        piece.block = &block;
        piece.first_rank = block.first_rank + num_sites * part / parts;
        piece.end_rank = block.first_rank + num_sites * (part + 1) / parts;
        piece.num_columns = (block.num_states + kPairColumns - 1) / kPairColumns * kPairColumns;
        piece.continues = before != nullptr && (is_constant_ || has_states_of(*before, block));
        piece.cells_at = size_of(num_cells);
        piece.changes_at = size_of(num_changes);
        piece.lost_at = size_of(num_lost);
        piece.rows_at = piece.continues ? pieces_.back().rows_at : rows_at_.size();
        if (!piece.continues) {
          upper_size = add_rows(piece);
          if (before != nullptr) num_lost += 3 * pieces_.back().num_columns;
        }
        piece.lower = is_symmetric_ ? 0 : upper_size;
        num_cells += upper_size + piece.lower;
        num_changes += 2 * piece.num_columns * piece.num_sites();
        most = std::max(most, piece.num_columns);
        most_cells = std::max(most_cells, upper_size + piece.lower);
        pieces_.push_back(piece);
        before = &block;
      }
    }
    cells_.resize(std::max(cells_.size(), size_of(num_cells)));
    changes_.resize(std::max(changes_.size(), size_of(num_changes)));
    lost_.resize(std::max(lost_.size(), size_of(num_lost)));
    last_cells_.resize(std::max(last_cells_.size(), size_of(most_cells + kGatherPast)));
    factors_.resize(genotypes_.size());
    for (auto* values : {&first_sums_, &second_sums_, &first_before_, &second_before_, &known_,
                         &first_shares_, &second_shares_}) {
      values->resize(size_of(most));
    }
    index_.resize(size_of(most));
    space_.resize(size_of(6 * most));
    lines_.resize(size_of(2 * most * (kPieceSites + 1)));
  }

  static bool has_states_of(const StateBlock& one, const StateBlock& other) {
    return one.num_states == other.num_states &&
           std::equal(one.states, one.states + one.num_states, other.states);
  }

  // Adds where the rows of a piece's tables begin; returns the number of cells of one table.
  std::int64_t add_rows(const Piece& piece) {
    std::int64_t end = 0;
    for (std::int64_t i = 0; i < piece.block->num_states; ++i) {
      const std::int64_t begin = i / kPairColumns * kPairColumns;
      rows_at_.push_back(end - begin);
      end += piece.num_columns - begin;
    }
    return end;
  }

  PairTable table_of(std::size_t p) const {
    const Piece& piece = pieces_[p];
    return {piece.block->num_states, piece.num_columns, rows_at_.data() + piece.rows_at,
            piece.lower};
  }

  // The change before site s of a piece, and its emission. The sum of the probabilities before is
  // the factor of the rank before.
  PairChange change_at(const Piece& piece, std::int64_t s) const {
    const std::int64_t rank = piece.first_rank + s;
    const Genotype& genotype = genotypes_[size_of(rank)];
    const float jump = jump_before(rank), stays = (1 - jump) * (1 - jump) / factor_before(rank);
    const float error = error_before(rank);
    const auto count = static_cast<float>(piece.block->num_states);
    PairChange change = {};
    change.keep = stays * (1 - error);
    change.swap = stays * error;
    change.both = jump / count * (jump / count);
    change.first = changes_.data() + piece.changes_at + 2 * s * piece.num_columns;
    change.second = change.first + piece.num_columns;
    change.bits = piece.block->row(observed_.sites[size_of(rank)]);
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) change.emission[i][j] = genotype.emission[i][j];
    }
    return change;
  }

  float jump_before(std::int64_t rank) const {
    if (rank == 0) return 0.0f;
    return std::min(kMostJump, static_cast<float>(observed_.jump[size_of(rank - 1)]));
  }
  // The probability that the pair is swapped before a site.
  float error_before(std::int64_t rank) const {
    return genotypes_[size_of(rank)].swaps ? samples_.switch_error : 0.0f;
  }
  float factor_before(std::int64_t rank) const {
    return rank == 0 ? 1.0f : factors_[size_of(rank - 1)];
  }

  // --- forward ---

  // Returns the log-likelihood.
  double go_forward() {
    double log_likelihood =
        -static_cast<double>(num_alleles_) * std::log1p(static_cast<double>(ratio_));
    for (std::size_t p = 0; p < pieces_.size() && !cancelled(); ++p) {
      const Piece& piece = pieces_[p];
      if (p == 0) {
        begin_even();
      } else if (!piece.continues) {
        enter(p);
      }
      const bool is_continued = p + 1 < pieces_.size() && pieces_[p + 1].continues;
      float* entry = cells_.data() + piece.cells_at;
      for (std::int64_t s = 0; s < piece.num_sites(); ++s) {
        const bool is_last = s + 1 == piece.num_sites();
        float* after =
            is_last && is_continued ? cells_.data() + pieces_[p + 1].cells_at : last_cells_.data();
        log_likelihood += step(p, s, s == 0 ? entry : last_cells_.data(), after);
      }
    }
    return log_likelihood;
  }

  // Takes all pairs to site s of a piece; returns the logarithm of the likelihood's factor.
  double step(std::size_t p, std::int64_t s, const float* before, float* after) {
    const Piece& piece = pieces_[p];
    const std::int64_t rank = piece.first_rank + s;
    const float jump = jump_before(rank);
    const float error = error_before(rank);
    const float draw =
        (1 - jump) * jump / static_cast<float>(piece.block->num_states) / factor_before(rank);
    float* first = changes_.data() + piece.changes_at + 2 * s * piece.num_columns;
    float* second = first + piece.num_columns;
    for (std::int64_t k = 0; k < piece.num_columns; ++k) {
      const float as_first = first_sums_[size_of(k)], as_second = second_sums_[size_of(k)];
      second[k] = draw * ((1 - error) * as_second + error * as_first);
      first[k] = draw * ((1 - error) * as_first + error * as_second);
    }
    PairStep step = {};
    step.table = table_of(p);
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

  void begin_even() {
    const PairTable table = table_of(0);
    const auto count = static_cast<float>(table.num_states);
    for (std::int64_t i = 0; i < table.num_states; ++i) {
      for (const std::int64_t lower : {std::int64_t{0}, table.lower}) {
        float* row = cells_.data() + table.rows_at[i] + lower;
        std::fill(row + i / kPairColumns * kPairColumns, row + i, 0.0f);
        std::fill(row + i, row + table.num_states, 1 / count / count);
        std::fill(row + table.num_states, row + table.num_columns, 0.0f);
      }
    }
    for (auto* sums : {&first_sums_, &second_sums_}) {
      std::fill_n(sums->begin(), table.num_states, 1 / count);
      std::fill_n(sums->begin() + table.num_states, table.num_columns - table.num_states, 0.0f);
    }
  }

  // Of the states before a piece that does not continue: 1 for those that it lacks, the
  // probabilities of a first state with any such second one, and of a second with such a first.
  const float* is_lost(std::size_t p) const { return lost_.data() + pieces_[p].lost_at; }
  const float* with_lost_second(std::size_t p) const {
    return is_lost(p) + pieces_[p - 1].num_columns;
  }
  const float* with_lost_first(std::size_t p) const {
    return is_lost(p) + 2 * pieces_[p - 1].num_columns;
  }

  // Makes the pairs at the last site of the piece before those of a piece of other states: of each
  // chromosome, what belonged to states that the piece lacks is spread evenly.
  void enter(std::size_t p) {
    const Piece &piece = pieces_[p], &from = pieces_[p - 1];
    const PairTable table = table_of(p), table_before = table_of(p - 1);
    float* lost = lost_.data() + piece.lost_at;
    std::fill_n(lost, from.num_columns, 0.0f);
    std::fill_n(known_.begin(), table.num_columns, 0.0f);
    std::fill_n(index_.begin(), table.num_columns, 0);
    match(
        *from.block, *piece.block,
        [&](std::int64_t i, std::int64_t j) {
          index_[size_of(j)] = static_cast<std::int32_t>(i);
          known_[size_of(j)] = 1;
        },
        [&](std::int64_t i) { lost[i] = 1; });
    float* first_lost = lost + from.num_columns;
    float* second_lost = first_lost + from.num_columns;
    kernels().pair_lost(table_before, last_cells_.data(), lost, first_lost, second_lost);

    first_before_.swap(first_sums_);
    second_before_.swap(second_sums_);
    float both = 0, first = 0, second = 0;  // what is spread
    for (std::int64_t i = 0; i < from.num_columns; ++i) {
      both += lost[i] * first_lost[i];
      first += lost[i] * first_before_[size_of(i)];
      second += lost[i] * second_before_[size_of(i)];
    }
    const float each = 1 / static_cast<float>(table.num_states);
    for (std::int64_t j = 0; j < table.num_columns; ++j) {
      const std::size_t at = size_of(j), i = size_of(index_[at]);
      const float here = j < table.num_states ? each : 0.0f;
      first_shares_[at] = known_[at] * each * first_lost[i];
      second_shares_[at] = known_[at] * each * second_lost[i];
      first_sums_[at] = known_[at] * first_before_[i] + here * first;
      second_sums_[at] = known_[at] * second_before_[i] + here * second;
      // A state that is not known reads, from a row of lower columns, one of those.
      if (j > 0 && known_[at] == 0) index_[at] = index_[at - 1];
    }
    both *= each * each;
    for (std::int64_t i = 0; i < table.num_states; ++i) {
      // Of a state that is not known, the row of another is read, times 0.
      const std::size_t at = size_of(i);
      const float* row = last_cells_.data() + table_before.rows_at[index_[at]];
      const float* known = known_[at] != 0 ? known_.data() : none(table.num_columns);
      float* upper = cells_.data() + piece.cells_at + table.rows_at[i];
      gather(table, i, row, known, second_shares_, both + first_shares_[at], upper);
      if (is_symmetric_) continue;
      gather(table, i, row + table_before.lower, known, first_shares_, both + second_shares_[at],
             upper + table.lower);
    }
  }

  // Writes a row of pairs, of which `row` has those that are known.
  void gather(const PairTable& table, std::int64_t i, const float* row, const float* known,
              const std::vector<float>& shares, float share, float* to) const {
    const std::int64_t begin = i / kPairColumns * kPairColumns;
    kernels().pair_gather(row, index_.data() + begin, known + begin, shares.data() + begin, share,
                          table.num_columns - begin, to + begin);
    std::fill(to + begin, to + i, 0.0f);
    std::fill(to + table.num_states, to + table.num_columns, 0.0f);
  }

  const float* none(std::int64_t num_columns) {
    none_.resize(std::max(none_.size(), size_of(num_columns)), 0.0f);
    return none_.data();
  }

  // --- backward ---

  // The pairs (state, k) and (k, state) of all states k, before each of the first sites of a piece
  // and after the last of them; computed from those that are kept.
  void set_lines(std::size_t p, std::int64_t state, std::int64_t num_sites) {
    if (lines_piece_ == p && lines_state_ == state && lines_sites_ >= num_sites) return;
    const Piece& piece = pieces_[p];
    const PairTable table = table_of(p);
    const float* cells = cells_.data() + piece.cells_at;
    lines_piece_ = p;
    lines_state_ = state;
    lines_sites_ = num_sites;
    float *first = line(0, true), *second = line(0, false);
    for (std::int64_t k = 0; k < table.num_states; ++k) {
      const float* cell = cells + table.rows_at[std::min(k, state)] + std::max(k, state);
      first[k] = k < state ? cell[table.lower] : *cell;
      second[k] = k < state ? *cell : cell[table.lower];
    }
    std::fill(first + table.num_states, first + table.num_columns, 0.0f);
    std::fill(second + table.num_states, second + table.num_columns, 0.0f);
    for (std::int64_t s = 0; s < num_sites; ++s) {
      const PairLine step = {change_at(piece, s), state, table.num_columns};
      kernels().pair_line(step, line(s, true), line(s, false), line(s + 1, true),
                          line(s + 1, false));
    }
  }

  float* line(std::int64_t s, bool as_first) {
    const std::int64_t columns = pieces_[lines_piece_].num_columns;
    return lines_.data() + (2 * s + (as_first ? 0 : 1)) * columns;
  }

  // F[i][j] before site s of the lines' piece; one of the two is the lines' state.
  float cell(std::int64_t s, std::int64_t i, std::int64_t j) {
    return lines_state_ == i ? line(s, true)[j] : line(s, false)[i];
  }

  struct Pair {
    std::int64_t first, second;
  };

  void draw(std::uint64_t key, std::int64_t d, std::uint64_t* swapped) {
    if (genotypes_.empty()) return;
    const auto last = pieces_.size() - 1;
    const auto num_observed = static_cast<std::int64_t>(genotypes_.size());
    const Units units(key, d, num_observed, kChange);
    Pair pair = {};
    pair.first = choose(pieces_[last].block->num_states, units[0],
                        [&](std::int64_t k) { return first_sums_[size_of(k)]; });
    set_lines(last, pair.first, pieces_[last].num_sites());
    pair.second = choose(pieces_[last].block->num_states, units[1],
                         [&](std::int64_t k) { return line(pieces_[last].num_sites(), true)[k]; });
    bool is_swapped = false, at_first = false;
    for (std::size_t p = last + 1; p-- > 0;) {
      const Piece& piece = pieces_[p];
      set_lines(p, pair.first, piece.num_sites());
      for (std::int64_t s = piece.num_sites() - 1; s >= 0; --s) {
        const std::int64_t rank = piece.first_rank + s;
        if (genotypes_[size_of(rank)].differs) {
          at_first = is_swapped != has_other_order(piece, rank, pair, key, d);
          if (at_first) set_bit(swapped, rank);
        }
        go_before(p, s, pair, is_swapped, Units(key, d, rank, kChange));
      }
      if (p > 0 && !piece.continues) {
        go_to_block(p, pair, Units(key, d, piece.first_rank, kBlock));
      }
    }
    if (!at_first) return;  // the draw's haplotypes have no order of their own
    for (std::int64_t rank = 0; rank < num_observed; ++rank) {
      if (genotypes_[size_of(rank)].differs) set_bit(swapped, rank);
    }
  }

  void set_bit(std::uint64_t* bits, std::int64_t rank) const {
    const std::int64_t site = observed_.sites[size_of(rank)];
    bits[site / 64] ^= std::uint64_t{1} << (site % 64);
  }

  // Draws, where the file has no phase, whether the first state is of the file's second allele.
  bool has_other_order(const Piece& piece, std::int64_t rank, const Pair& pair, std::uint64_t key,
                       std::int64_t d) const {
    const Genotype& genotype = genotypes_[size_of(rank)];
    if (!genotype.has_no_phase) return false;
    const std::uint64_t* row = piece.block->row(observed_.sites[size_of(rank)]);
    const bool i = has_bit(row, pair.first), j = has_bit(row, pair.second);
    const auto straight = static_cast<double>(genotype.in_order[i][j]);
    const auto crossed = static_cast<double>(genotype.in_order[j][i]);
    return Units(key, d, rank, kOrder)[0] * (straight + crossed) >= straight;
  }

  // Draws the pair before site s of a piece, given that at the site.
  void go_before(std::size_t p, std::int64_t s, Pair& pair, bool& is_swapped, const Units& units) {
    const Piece& piece = pieces_[p];
    const std::int64_t count = piece.block->num_states;
    const PairChange change = change_at(piece, s);
    const float error = error_before(piece.first_rank + s);
    const auto mixed = [&](std::int64_t i, std::int64_t j) {
      return (1 - error) * cell(s, i, j) + error * cell(s, j, i);
    };
    const float weights[] = {(change.keep + change.swap) * mixed(pair.first, pair.second),
                             change.second[pair.second], change.first[pair.first], change.both};
    const auto drawn = choose(4, units[0], [&](std::int64_t k) { return weights[k]; });
    if (drawn == kFirst) {
      set_lines(p, pair.second, s);
      pair.first = choose(count, units[1], [&](std::int64_t k) { return mixed(k, pair.second); });
    } else if (drawn != kNeither) {
      if (drawn == kBoth) {
        pair.first = choose(count, units[1], [&](std::int64_t k) { return change.first[k]; });
      }
      set_lines(p, pair.first, s);
      pair.second = choose(count, units[2], [&](std::int64_t k) { return mixed(pair.first, k); });
    }
    if (error == 0) return;
    const double straight = (1 - error) * cell(s, pair.first, pair.second);
    const double crossed = error * cell(s, pair.second, pair.first);
    if (units[3] * (straight + crossed) >= straight) {
      std::swap(pair.first, pair.second);
      is_swapped = !is_swapped;
    }
  }

  // Draws the pair of states of the piece before, given that of a piece of other states.
  void go_to_block(std::size_t p, Pair& pair, const Units& units) {
    const StateBlock &block = *pieces_[p].block, &before = *pieces_[p - 1].block;
    const std::int64_t count = before.num_states, sites = pieces_[p - 1].num_sites();
    const auto each = 1 / static_cast<float>(block.num_states);
    const float* lost = is_lost(p);
    const std::int64_t first = index_in(before, block.states[pair.first]);
    const std::int64_t second = index_in(before, block.states[pair.second]);
    float weights[4] = {};
    if (first >= 0 && second >= 0) {
      set_lines(p - 1, first, sites);
      weights[kNeither] = cell(sites, first, second);
    }
    if (second >= 0) weights[kFirst] = each * with_lost_first(p)[second];
    if (first >= 0) weights[kSecond] = each * with_lost_second(p)[first];
    const auto both_lost = [&](std::int64_t k) { return lost[k] * with_lost_second(p)[k]; };
    for (std::int64_t k = 0; k < count; ++k) weights[kBoth] += each * each * both_lost(k);
    const auto drawn = choose(4, units[0], [&](std::int64_t k) { return weights[k]; });
    pair = {first, second};
    if (drawn == kFirst) {
      set_lines(p - 1, second, sites);
      pair.first =
          choose(count, units[1], [&](std::int64_t k) { return lost[k] * line(sites, false)[k]; });
    } else if (drawn != kNeither) {
      if (drawn == kBoth) pair.first = choose(count, units[1], both_lost);
      set_lines(p - 1, pair.first, sites);
      pair.second =
          choose(count, units[2], [&](std::int64_t k) { return lost[k] * line(sites, true)[k]; });
    }
  }

  static std::int64_t index_in(const StateBlock& block, std::int32_t state) {
    const std::int32_t* end = block.states + block.num_states;
    const std::int32_t* found = std::lower_bound(block.states, end, state);
    return found != end && *found == state ? found - block.states : -1;
  }

  const PhasingQueries& samples_;
  const HaplotypePanel& panel_;
  const ObservedSites& observed_;
  const bool is_constant_;
  CancelFlag cancel_;
  float ratio_;
  std::int64_t words_;
  StateBlocks states_;
  std::vector<Genotype> genotypes_;
  std::int64_t num_alleles_ = 0;
  bool is_symmetric_ = true;  // no site tells the haplotypes apart: F[i][j] = F[j][i]
  std::vector<Piece> pieces_;
  std::vector<std::int64_t> rows_at_;
  std::vector<float> cells_, last_cells_;
  std::vector<float> changes_;  // of each observed site: `first` and `second` of its PairChange
  std::vector<float> lost_;
  std::vector<float> factors_;  // of the likelihood, for each observed site
  std::vector<float> first_sums_, second_sums_, first_before_, second_before_, space_;
  std::vector<float> known_, first_shares_, second_shares_, none_;  // of the states of a piece
  std::vector<std::int32_t> index_;
  std::vector<float> lines_;
  std::size_t lines_piece_ = 0;
  std::int64_t lines_state_ = 0, lines_sites_ = 0;
};

}  // namespace

bool sample_phasings(const PhasingQueries& samples, const HaplotypePanel& panel,
                     const StatesView& states, int num_threads, std::uint64_t* swapped,
                     double* log_likelihood, CancelFlag cancel) {
  const ObservedSites observed(panel);
  const std::int64_t words = num_words(panel.num_sites);
  const auto cancelled = [cancel] {
    return cancel != nullptr && cancel->load(std::memory_order_relaxed);
  };
  parallel_ranges(samples.queries.num_queries, num_threads,
                  [&](int, std::int64_t begin, std::int64_t end) {
                    PhasingsOfSample one(samples, panel, observed, states, cancel);
                    for (std::int64_t i = begin; i < end && !cancelled(); ++i) {
                      one.run(i, swapped + i * samples.draws * words, log_likelihood + i);
                    }
                  });
  return !cancelled();
}

}  // namespace snvrag
