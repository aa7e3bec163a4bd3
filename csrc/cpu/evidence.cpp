#include "snvrag/evidence.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "local_forward_backward.hpp"
#include "parallel.hpp"

namespace snvrag {
namespace {

constexpr std::int64_t kSitesAtOnce = 64;
constexpr float kLeastShare = 1e-6f;
constexpr float kLeastOdds = 1e-5f / (1 - 1e-5f), kMostOdds = (1 - 1e-5f) / 1e-5f;

float within_odds(float carriers, float others) {
  return std::min(kMostOdds, std::max(kLeastOdds, carriers / others));
}

// The wanted sites, and the probabilities of a draw on both sides of each.
struct WantedSites {
  WantedSites(const HaplotypePanel& panel, const ObservedSites& observed,
              const std::int64_t* wanted, std::int64_t num_wanted, const std::int64_t* counts,
              const std::uint8_t* alt)
      : sites(wanted), count(num_wanted), minor_counts(counts), is_alt(alt) {
    for (std::int64_t i = 0; i < count; ++i) {
      const auto next = std::lower_bound(observed.sites.begin(), observed.sites.end(), sites[i]);
      const bool between = next != observed.sites.begin() && next != observed.sites.end();
      const double* rho = panel.cumulative_rho;
      add(between ? rho[sites[i]] - rho[next[-1]] : 0.0, draw_before, log_rho_before);
      add(between ? rho[*next] - rho[sites[i]] : 0.0, draw_behind, log_rho_behind);
    }
  }

  const std::int64_t* sites;
  std::int64_t count;
  const std::int64_t* minor_counts;
  const std::uint8_t* is_alt;
  std::vector<float> draw_before, draw_behind;  // 0 beyond the outermost observed sites
  std::vector<float> log_rho_before, log_rho_behind;

 private:
  static void add(double rho, std::vector<float>& draw, std::vector<float>& log_rho) {
    draw.push_back(static_cast<float>(-std::expm1(-rho)));
    log_rho.push_back(static_cast<float>(std::log(1e-4 + rho)));
  }
};

// The evidence of one query at a time.
class EvidenceOfQuery {
 public:
  EvidenceOfQuery(const HaplotypePanel& panel, const ObservedSites& observed,
                  const StatesView& states, const WantedSites& wanted)
      : panel_(panel), observed_(observed), wanted_(wanted), model_(panel, observed, states) {}

  void run(const LiStephensQueries& queries, std::int64_t query, float* evidence) {
    evidence_ = evidence;
    excluded_rows_.clear();
    for (std::int64_t e = 0; e < queries.exclude.num_columns; ++e) {
      const std::int64_t h = queries.exclude.from(query).indices[e];
      if (h < 0 || h >= panel_.num_haplotypes) continue;
      const std::uint64_t* row = panel_.haplotype_bits + h * panel_.row_stride;
      const auto end = excluded_rows_.end();
      if (std::find(excluded_rows_.begin(), end, row) == end) excluded_rows_.push_back(row);
    }
    next_ = wanted_.count;
    model_.run(
        queries, query, [this](const Interval& interval) { visit(interval); },
        [](std::int64_t, const StateBlock&, const float*, const float*) {});
  }

 private:
  // Intervals come from the last to the first; the observed site at its end belongs to an interval.
  void visit(const Interval& interval) {
    const std::int64_t first =
        interval.rank == 0 ? 0 : observed_.sites[static_cast<std::size_t>(interval.rank - 1)] + 1;
    if (next_ == 0 || wanted_.sites[next_ - 1] < first) return;
    set_records(interval);
    while (next_ > 0 && wanted_.sites[next_ - 1] >= first) {
      add_up(*interval.block, --next_);
      if (next_ % kSitesAtOnce == 0) write(std::min(kSitesAtOnce, wanted_.count - next_));
    }
  }

  void set_records(const Interval& interval) {
    const std::int64_t n = interval.block->num_states;
    const auto count = static_cast<float>(n);
    records_.resize(static_cast<std::size_t>(n));
    // A draw before the middle: 1 - sqrt(1 - jump).
    const float half = interval.jump / (1 + std::sqrt(1 - interval.jump));
    const float even = half / count;
    float sum = 0;
    for (std::int64_t h = 0; h < n; ++h) {
      StateRecord& record = records_[static_cast<std::size_t>(h)];
      const float forward = interval.forward_scale * interval.forward[h];
      const float backward = interval.backward_scale * interval.backward[h];
      const float share = ((1 - half) * forward + even) * ((1 - half) * backward + even);
      record.values[kForward] = forward;
      record.values[kBackward] = backward;
      record.values[kUnswitched] = forward * backward * count;
      record.values[kShare] = share;
      record.values[kCount] = 1;
      sum += share;
    }
    CarrierSums totals = {};
    for (std::int64_t h = 0; h < n; ++h) {
      StateRecord& record = records_[static_cast<std::size_t>(h)];
      const float share = record.values[kShare] / sum;
      record.values[kShare] = share;
      record.values[kSquare] = share * share;
      record.values[kBefore] = share * interval.before[h];
      record.values[kBehind] = share * interval.behind[h];
      record.length = interval.before[h] + interval.behind[h];
      for (int i = 0; i < kRecordFloats; ++i) totals.values[i] += record.values[i];
      totals.greatest_length = std::max(totals.greatest_length, record.length);
    }
    totals_ = totals;
  }

  // Sets the sums of a wanted site over its carriers and over the other states.
  void add_up(const StateBlock& block, std::int64_t at) {
    const std::int64_t i = at % kSitesAtOnce, site = wanted_.sites[at];
    const std::uint64_t* row = block.row(site);
    const std::uint64_t flip = wanted_.is_alt[at] != 0 ? 0 : ~std::uint64_t{0};
    CarrierSums carriers, others;
    kernels().carrier_sums(records_.data(), row, flip, block.num_states, &carriers);
    bool is_most = false;
    for (int c : {kForward, kBackward, kUnswitched, kShare}) {
      is_most = is_most || carriers.values[c] > 0.5f * totals_.values[c];
    }
    if (is_most) {  // a difference would be of rounding errors
      kernels().carrier_sums(records_.data(), row, ~flip, block.num_states, &others);
    } else {
      for (int c = 0; c < kRecordFloats; ++c) {
        others.values[c] = totals_.values[c] - carriers.values[c];
      }
    }
    for (int c = 0; c < kRecordFloats; ++c) {
      carriers_[c][i] = carriers.values[c];
      others_[c][i] = others.values[c];
    }
    columns_[kLargestCarrier][i] = within_odds(carriers.largest_share, 1 - carriers.largest_share);
    columns_[kLongestCarrier][i] = 1 + carriers.greatest_length;
    columns_[kLongest][i] = 1 + totals_.greatest_length;
    columns_[kMinorCount][i] = 1 + static_cast<float>(minor_count(at));
  }

  std::int64_t minor_count(std::int64_t at) const {
    std::int64_t count = wanted_.minor_counts[at];
    for (const std::uint64_t* row : excluded_rows_) {
      count -= has_bit(row, wanted_.sites[at]) == (wanted_.is_alt[at] != 0) ? 1 : 0;
    }
    return count;
  }

  // Writes the evidence of n wanted sites from the next one on.
  void write(std::int64_t n) {
    set_odds(n);
    set_shares(n);
    for (int c = 0; c < kRhoBefore; ++c) {
      if (c != kDifference) kernels().log_floats(columns_[c], n);
    }
    std::copy_n(wanted_.log_rho_before.data() + next_, n, columns_[kRhoBefore]);
    std::copy_n(wanted_.log_rho_behind.data() + next_, n, columns_[kRhoBehind]);
    float* out = evidence_ + next_ * kNumEvidence;
    static_assert(kNumEvidence % 4 == 0, "columns are written by fours, without a loop");
    for (int c = 0; c < kNumEvidence; c += 4) {
      for (std::int64_t i = 0; i < n; ++i) {
        for (int j = c; j < c + 4; ++j) out[i * kNumEvidence + j] = columns_[j][i];
      }
    }
  }

  void set_odds(std::int64_t n) {
    const float* draw_before = wanted_.draw_before.data() + next_;
    const float* draw_behind = wanted_.draw_behind.data() + next_;
    for (std::int64_t i = 0; i < n; ++i) {
      // The states before and behind the site are the same, or drawn anew on one side or both.
      const float before = draw_before[i], behind = draw_behind[i];
      const float drawn = before + behind - before * behind, stay = 1 - drawn;
      const float even = 1 / (carriers_[kCount][i] + others_[kCount][i]);
      const auto ahead = [&](const Column* sums) {
        return (1 - before) * sums[kForward][i] + before * even * sums[kCount][i];
      };
      const auto back = [&](const Column* sums) {
        return (1 - behind) * sums[kBackward][i] + behind * even * sums[kCount][i];
      };
      const auto both = [&](const Column* sums) {
        return stay * sums[kUnswitched][i] + (1 - before) * behind * sums[kForward][i] +
               before * (1 - behind) * sums[kBackward][i] +
               before * behind * even * sums[kCount][i];
      };
      const float same = stay * (carriers_[kUnswitched][i] + others_[kUnswitched][i]);
      columns_[kLogOdds][i] = within_odds(both(carriers_), both(others_));
      columns_[kForwardOdds][i] = within_odds(ahead(carriers_), ahead(others_));
      columns_[kBackwardOdds][i] = within_odds(back(carriers_), back(others_));
      columns_[kUnswitchedOdds][i] =
          within_odds(carriers_[kUnswitched][i], others_[kUnswitched][i]);
      columns_[kSwitchOdds][i] = within_odds(drawn, same);
      columns_[kDifference][i] =
          drawn * std::abs(carriers_[kForward][i] - carriers_[kBackward][i]) / (same + drawn);
    }
  }

  void set_shares(std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      const float carried = 1 / std::max(kLeastShare, carriers_[kShare][i]);
      const float other = 1 / std::max(kLeastShare, others_[kShare][i]);
      const float square = carriers_[kSquare][i], other_square = others_[kSquare][i];
      columns_[kConcentration][i] = 1e-6f + square + other_square;
      columns_[kCarrierConcentration][i] = 1e-6f + square * carried * carried;
      columns_[kOtherConcentration][i] = 1e-6f + other_square * other * other;
      columns_[kCarrierLengthBefore][i] = 1 + carriers_[kBefore][i] * carried;
      columns_[kCarrierLengthBehind][i] = 1 + carriers_[kBehind][i] * carried;
      columns_[kOtherLengthBefore][i] = 1 + others_[kBefore][i] * other;
      columns_[kOtherLengthBehind][i] = 1 + others_[kBehind][i] * other;
      columns_[kCarrierCount][i] = 1 + carriers_[kCount][i];
    }
  }

  using Column = float[kSitesAtOnce];

  const HaplotypePanel& panel_;
  const ObservedSites& observed_;
  const WantedSites& wanted_;
  std::int64_t next_ = 0;
  std::vector<const std::uint64_t*> excluded_rows_;
  LocalForwardBackward<true> model_;
  std::vector<StateRecord> records_;
  CarrierSums totals_ = {};
  Column carriers_[kRecordFloats] = {}, others_[kRecordFloats] = {};
  Column columns_[kNumEvidence] = {};  // at first, what the columns are the logarithms of
  float* evidence_ = nullptr;
};

}  // namespace

bool li_stephens_evidence(const LiStephensQueries& queries, const HaplotypePanel& panel,
                          const StatesView& states, const std::int64_t* wanted,
                          std::int64_t num_wanted, const std::int64_t* minor_counts,
                          const std::uint8_t* is_alt, int num_threads, float* evidence,
                          CancelFlag cancel) {
  const ObservedSites observed(panel);
  const WantedSites sites(panel, observed, wanted, num_wanted, minor_counts, is_alt);
  const auto cancelled = [cancel] {
    return cancel != nullptr && cancel->load(std::memory_order_relaxed);
  };
  parallel_ranges(queries.num_queries, num_threads, [&](int, std::int64_t begin, std::int64_t end) {
    EvidenceOfQuery one(panel, observed, states, sites);
    for (std::int64_t q = begin; q < end && !cancelled(); ++q) {
      one.run(queries, q, evidence + q * num_wanted * kNumEvidence);
    }
  });
  return !cancelled();
}

}  // namespace snvrag
