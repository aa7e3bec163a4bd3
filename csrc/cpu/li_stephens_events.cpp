#include <algorithm>
#include <cmath>
#include <vector>

#include "local_forward_backward.hpp"
#include "parallel.hpp"
#include "snvrag/evidence.hpp"

namespace snvrag {
namespace {

// Queries whose expected switches are kept apart, to be added in the order of the queries.
constexpr std::int64_t kQueriesAtOnce = 64;

struct QueryEvents {
  double mismatches = 0, log_likelihood = 0;
  std::int64_t num_alleles = 0;
};

// Expected switches and mismatches, for one query at a time.
class Events {
 public:
  Events(const HaplotypePanel& panel, const ObservedSites& observed, const StatesView& states)
      : panel_(panel), observed_(observed), model_(panel, observed, states) {}

  // Writes the expected number of switches in each interval.
  QueryEvents run(const LiStephensQueries& queries, std::int64_t query, double* switches) {
    const std::int64_t words = num_words(panel_.num_sites);
    const std::uint64_t* bits = queries.bits + query * words;
    const std::uint64_t* missing =
        queries.missing == nullptr ? nullptr : queries.missing + query * words;
    QueryEvents events;
    model_.run(
        queries, query,
        [&](const Interval& interval) {
          if (interval.jump > 0) switches[interval.rank - 1] = drawn(interval);
        },
        [&](std::int64_t rank, const StateBlock& block, const float* forward,
            const float* backward) {
          const std::int64_t site = observed_.sites[static_cast<std::size_t>(rank)];
          if (missing != nullptr && has_bit(missing, site)) return;
          const std::uint64_t flip = has_bit(bits, site) ? ~std::uint64_t{0} : 0;
          const ProductSums sums =
              kernels().product_sums(forward, backward, block.row(site), flip, block.num_words);
          // Both factors have the emission, of which the posterior has one.
          const double differ =
              static_cast<double>(sums.differing) / static_cast<double>(model_.ratio());
          const double agree = static_cast<double>(sums.all) - static_cast<double>(sums.differing);
          events.mismatches += std::min(1.0, differ / (std::max(0.0, agree) + differ));
        });
    events.num_alleles = model_.num_alleles();
    events.log_likelihood =
        model_.log_likelihood() -
        static_cast<double>(events.num_alleles) * std::log1p(static_cast<double>(model_.ratio()));
    return events;
  }

 private:
  // Returns the posterior probability of a draw in an interval.
  double drawn(const Interval& interval) const {
    const ProductSums sums = kernels().product_sums(
        interval.forward, interval.backward, interval.block->rows, 0, interval.block->num_words);
    const double same = static_cast<double>(sums.all) *
                        static_cast<double>(interval.forward_scale) *
                        static_cast<double>(interval.backward_scale) *
                        static_cast<double>(interval.block->num_states);
    const auto jump = static_cast<double>(interval.jump);
    return jump / ((1 - jump) * same + jump);
  }

  const HaplotypePanel& panel_;
  const ObservedSites& observed_;
  LocalForwardBackward<false> model_;
};

}  // namespace

bool li_stephens_events(const LiStephensQueries& queries, const HaplotypePanel& panel,
                        const StatesView& states, int num_threads, LiStephensEvents& events,
                        CancelFlag cancel) {
  const ObservedSites observed(panel);
  const auto num_intervals = static_cast<std::int64_t>(observed.jump.size());
  std::fill_n(events.switches, num_intervals, 0.0);
  events.mismatches = 0;
  events.num_alleles = 0;
  const auto cancelled = [cancel] {
    return cancel != nullptr && cancel->load(std::memory_order_relaxed);
  };
  const std::int64_t at_once = std::min(kQueriesAtOnce, queries.num_queries);
  std::vector<double> switches(static_cast<std::size_t>(at_once * num_intervals));
  std::vector<QueryEvents> found(static_cast<std::size_t>(at_once));
  for (std::int64_t first = 0; first < queries.num_queries; first += at_once) {
    const std::int64_t count = std::min(at_once, queries.num_queries - first);
    parallel_ranges(count, num_threads, [&](int, std::int64_t begin, std::int64_t end) {
      Events model(panel, observed, states);
      for (std::int64_t q = begin; q < end && !cancelled(); ++q) {
        found[static_cast<std::size_t>(q)] =
            model.run(queries, first + q, switches.data() + q * num_intervals);
      }
    });
    if (cancelled()) return false;
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
