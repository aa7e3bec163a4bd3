// Phasings drawn from the Li-Stephens model of pairs, against sums over all phasings in double
// precision: a phasing's weight is the likelihood of its two haplotypes times that of the file's
// phase.
#include "snvrag/phasings.hpp"

#include <atomic>
#include <cmath>
#include <map>
#include <vector>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

struct PhasingProblem {
  std::int64_t num_haplotypes, num_sites, num_samples;
  int percent_observed = 100, percent_missing = 0, percent_unphased = 50;
  std::int64_t step = 0;  // observed sites of a block of states; 0: all haplotypes, in every block
  float switch_error = 0.1f;
  std::int64_t most_different = 6;  // sites of different alleles: all their orders are summed over
};

constexpr double kMismatch = 0.01;

// The input of a call, in buffers of exact size.
class PhasingInput {
 public:
  explicit PhasingInput(const PhasingProblem& problem, std::int64_t gap = 0)
      : problem_(problem),
        gap_(gap),
        random_(static_cast<std::uint64_t>(1000 * problem.num_haplotypes + problem.num_sites)),
        panel_(random_alleles(problem.num_haplotypes * problem.num_sites, 51)),
        queries_(random_alleles(2 * problem.num_samples * problem.num_sites, 52)),
        missing_(2 * problem.num_samples * problem.num_sites),
        unphased_(problem.num_samples * problem.num_sites),
        observed_(problem.num_sites),
        cumulative_rho_(problem.num_sites),
        keys_(problem.num_samples) {
    double at = 3.0;
    for (std::int64_t s = 0; s < problem.num_sites; ++s) {
      observed_[s] = random_.below(100) < problem.percent_observed;
      if (observed_[s] != 0) seen_.push_back(s);
      cumulative_rho_[s] = at += 0.001 + 0.2 * random_.unit();
    }
    for (std::uint8_t& value : missing_) value = random_.below(100) < problem.percent_missing;
    for (std::uint8_t& value : unphased_) value = random_.below(100) < problem.percent_unphased;
    for (std::uint64_t& key : keys_) key = random_.word();
    for (std::int64_t i = 0; i < problem.num_samples; ++i) make_few_different(i);
    make_states();
    bits_ = std::make_unique<Words>(
        spread_rows(naive_pack(panel_, problem.num_haplotypes, problem.num_sites),
                    problem.num_haplotypes, num_words(problem.num_sites), gap));
    query_bits_ =
        std::make_unique<Words>(naive_pack(queries_, 2 * problem.num_samples, problem.num_sites));
    missing_bits_ =
        std::make_unique<Words>(naive_pack(missing_, 2 * problem.num_samples, problem.num_sites));
    unphased_bits_ =
        std::make_unique<Words>(naive_pack(unphased_, problem.num_samples, problem.num_sites));
  }

  bool run(std::int64_t draws, int num_threads, Words& swapped, Buffer<double>& log_likelihood,
           CancelFlag cancel = nullptr) const {
    HaplotypePanel panel;
    panel.haplotype_bits = bits_->data();
    panel.row_stride = num_words(problem_.num_sites) + gap_;
    panel.num_haplotypes = problem_.num_haplotypes;
    panel.num_sites = problem_.num_sites;
    panel.observed = observed_.data();
    panel.cumulative_rho = cumulative_rho_.data();
    panel.mismatch = static_cast<float>(kMismatch);
    PhasingQueries samples;
    samples.queries.bits = query_bits_->data();
    samples.queries.missing = problem_.percent_missing == 0 ? nullptr : missing_bits_->data();
    samples.queries.num_queries = problem_.num_samples;
    samples.unphased = problem_.percent_unphased == 0 ? nullptr : unphased_bits_->data();
    samples.switch_error = problem_.switch_error;
    samples.keys = keys_.data();
    samples.draws = draws;
    StatesView states;
    states.block_starts = starts_.data();
    states.num_blocks = static_cast<std::int64_t>(starts_.size());
    states.offsets = offsets_.data();
    states.haplotypes = copied_.data();
    states.is_constant = problem_.step == 0;
    return sample_phasings(samples, panel, states, num_threads, swapped.data(),
                           log_likelihood.data(), cancel);
  }

  // The observed sites of different alleles.
  std::vector<std::int64_t> different(std::int64_t sample) const {
    std::vector<std::int64_t> sites;
    for (std::int64_t s : seen_) {
      if (differs(sample, s)) sites.push_back(s);
    }
    return sites;
  }

  // The weights of all phasings; bit i of the index is the order at the i-th different site.
  std::vector<double> weights(std::int64_t sample) const {
    const std::vector<std::int64_t> sites = different(sample);
    std::vector<double> result;
    for (std::uint64_t orders = 0; orders < std::uint64_t{1} << sites.size(); ++orders) {
      double weight = 1;
      int last = -1;  // the order at the last phased heterozygote
      int phase = -1;
      for (std::size_t i = 0; i < sites.size(); ++i) {
        const int order = static_cast<int>(orders >> i & 1);
        if (unphased_[at(sample, sites[i])] != 0) {
          weight /= 2;
          continue;
        }
        const auto error = static_cast<double>(problem_.switch_error);
        const bool both_known = lacks(2 * sample, sites[i]) == lacks(2 * sample + 1, sites[i]);
        if (phase < 0) {
          weight /= 2;  // of the file's haplotypes, which the draw's first is
        } else if (both_known && last >= 0) {
          weight *= order == phase ? 1 - error : error;
        } else if (order != phase) {
          weight = 0;
        }
        phase = order;
        if (both_known) last = order;
      }
      for (int h : {0, 1}) weight *= likelihood(sample, sites, orders, h);
      result.push_back(weight);
    }
    return result;
  }

 private:
  std::int64_t at(std::int64_t row, std::int64_t site) const {
    return row * problem_.num_sites + site;
  }
  bool lacks(std::int64_t row, std::int64_t site) const {
    return problem_.percent_missing != 0 && missing_[at(row, site)] != 0;
  }
  bool differs(std::int64_t sample, std::int64_t site) const {
    const std::int64_t one = 2 * sample, other = one + 1;
    if (lacks(one, site) || lacks(other, site)) return lacks(one, site) != lacks(other, site);
    return queries_[at(one, site)] != queries_[at(other, site)];
  }

  void make_few_different(std::int64_t sample) {
    std::int64_t left = problem_.most_different;
    const std::int64_t apart = std::max<std::int64_t>(1, problem_.num_sites / 12);
    for (std::int64_t s = 0; s < problem_.num_sites; ++s) {
      if (observed_[s] == 0 || !differs(sample, s)) continue;
      if (s % apart == 0 && left-- > 0) continue;
      queries_[at(2 * sample + 1, s)] = queries_[at(2 * sample, s)];
      missing_[at(2 * sample + 1, s)] = missing_[at(2 * sample, s)];
    }
  }

  void make_states() {
    const auto num_observed = static_cast<std::int64_t>(seen_.size());
    const std::int64_t step = problem_.step == 0 ? 7 : problem_.step;
    for (std::int64_t rank = 0; rank < std::max<std::int64_t>(1, num_observed); rank += step) {
      starts_.push_back(rank);
    }
    for (std::int64_t i = 0; i < problem_.num_samples; ++i) {
      offsets_.push_back(static_cast<std::int64_t>(copied_.size()));
      for (std::size_t b = 0; b < (problem_.step == 0 ? 1 : starts_.size()); ++b) {
        const std::size_t size = copied_.size();
        while (copied_.size() == size) {
          for (std::int64_t h = 0; h < problem_.num_haplotypes; ++h) {
            if (problem_.step == 0 || random_.below(3) > 0) {
              copied_.push_back(static_cast<std::int32_t>(h));
            }
          }
        }
        offsets_.push_back(static_cast<std::int64_t>(copied_.size()));
      }
    }
  }

  // The likelihood of one haplotype of a phasing.
  double likelihood(std::int64_t sample, const std::vector<std::int64_t>& sites,
                    std::uint64_t orders, int haplotype) const {
    std::vector<double> before(static_cast<std::size_t>(problem_.num_haplotypes)), here = before;
    double total = 1;
    std::size_t next = 0;
    for (std::size_t i = 0; i < seen_.size(); ++i) {
      int row = haplotype;
      if (next < sites.size() && sites[next] == seen_[i]) {
        row ^= static_cast<int>(orders >> next++ & 1);
      }
      const std::vector<std::int32_t> states = states_at(sample, i);
      const double even = 1.0 / static_cast<double>(states.size());
      const double jump =
          i == 0 ? 1 : -std::expm1(cumulative_rho_[seen_[i - 1]] - cumulative_rho_[seen_[i]]);
      double kept = 0, sum = 0;
      for (std::int32_t h : states) kept += before[static_cast<std::size_t>(h)];
      std::fill(here.begin(), here.end(), 0.0);
      for (std::int32_t h : states) {
        const auto k = static_cast<std::size_t>(h);
        const double stays = i == 0 ? 0 : before[k] + (1 - kept) * even;
        const std::int64_t query = 2 * sample + row;
        const bool differ = panel_[at(h, seen_[i])] != queries_[at(query, seen_[i])];
        const double emission = lacks(query, seen_[i]) ? 1 : (differ ? kMismatch : 1 - kMismatch);
        here[k] = ((1 - jump) * stays + jump * even) * emission;
        sum += here[k];
      }
      for (double& value : here) value /= sum;
      total *= sum;
      before.swap(here);
    }
    return total;
  }

  std::vector<std::int32_t> states_at(std::int64_t sample, std::size_t rank) const {
    std::size_t block = 0;
    while (block + 1 < starts_.size() && starts_[block + 1] <= static_cast<std::int64_t>(rank)) {
      ++block;
    }
    if (problem_.step == 0) block = 0;
    const std::size_t columns = problem_.step == 0 ? 2 : starts_.size() + 1;
    const std::int64_t* offsets = offsets_.data() + static_cast<std::size_t>(sample) * columns;
    return {copied_.begin() + offsets[block], copied_.begin() + offsets[block + 1]};
  }

  PhasingProblem problem_;
  std::int64_t gap_;
  Random random_;
  Bytes panel_, queries_, missing_, unphased_, observed_;
  Buffer<double> cumulative_rho_;
  Words keys_;
  std::vector<std::int64_t> seen_, starts_, offsets_;
  std::vector<std::int32_t> copied_;
  std::unique_ptr<Words> bits_, query_bits_, missing_bits_, unphased_bits_;
};

// The orders at the different sites; other bits must be 0.
std::uint64_t orders_of(const std::uint64_t* swapped, std::int64_t words,
                        const std::vector<std::int64_t>& sites) {
  std::uint64_t orders = 0, found = 0;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    orders |= std::uint64_t{has_bit(swapped, sites[i])} << i;
  }
  for (std::int64_t w = 0; w < words; ++w) {
    found += static_cast<std::uint64_t>(__builtin_popcountll(swapped[w]));
  }
  CHECK(found == static_cast<std::uint64_t>(__builtin_popcountll(orders)));
  return orders;
}

void check_sample(const PhasingInput& input, std::int64_t sample, const std::uint64_t* swapped,
                  std::int64_t words, std::int64_t draws, double log_likelihood) {
  const std::vector<std::int64_t> sites = input.different(sample);
  const std::vector<double> weights = input.weights(sample);
  double total = 0;
  for (double weight : weights) total += weight;
  CHECK(std::abs(log_likelihood - std::log(total)) < 1e-4 + 1e-5 * std::abs(log_likelihood));
  std::map<std::uint64_t, std::int64_t> counts;
  for (std::int64_t d = 0; d < draws; ++d) {
    ++counts[orders_of(swapped + d * words, words, sites)];
  }
  for (std::uint64_t orders = 0; orders < weights.size(); ++orders) {
    const auto count = static_cast<double>(counts[orders]);
    if ((orders & 1) != 0) {  // at the first site, the order is the file's
      CHECK(count == 0);
      continue;
    }
    const double other = sites.empty() ? 0 : weights[weights.size() - 1 - orders];
    const double share = (weights[orders] + other) / total;
    const auto n = static_cast<double>(draws);
    CHECK(std::abs(count - share * n) <= 5.5 * std::sqrt(share * (1 - share) * n) + 3);
  }
}

void test_problem(const PhasingProblem& problem, std::int64_t draws, std::int64_t gap = 0) {
  const PhasingInput input(problem, gap);
  const std::int64_t words = num_words(problem.num_sites);
  const std::int64_t size = problem.num_samples * draws * words;
  Words swapped(size, ~std::uint64_t{0});
  Buffer<double> log_likelihood(problem.num_samples);
  CHECK(input.run(draws, 1, swapped, log_likelihood));
  for (std::int64_t i = 0; i < problem.num_samples; ++i) {
    check_sample(input, i, swapped.data() + i * draws * words, words, draws, log_likelihood[i]);
  }
  for (int threads : {2, 4}) {
    Words again(size);
    Buffer<double> likelihood_again(problem.num_samples);
    CHECK(input.run(draws, threads, again, likelihood_again));
    CHECK(again == swapped && likelihood_again == log_likelihood);
  }
  const std::atomic<bool> cancel{true};
  CHECK(!input.run(draws, 2, swapped, log_likelihood, &cancel));
}

}  // namespace

void test_phasings() {
  for (std::int64_t haplotypes : {1, 2, 15, 16, 17, 65}) {
    for (std::int64_t sites : {0, 1, 2, 64, 65, 129}) {
      for (std::int64_t step : {0, 1, 8}) {
        test_problem({haplotypes, sites, 2, 90, 0, 100, step, 0.1f, 2}, 3);
        test_problem({haplotypes, sites, 2, 100, 20, 50, step, 0.1f, 2}, 3, 1);
        test_problem({haplotypes, sites, 1, 80, 0, 0, step, 0.1f, 2}, 3);
      }
    }
  }
  for (int unphased : {0, 50, 100}) {
    for (std::int64_t step : {0, 3}) {
      test_problem({6, 40, 2, 100, 10, unphased, step}, 600);
      test_problem({35, 70, 1, 90, 0, unphased, step, 0.1f, 4}, 300);
    }
  }
  for (float error : {0.0f, 0.5f, 1.0f}) test_problem({9, 60, 2, 90, 10, 30, 4, error}, 300);
  test_problem({9, 60, 0}, 3);
  test_problem({9, 60, 2, 0}, 3);
  test_problem({9, 60, 2, 100, 100}, 3);
}

}  // namespace snvrag::testing
