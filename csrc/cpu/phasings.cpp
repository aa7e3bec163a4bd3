#include "snvrag/phasings.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "pair_forward.hpp"
#include "parallel.hpp"
#include "snvrag/philox.hpp"
#include "state_blocks.hpp"

namespace snvrag {
namespace {

// A sample's genotype at an observed site.
struct Genotype {
  float in_order[2][2];  // probability of the alleles in the file's order, by those of the states
  bool differs, has_no_phase;
};

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
        observed_(observed),
        cancel_(cancel),
        ratio_(std::max(1e-12f, panel.mismatch / (1.0f - panel.mismatch))),
        words_(num_words(panel.num_sites)),
        states_(panel, observed, states),
        pairs_(observed) {}

  void run(std::int64_t sample, std::uint64_t* swapped, double* log_likelihood) {
    states_.read(sample);
    read_genotypes(sample);
    pairs_.begin(states_.blocks(), sites_, is_symmetric_);
    const double of_matches =  // an emission is the ratio to that of a match
        static_cast<double>(num_alleles_) * std::log1p(static_cast<double>(ratio_));
    *log_likelihood = pairs_.run([this] { return cancelled(); }) - of_matches;
    std::fill_n(swapped, samples_.draws * words_, std::uint64_t{0});
    for (std::int64_t d = 0; d < samples_.draws && !cancelled(); ++d) {
      draw(samples_.keys[sample], d, swapped + d * words_);
    }
  }

 private:
  struct Pair {
    std::int64_t first, second;
  };

  static std::size_t size_of(std::int64_t n) { return static_cast<std::size_t>(n); }

  bool cancelled() const { return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed); }

  void read_genotypes(std::int64_t sample) {
    const std::uint64_t* bits = samples_.queries.bits + 2 * sample * words_;
    const std::uint64_t* missing = samples_.queries.missing;
    if (missing != nullptr) missing += 2 * sample * words_;
    const std::uint64_t* unphased = samples_.unphased;
    if (unphased != nullptr) unphased += sample * words_;
    genotypes_.clear();
    sites_.clear();
    num_alleles_ = 0;
    is_symmetric_ = true;
    bool is_past_phased = false;  // past a site of two known alleles whose phase the file has
    for (const std::int64_t site : observed_.sites) {
      Genotype genotype = {};
      bool alleles[2], lacks[2];
      float chance[2][2];  // of an allele, by that of the state
      for (int h = 0; h < 2; ++h) {
        alleles[h] = has_bit(bits + h * words_, site);
        lacks[h] = missing != nullptr && has_bit(missing + h * words_, site);
        num_alleles_ += lacks[h] ? 0 : 1;
        for (int copied = 0; copied < 2; ++copied) {
          chance[h][copied] = lacks[h] || alleles[h] == (copied != 0) ? 1.0f : ratio_;
        }
      }
      const bool both_known = !lacks[0] && !lacks[1];
      genotype.differs = both_known ? alleles[0] != alleles[1] : lacks[0] != lacks[1];
      genotype.has_no_phase = genotype.differs && unphased != nullptr && has_bit(unphased, site);
      PairSite at = {};
      if (genotype.differs && !genotype.has_no_phase) {
        is_symmetric_ = false;
        at.error = is_past_phased && both_known ? samples_.switch_error : 0.0f;
        is_past_phased = is_past_phased || both_known;
      }
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
          const float straight = chance[0][i] * chance[1][j];
          const float crossed = chance[1][i] * chance[0][j];
          genotype.in_order[i][j] = straight;
          at.emission[i][j] = genotype.has_no_phase ? (straight + crossed) / 2 : straight;
        }
      }
      genotypes_.push_back(genotype);
      sites_.push_back(at);
    }
  }

  void draw(std::uint64_t key, std::int64_t d, std::uint64_t* swapped) {
    if (genotypes_.empty()) return;
    const PairPieces& pieces = pairs_.pieces();
    const auto last = pieces.size() - 1;
    const auto num_observed = static_cast<std::int64_t>(genotypes_.size());
    const std::int64_t count = pieces[last].block->num_states, sites = pieces[last].num_sites();
    const Units units = units_of(key, d, num_observed, kChange);
    Pair pair = {};
    pair.first = choose(count, units[0], [&](std::int64_t i) { return pairs_.last_sum(i); });
    pairs_.begin_draw();
    pairs_.set_lines(last, pair.first, sites);
    const float* second = pairs_.line(last, sites, true);
    pair.second = choose(count, units[1], [&](std::int64_t k) { return second[k]; });
    bool is_swapped = false, at_first = false;
    for (std::size_t p = last + 1; p-- > 0;) {
      const Piece& piece = pieces[p];
      set_lines_of_either(p, pair);
      for (std::int64_t s = piece.num_sites() - 1; s >= 0; --s) {
        const std::int64_t rank = piece.first_rank + s;
        if (genotypes_[size_of(rank)].differs) {
          at_first = is_swapped != has_other_order(piece, rank, pair, key, d);
          if (at_first) set_bit(swapped, rank);
        }
        go_before(p, s, pair, is_swapped, units_of(key, d, rank, kChange));
      }
      if (p > 0 && !piece.continues) {
        go_to_block(p, pair, units_of(key, d, piece.first_rank, kBlock));
      }
    }
    if (!at_first) return;  // the draw's haplotypes have no order of their own
    for (std::int64_t rank = 0; rank < num_observed; ++rank) {
      if (genotypes_[size_of(rank)].differs) set_bit(swapped, rank);
    }
  }

  Units units_of(std::uint64_t key, std::int64_t d, std::int64_t rank, Purpose purpose) const {
    return Units(key, d, samples_.first_rank + rank, purpose);
  }

  void set_lines_of_either(std::size_t p, const Pair& pair) {
    const std::int64_t sites = pairs_.pieces()[p].num_sites();
    if (!pairs_.has_lines(p, pair.second)) pairs_.set_lines(p, pair.first, sites);
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
    return units_of(key, d, rank, kOrder)[0] * (straight + crossed) >= straight;
  }

  // Draws the pair before site s of a piece, given that at the site.
  void go_before(std::size_t p, std::int64_t s, Pair& pair, bool& is_swapped, const Units& units) {
    const Piece& piece = pairs_.pieces()[p];
    const std::int64_t count = piece.block->num_states;
    const PairChange change = pairs_.change_at(piece, s);
    const float error = sites_[size_of(piece.first_rank + s)].error;
    const auto mixed = [&](std::int64_t i, std::int64_t j) {
      return (1 - error) * pairs_.cell(p, s, i, j) + error * pairs_.cell(p, s, j, i);
    };
    const float weights[] = {(change.keep + change.swap) * mixed(pair.first, pair.second),
                             change.second[pair.second], change.first[pair.first], change.both};
    const auto drawn = choose(4, units[0], [&](std::int64_t k) { return weights[k]; });
    if (drawn == kFirst) {
      pairs_.set_lines(p, pair.second, s);
      pair.first = choose(count, units[1], [&](std::int64_t k) { return mixed(k, pair.second); });
    } else if (drawn != kNeither) {
      if (drawn == kBoth) {
        pair.first = choose(count, units[1], [&](std::int64_t k) { return change.first[k]; });
      }
      pairs_.set_lines(p, pair.first, s);
      pair.second = choose(count, units[2], [&](std::int64_t k) { return mixed(pair.first, k); });
    }
    if (error == 0) return;
    const double straight = (1 - error) * pairs_.cell(p, s, pair.first, pair.second);
    const double crossed = error * pairs_.cell(p, s, pair.second, pair.first);
    if (units[3] * (straight + crossed) >= straight) {
      std::swap(pair.first, pair.second);
      is_swapped = !is_swapped;
    }
  }

  // Draws the pair of states of the piece before, given that of a piece of other states.
  void go_to_block(std::size_t p, Pair& pair, const Units& units) {
    const Piece& piece_before = pairs_.pieces()[p - 1];
    const StateBlock &block = *pairs_.pieces()[p].block, &before = *piece_before.block;
    const std::int64_t count = before.num_states, sites = piece_before.num_sites();
    const auto each = 1 / static_cast<float>(block.num_states);
    const PieceEntry entry = pairs_.entry_of(p);
    const std::int64_t first = index_in(before, block.states[pair.first]);
    const std::int64_t second = index_in(before, block.states[pair.second]);
    pair = {first, second};
    float weights[4] = {};
    if (first >= 0 && second >= 0) {
      set_lines_of_either(p - 1, pair);
      weights[kNeither] = pairs_.cell(p - 1, sites, first, second);
    }
    if (second >= 0) weights[kFirst] = each * entry.second_lost[second];
    if (first >= 0) weights[kSecond] = each * entry.first_lost[first];
    weights[kBoth] = *entry.both;
    const auto drawn = choose(4, units[0], [&](std::int64_t k) { return weights[k]; });
    if (drawn == kNeither) return;
    if (drawn == kBoth) {
      pair.first = choose(count, units[1],
                          [&](std::int64_t k) { return entry.lost[k] * entry.first_lost[k]; });
    }
    pairs_.set_lines(p - 1, drawn == kFirst ? second : pair.first, sites);
    const float* line = pairs_.line(p - 1, sites, drawn != kFirst);
    (drawn == kFirst ? pair.first : pair.second) =
        choose(count, units[2], [&](std::int64_t k) { return entry.lost[k] * line[k]; });
  }

  static std::int64_t index_in(const StateBlock& block, std::int32_t state) {
    const std::int32_t* end = block.states + block.num_states;
    const std::int32_t* found = std::lower_bound(block.states, end, state);
    return found != end && *found == state ? found - block.states : -1;
  }

  const PhasingQueries& samples_;
  const ObservedSites& observed_;
  CancelFlag cancel_;
  float ratio_;
  std::int64_t words_;
  StateBlocks states_;
  PairForward pairs_;
  std::vector<Genotype> genotypes_;
  std::vector<PairSite> sites_;
  std::int64_t num_alleles_ = 0;
  bool is_symmetric_ = true;  // no site tells the haplotypes apart
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
