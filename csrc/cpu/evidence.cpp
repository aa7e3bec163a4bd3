#include "snvrag/evidence.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "local_forward_backward.hpp"
#include "parallel.hpp"

namespace snvrag {
namespace {

constexpr std::int64_t kSitesAtOnce = 64;

float within_odds(float probability) {
  return std::min(1.0f - 1e-5f, std::max(1e-5f, probability));
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
      rho_before.push_back(between ? static_cast<float>(rho[sites[i]] - rho[next[-1]]) : 0);
      rho_behind.push_back(between ? static_cast<float>(rho[*next] - rho[sites[i]]) : 0);
      draw_before.push_back(-std::expm1(-rho_before.back()));
      draw_behind.push_back(-std::expm1(-rho_behind.back()));
    }
  }

  const std::int64_t* sites;
  std::int64_t count;
  const std::int64_t* minor_counts;
  const std::uint8_t* is_alt;
  std::vector<float> rho_before, rho_behind;  // 0 before the first and past the last observed site
  std::vector<float> draw_before, draw_behind;
};

// The evidence of one query at a time.
class EvidenceOfQuery {
 public:
  EvidenceOfQuery(const HaplotypePanel& panel, const ObservedSites& observed,
                  const StatesView& states, const WantedSites& wanted)
      : panel_(panel), observed_(observed), wanted_(wanted), model_(panel, observed, states) {}

  void run(const LiStephensQueries& queries, std::int64_t query, float* evidence) {
    evidence_ = evidence;
    exclude_ = queries.exclude.num_columns > 0 ? queries.exclude.from(query).indices : nullptr;
    num_excluded_ = queries.exclude.num_columns;
    next_ = wanted_.count;
    model_.run(
        queries, query, [this](const Interval& interval) { visit(interval); },
        [](std::int64_t, const StateBlock&, const float*, const float*) {});
  }

 private:
  std::int64_t observed_site(std::int64_t rank) const {
    return observed_.sites[static_cast<std::size_t>(rank)];
  }

  // Intervals come from the last to the first; the observed site at its end belongs to an interval.
  void visit(const Interval& interval) {
    const std::int64_t first = interval.rank == 0 ? 0 : observed_site(interval.rank - 1) + 1;
    const std::int64_t end = next_;
    while (next_ > 0 && wanted_.sites[next_ - 1] >= first) --next_;
    if (next_ == end) return;
    set_records(interval);
    for (std::int64_t at = next_; at < end; at += kSitesAtOnce) {
      write(interval, at, std::min(end, at + kSitesAtOnce));
    }
  }

  void set_records(const Interval& interval) {
    const std::int64_t n = interval.block->num_states;
    const auto count = static_cast<float>(n);
    records_.resize(static_cast<std::size_t>(n));
    const float half = 1 - std::sqrt(1 - interval.jump);  // a draw before the middle
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
    totals_ = {};
    for (std::int64_t h = 0; h < n; ++h) {
      StateRecord& record = records_[static_cast<std::size_t>(h)];
      const float share = record.values[kShare] / sum;
      record.values[kShare] = share;
      record.values[kSquare] = share * share;
      record.values[kBefore] = share * interval.before[h];
      record.values[kBehind] = share * interval.behind[h];
      record.length = interval.before[h] + interval.behind[h];
      for (int i = 0; i < kRecordFloats; ++i) totals_.values[i] += record.values[i];
      totals_.greatest_length = std::max(totals_.greatest_length, record.length);
    }
  }

  // Writes the evidence of wanted sites [begin, end), at most kSitesAtOnce.
  void write(const Interval& interval, std::int64_t begin, std::int64_t end) {
    const std::int64_t n = end - begin;
    for (std::int64_t i = 0; i < n; ++i) set_columns(interval, begin + i, i);
    for (int c = 0; c < kNumEvidence; ++c) {
      if (c != kDifference) kernels().log_floats(columns_[c], n);
    }
    for (int c : kOdds) {
      kernels().log_floats(others_[c], n);
      for (std::int64_t i = 0; i < n; ++i) columns_[c][i] -= others_[c][i];
    }
    float* out = evidence_ + begin * kNumEvidence;
    for (std::int64_t i = 0; i < n; ++i) {
      for (int c = 0; c < kNumEvidence; ++c) *out++ = columns_[c][i];
    }
  }

  void set_odds(Evidence column, std::int64_t i, float probability) {
    const float p = within_odds(probability);
    columns_[column][i] = p;
    others_[column][i] = 1 - p;
  }

  // Sets what the columns are the logarithms of.
  void set_columns(const Interval& interval, std::int64_t at, std::int64_t i) {
    const StateBlock& block = *interval.block;
    const std::int64_t site = wanted_.sites[at];
    CarrierSums sums;
    kernels().carrier_sums(records_.data(), block.row(site),
                           wanted_.is_alt[at] != 0 ? 0 : ~std::uint64_t{0}, block.num_states,
                           &sums);
    const float* carriers = sums.values;
    const float* all = totals_.values;
    const float share = carriers[kCount] / all[kCount];
    const auto w = static_cast<std::size_t>(at);
    // The states before and behind the site are the same (stay), or drawn anew on one side or both.
    const float before = wanted_.draw_before[w], behind = wanted_.draw_behind[w];
    const float stay = (1 - before) * (1 - behind);
    const float total = stay * all[kUnswitched] + 1 - stay;
    const float probability =
        (stay * carriers[kUnswitched] + (1 - before) * behind * carriers[kForward] +
         before * (1 - behind) * carriers[kBackward] + before * behind * share) /
        total;
    set_odds(kLogOdds, i, probability);
    set_odds(kForwardOdds, i, (1 - before) * carriers[kForward] + before * share);
    set_odds(kBackwardOdds, i, (1 - behind) * carriers[kBackward] + behind * share);
    set_odds(kUnswitchedOdds, i, carriers[kUnswitched] / std::max(1e-12f, all[kUnswitched]));
    set_odds(kSwitchOdds, i, (1 - stay) / total);
    columns_[kDifference][i] =
        (1 - stay) * std::abs(carriers[kForward] - carriers[kBackward]) / total;

    const float carried = std::max(1e-6f, carriers[kShare]);
    const float other = std::max(1e-6f, 1 - carriers[kShare]);
    const auto rest = [&](int c) { return std::max(0.0f, all[c] - carriers[c]); };
    columns_[kConcentration][i] = 1e-6f + all[kSquare];
    columns_[kCarrierConcentration][i] = 1e-6f + carriers[kSquare] / (carried * carried);
    columns_[kOtherConcentration][i] = 1e-6f + rest(kSquare) / (other * other);
    columns_[kCarrierLengthBefore][i] = 1 + carriers[kBefore] / carried;
    columns_[kCarrierLengthBehind][i] = 1 + carriers[kBehind] / carried;
    columns_[kOtherLengthBefore][i] = 1 + rest(kBefore) / other;
    columns_[kOtherLengthBehind][i] = 1 + rest(kBehind) / other;
    set_odds(kLargestCarrier, i, sums.largest_share);
    columns_[kLongestCarrier][i] = 1 + sums.greatest_length;
    columns_[kLongest][i] = 1 + totals_.greatest_length;
    columns_[kMinorCount][i] = 1 + static_cast<float>(minor_count(at));
    columns_[kCarrierCount][i] = 1 + carriers[kCount];
    columns_[kRhoBefore][i] = 1e-4f + wanted_.rho_before[w];
    columns_[kRhoBehind][i] = 1e-4f + wanted_.rho_behind[w];
  }

  std::int64_t minor_count(std::int64_t at) const {
    std::int64_t count = wanted_.minor_counts[at];
    for (std::int64_t e = 0; e < num_excluded_; ++e) {
      const std::int64_t h = exclude_[e];
      if (h < 0 || h >= panel_.num_haplotypes ||
          std::find(exclude_, exclude_ + e, h) != exclude_ + e) {
        continue;
      }
      const bool alt = has_bit(panel_.haplotype_bits + h * panel_.row_stride, wanted_.sites[at]);
      count -= alt == (wanted_.is_alt[at] != 0) ? 1 : 0;
    }
    return count;
  }

  static constexpr Evidence kOdds[] = {kLogOdds,        kForwardOdds, kBackwardOdds,
                                       kUnswitchedOdds, kSwitchOdds,  kLargestCarrier};

  const HaplotypePanel& panel_;
  const ObservedSites& observed_;
  const WantedSites& wanted_;
  std::int64_t next_ = 0;
  const std::int64_t* exclude_ = nullptr;
  std::int64_t num_excluded_ = 0;
  LocalForwardBackward<true> model_;
  std::vector<StateRecord> records_;
  CarrierSums totals_ = {};
  float columns_[kNumEvidence][kSitesAtOnce] = {};
  float others_[kNumEvidence][kSitesAtOnce] = {};  // 1 - probability
  float* evidence_ = nullptr;
};

constexpr Evidence EvidenceOfQuery::kOdds[];

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
