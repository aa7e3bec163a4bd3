#include <algorithm>
#include <cmath>
#include <vector>

#include "forward_backward.hpp"
#include "parallel.hpp"
#include "snvrag/li_stephens.hpp"

namespace snvrag {
namespace {

// Queries whose expected switches are kept apart, to be added in the order of the queries.
constexpr std::int64_t kQueriesAtOnce = 64;

// The observed sites of a panel and the intervals between them.
struct Intervals {
  explicit Intervals(const LiStephensPanel& panel)
      : rank(static_cast<std::size_t>(panel.num_sites)) {
    std::int64_t last = -1;
    for (std::int64_t s = 0; s < panel.num_sites; ++s) {
      if (panel.observed[s] == 0) continue;
      if (last >= 0) jump.push_back(jump_between(panel, last, s));
      rank[static_cast<std::size_t>(s)] = static_cast<std::int64_t>(jump.size());
      last = s;
    }
  }

  std::vector<std::int64_t> rank;  // of an observed site among all of them
  std::vector<double> jump;        // from each of them to the next
};

struct QueryEvents {
  double mismatches = 0, log_likelihood = 0;
  std::int64_t num_alleles = 0;
};

// Expected switches and mismatches, for one query at a time.
class Events {
 public:
  Events(const LiStephensPanel& panel, const Intervals& intervals, CancelFlag cancel)
      : panel_(panel),
        intervals_(intervals),
        model_(panel, cancel),
        differ_(static_cast<std::size_t>(num_words(panel.num_haplotypes))) {}

  bool cancelled() const { return model_.cancelled(); }

  // Writes the expected number of switches in each interval. The part of b that comes from a draw
  // in the next interval is `jump` for every haplotype, so its share of the sum of f * b, which
  // `scale` divides by, is the posterior probability of a draw.
  QueryEvents run(const LiStephensQueries& queries, std::int64_t query, double* switches) {
    const std::vector<double>& jumps = intervals_.jump;
    // What is not between two observed alleles of the query keeps its prior probability.
    std::copy(jumps.begin(), jumps.end(), switches);
    const std::uint64_t* bits = queries.bits + query * num_words(panel_.num_sites);
    QueryEvents events;
    events.num_alleles = model_.run(
        queries, query, [&](const SitePosterior& here, const SitePosterior& next, double jump) {
          events.mismatches += mismatch_at(here, bit_of(bits, here.site));
          events.log_likelihood += std::log(static_cast<double>(here.forward_sum));
          if (next.values == nullptr) return;
          const double sum =
              static_cast<double>(here.forward_sum) * static_cast<double>(here.scale);
          // Over one interval, or several where alleles are missing: given a draw in any
          // of them, that in each is independent of the alleles.
          const double factor = std::min(1.0, jump * sum) / jump;
          for (std::int64_t i = rank(here.site); i < rank(next.site); ++i) {
            switches[i] = std::min(1.0, factor * jumps[static_cast<std::size_t>(i)]);
          }
        });
    events.log_likelihood -=
        static_cast<double>(events.num_alleles) * std::log1p(static_cast<double>(model_.ratio()));
    return events;
  }

 private:
  std::int64_t rank(std::int64_t site) const {
    return intervals_.rank[static_cast<std::size_t>(site)];
  }

  // Sums the posterior of the haplotypes whose allele differs; one less the others' would cancel.
  double mismatch_at(const SitePosterior& here, bool is_alt) {
    const std::uint64_t* row = panel_.site_bits + here.site * panel_.row_stride;
    const std::uint64_t flip = is_alt ? ~std::uint64_t{0} : 0;
    for (std::size_t w = 0; w < differ_.size(); ++w) differ_[w] = row[w] ^ flip;
    const auto words = static_cast<std::int64_t>(differ_.size());
    float sums[2];
    kernels().li_stephens_sums(here.values, here.values, differ_.data(), words, 1, words, sums);
    return std::min(1.0, static_cast<double>(sums[0]) * static_cast<double>(here.scale));
  }

  const LiStephensPanel& panel_;
  const Intervals& intervals_;
  ForwardBackward model_;
  std::vector<std::uint64_t> differ_;
};

}  // namespace

bool li_stephens_events(const LiStephensQueries& queries, const LiStephensPanel& panel,
                        int num_threads, LiStephensEvents& events, CancelFlag cancel) {
  const Intervals intervals(panel);
  const auto num_intervals = static_cast<std::int64_t>(intervals.jump.size());
  std::fill_n(events.switches, num_intervals, 0.0);
  events.mismatches = 0;
  events.num_alleles = 0;
  const std::int64_t at_once = std::min(kQueriesAtOnce, queries.num_queries);
  std::vector<double> switches(static_cast<std::size_t>(at_once * num_intervals));
  std::vector<QueryEvents> found(static_cast<std::size_t>(at_once));
  for (std::int64_t first = 0; first < queries.num_queries; first += at_once) {
    const std::int64_t count = std::min(at_once, queries.num_queries - first);
    parallel_ranges(count, num_threads, [&](int, std::int64_t begin, std::int64_t end) {
      Events model(panel, intervals, cancel);
      for (std::int64_t q = begin; q < end && !model.cancelled(); ++q) {
        found[static_cast<std::size_t>(q)] =
            model.run(queries, first + q, switches.data() + q * num_intervals);
      }
    });
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
    for (std::int64_t q = 0; q < count; ++q) {
      const double* row = switches.data() + q * num_intervals;
      for (std::int64_t i = 0; i < num_intervals; ++i) events.switches[i] += row[i];
      const QueryEvents& one = found[static_cast<std::size_t>(q)];
      events.mismatches += one.mismatches;
      events.num_alleles += one.num_alleles;
      events.log_likelihood[first + q] = one.log_likelihood;
    }
  }
  return true;
}

}  // namespace snvrag
