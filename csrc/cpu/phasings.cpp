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
enum Change { kNeither, kFirst, kSecond, kBoth };

constexpr std::int64_t kNone = -1;  // of the block's states

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

// Chooses k < n in proportion to weights[k], which is not negative.
std::int64_t choose(const float* weights, std::int64_t n, double unit) {
  constexpr std::int64_t kChunk = 16, kLanes = 4;
  const auto sum_of = [&](std::int64_t begin) {
    double sums[kLanes] = {};
    if (begin + kChunk <= n) {
      for (std::int64_t k = begin; k < begin + kChunk; k += kLanes) {
        for (std::int64_t i = 0; i < kLanes; ++i) sums[i] += static_cast<double>(weights[k + i]);
      }
    } else {
      for (std::int64_t k = begin; k < n; ++k) sums[0] += static_cast<double>(weights[k]);
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  };
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kChunk) total += sum_of(begin);
  double left = unit * total;
  std::int64_t k = 0;
  for (; k + kChunk < n; k += kChunk) {
    const double sum = sum_of(k);
    if (left < sum) break;
    left -= sum;
  }
  for (; k < n; ++k) {
    left -= static_cast<double>(weights[k]);
    if (left < 0) return k;
  }
  while (--k > 0 && weights[k] <= 0) {  // rounding has left too much: the last that is not 0
  }
  return k;
}

// Chooses alike among the four changes, of which kNeither is by far the most frequent.
Change choose_change(const float (&weights)[4], double unit) {
  const double all[] = {weights[0], weights[1], weights[2], weights[3]};
  double left = unit * (all[0] + all[1] + all[2] + all[3]) - all[0];
  if (left < 0) return kNeither;
  auto last = kNeither;
  for (const auto drawn : {kFirst, kSecond, kBoth}) {
    if (all[drawn] <= 0) continue;
    last = drawn;
    left -= all[drawn];
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
    if (!genotypes_.empty() && !cancelled()) draw(samples_.keys[sample], swapped);
  }

 private:
  struct Pair {
    std::int64_t first, second;
  };

  // A draw on its way from the last site to the first.
  struct Draw {
    Pair pair;
    std::int64_t own;  // the state of the pair whose lines are read
    bool is_swapped, at_first;
    std::uint64_t* swapped;
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

  // Takes all draws together from piece to piece, so that they share the lines of their states.
  void draw(std::uint64_t key, std::uint64_t* swapped) {
    const PairPieces& pieces = pairs_.pieces();
    const auto num_observed = static_cast<std::int64_t>(genotypes_.size());
    draws_.clear();
    for (std::int64_t d = 0; d < samples_.draws; ++d) {
      draws_.push_back(begin_draw(units_of(key, d, num_observed, kChange)));
      draws_.back().swapped = swapped + d * words_;
    }
    for (std::size_t p = pieces.size(); p-- > 0 && !cancelled();) {
      const Piece& piece = pieces[p];
      changes_.clear();
      for (std::int64_t s = 0; s < piece.num_sites(); ++s) {
        changes_.push_back(pairs_.change_at(piece, s));
      }
      for (std::int64_t d = 0; d < samples_.draws; ++d) draw_piece(p, key, d, draws_[size_of(d)]);
      if (p == 0) break;
      for (std::int64_t d = 0; d < samples_.draws; ++d) {
        Draw& one = draws_[size_of(d)];
        if (pieces[p - 1].span != piece.span) one.own = kNone;
        if (!piece.continues) go_to_block(p, one, units_of(key, d, piece.first_rank, kBlock));
      }
    }
    for (const Draw& one : draws_) {
      if (!one.at_first) continue;  // the draw's haplotypes have no order of their own
      for (std::int64_t rank = 0; rank < num_observed; ++rank) {
        if (genotypes_[size_of(rank)].differs) flip_bit(one.swapped, rank, true);
      }
    }
  }

  Draw begin_draw(const Units& units) {
    const std::size_t last = pairs_.pieces().size() - 1;
    const Piece& piece = pairs_.pieces()[last];
    const std::int64_t count = piece.block->num_states, sites = piece.num_sites();
    Draw one = {};
    one.own = one.pair.first = choose(pairs_.last_sums(), count, units[0]);
    pairs_.set_lines(last, one.own, sites);
    one.pair.second = choose(pairs_.line(last, one.own, sites, true), count, units[1]);
    return one;
  }

  void draw_piece(std::size_t p, std::uint64_t key, std::int64_t d, Draw& one) {
    const Piece& piece = pairs_.pieces()[p];
    set_own(p, one);
    for (std::int64_t s = piece.num_sites() - 1; s >= 0; --s) {
      const std::int64_t rank = piece.first_rank + s;
      if (genotypes_[size_of(rank)].differs) {
        one.at_first = one.is_swapped != has_other_order(piece, rank, one.pair, key, d);
        flip_bit(one.swapped, rank, one.at_first);
      }
      go_before(p, s, one, units_of(key, d, rank, kChange));
    }
  }

  Units units_of(std::uint64_t key, std::int64_t d, std::int64_t rank, Purpose purpose) const {
    return Units(key, d, samples_.first_rank + rank, purpose);
  }

  // Sets the lines of one of the pair, the second only if they are those that were read.
  void set_own(std::size_t p, Draw& one) {
    if (one.own != one.pair.second) one.own = one.pair.first;
    pairs_.set_lines(p, one.own, pairs_.pieces()[p].num_sites());
  }

  // F[i][j] before site s of a piece; one of the two is a draw's own state.
  float cell(std::size_t p, std::int64_t s, std::int64_t own, std::int64_t i, std::int64_t j) {
    return own == i ? pairs_.line(p, own, s, true)[j] : pairs_.line(p, own, s, false)[i];
  }

  // Without a branch, as which bits are flipped cannot be foreseen.
  void flip_bit(std::uint64_t* bits, std::int64_t rank, bool flips) const {
    const std::int64_t site = observed_.sites[size_of(rank)];
    bits[site / 64] ^= static_cast<std::uint64_t>(flips) << (site % 64);
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
  void go_before(std::size_t p, std::int64_t s, Draw& one, const Units& units) {
    Pair& pair = one.pair;
    const std::int64_t count = pairs_.pieces()[p].block->num_states;
    const PairChange& change = changes_[size_of(s)];
    const float error = sites_[size_of(pairs_.pieces()[p].first_rank + s)].error;
    float stays = cell(p, s, one.own, pair.first, pair.second);
    if (error != 0) {
      stays = (1 - error) * stays + error * cell(p, s, one.own, pair.second, pair.first);
    }
    const float weights[] = {(change.keep + change.swap) * stays, change.second[pair.second],
                             change.first[pair.first], change.both};
    const auto drawn = choose_change(weights, units[0]);
    if (drawn == kFirst) {
      one.own = pair.second;
      pair.first = choose(mixed(p, s, one.own, false, error), count, units[1]);
    } else if (drawn != kNeither) {
      if (drawn == kBoth) pair.first = choose(change.first, count, units[1]);
      one.own = pair.first;
      pair.second = choose(mixed(p, s, one.own, true, error), count, units[2]);
    }
    if (error == 0) return;
    const double straight = (1 - error) * cell(p, s, one.own, pair.first, pair.second);
    const double crossed = error * cell(p, s, one.own, pair.second, pair.first);
    if (units[3] * (straight + crossed) >= straight) {
      std::swap(pair.first, pair.second);
      one.is_swapped = !one.is_swapped;
    }
  }

  // F[own][k], or F[k][own], before site s of a piece, mixed by the error there.
  const float* mixed(std::size_t p, std::int64_t s, std::int64_t own, bool as_first, float error) {
    pairs_.set_lines(p, own, s);
    const std::int64_t count = pairs_.pieces()[p].block->num_states;
    const float* first = pairs_.line(p, own, s, true);
    const float* straight = pairs_.line(p, own, s, as_first);
    if (error == 0 && straight == first) return first;
    const float* crossed = pairs_.line(p, own, s, !as_first);
    weights_.resize(size_of(count));
    for (std::int64_t k = 0; k < count; ++k) {
      weights_[size_of(k)] = (1 - error) * straight[k] + error * crossed[k];
    }
    weights_[size_of(own)] = (1 - error) * first[own] + error * first[own];
    return weights_.data();
  }

  // Draws the pair of states of the piece before, given that of a piece of other states.
  void go_to_block(std::size_t p, Draw& one, const Units& units) {
    const Piece& piece_before = pairs_.pieces()[p - 1];
    const StateBlock &block = *pairs_.pieces()[p].block, &before = *piece_before.block;
    const std::int64_t count = before.num_states, sites = piece_before.num_sites();
    const auto each = 1 / static_cast<float>(block.num_states);
    const PieceEntry entry = pairs_.entry_of(p);
    const std::int64_t first = index_in(before, block.states[one.pair.first]);
    const std::int64_t second = index_in(before, block.states[one.pair.second]);
    if (one.own != kNone) one.own = one.own == one.pair.first ? first : second;
    one.pair = {first, second};
    float weights[4] = {};
    if (first >= 0 && second >= 0) {
      set_own(p - 1, one);
      weights[kNeither] = cell(p - 1, sites, one.own, first, second);
    }
    if (second >= 0) weights[kFirst] = each * entry.second_lost[second];
    if (first >= 0) weights[kSecond] = each * entry.first_lost[first];
    weights[kBoth] = *entry.both;
    const auto drawn = choose_change(weights, units[0]);
    if (drawn == kNeither) return;
    if (drawn == kBoth) {
      one.pair.first = choose(lost(entry, entry.first_lost, count), count, units[1]);
    }
    one.own = drawn == kFirst ? second : one.pair.first;
    pairs_.set_lines(p - 1, one.own, sites);
    const float* line = pairs_.line(p - 1, one.own, sites, drawn != kFirst);
    (drawn == kFirst ? one.pair.first : one.pair.second) =
        choose(lost(entry, line, count), count, units[2]);
  }

  // Those of some weights that are of states that a block lacks.
  const float* lost(const PieceEntry& entry, const float* weights, std::int64_t count) {
    weights_.resize(size_of(count));
    for (std::int64_t k = 0; k < count; ++k) weights_[size_of(k)] = entry.lost[k] * weights[k];
    return weights_.data();
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
  std::vector<Draw> draws_;
  std::vector<PairChange> changes_;  // of the sites of a piece
  std::vector<float> weights_;       // of states, for choose()
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
