// The evidence of the Li-Stephens model over states, and its expected events, against dense
// transition matrices in double precision.
#include "snvrag/evidence.hpp"

#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

using Doubles = std::vector<double>;

struct EvidenceProblem {
  std::int64_t num_haplotypes, num_sites, num_queries;
  int percent_observed = 50, percent_missing = 0;
  std::int64_t step = 0;  // observed sites of a block of states; 0: all haplotypes, in every block
  float mismatch = 0.01f;
};

// Of the model of one query. Vectors have a value for each state of an observed site, or one vector
// where there is none.
struct NaivePasses {
  std::vector<std::vector<std::int32_t>> states;
  std::vector<Doubles> forward;  // sums of 1
  std::vector<Doubles> behind;   // backward, with the allele at the site; sums of 1
  Doubles draws;                 // expected, before each observed site
  double mismatches = 0, log_likelihood = 0;
  std::int64_t num_alleles = 0;
};

double normalise(Doubles& values) {
  double sum = 0;
  for (double value : values) sum += value;
  for (double& value : values) value /= sum;
  return sum;
}

// The input of a call, in buffers of exact size.
class EvidenceInput {
 public:
  explicit EvidenceInput(const EvidenceProblem& problem, std::int64_t gap = 0)
      : problem_(problem),
        gap_(gap),
        random_(static_cast<std::uint64_t>(1000 * problem.num_haplotypes + problem.num_sites)),
        panel_(random_alleles(problem.num_haplotypes * problem.num_sites, 41)),
        queries_(random_alleles(problem.num_queries * problem.num_sites, 42)),
        missing_(problem.num_queries * problem.num_sites),
        observed_(problem.num_sites),
        is_alt_(problem.num_sites),
        exclude_(2 * problem.num_queries, -1),
        minor_counts_(problem.num_sites),
        wanted_(problem.num_sites),
        cumulative_rho_(problem.num_sites) {
    const std::int64_t haplotypes = problem.num_haplotypes, sites = problem.num_sites;
    double at = 3.0;
    for (std::int64_t s = 0; s < sites; ++s) {
      observed_[s] = random_.below(100) < problem.percent_observed;
      if (observed_[s] != 0) seen_.push_back(s);
      cumulative_rho_[s] = at += 0.001 + 0.2 * random_.unit();
      wanted_[s] = s;
      std::int64_t alt = 0;
      for (std::int64_t h = 0; h < haplotypes; ++h) alt += panel_[h * sites + s];
      is_alt_[s] = 2 * alt <= haplotypes;
      minor_counts_[s] = std::min(alt, haplotypes - alt);
    }
    for (std::uint8_t& missing : missing_) missing = random_.below(100) < problem.percent_missing;
    for (std::int64_t i = 0; i < exclude_.size(); ++i) {
      if (haplotypes > 2) exclude_[i] = random_.below(haplotypes);
    }
    make_states();
    bits_ = std::make_unique<Words>(
        spread_rows(naive_pack(panel_, haplotypes, sites), haplotypes, num_words(sites), gap));
    query_bits_ = std::make_unique<Words>(naive_pack(queries_, problem.num_queries, sites));
    missing_bits_ = std::make_unique<Words>(naive_pack(missing_, problem.num_queries, sites));
  }

  bool run(int num_threads, Buffer<float>& evidence, CancelFlag cancel = nullptr) const {
    return li_stephens_evidence(queries(), panel(), states(), wanted_.data(), wanted_.size(),
                                minor_counts_.data(), is_alt_.data(), num_threads, evidence.data(),
                                cancel);
  }

  bool run(int num_threads, LiStephensEvents& events, CancelFlag cancel = nullptr) const {
    return li_stephens_events(queries(), panel(), states(), num_threads, events, cancel);
  }

  std::int64_t num_intervals() const {
    return std::max<std::int64_t>(0, static_cast<std::int64_t>(seen_.size()) - 1);
  }

  NaivePasses passes(std::int64_t query) const {
    NaivePasses result;
    for (std::size_t i = 0; i < std::max<std::size_t>(1, seen_.size()); ++i) {
      std::size_t block = 0;
      while (block + 1 < starts_.size() && starts_[block + 1] <= static_cast<std::int64_t>(i)) {
        ++block;
      }
      result.states.push_back(states_of(query, problem_.step == 0 ? 0 : block));
      const std::size_t size = result.states.back().size();
      result.forward.emplace_back(size, 1.0 / static_cast<double>(size));
      result.behind.emplace_back(size, 1.0 / static_cast<double>(size));
    }
    for (std::size_t i = 0; i < seen_.size(); ++i) {
      if (i > 0) result.forward[i] = entered(result, i, jump(i));
      for (std::size_t h = 0; h < result.states[i].size(); ++h) {
        result.forward[i][h] *= emission(query, i, result.states[i][h]);
      }
      result.log_likelihood += std::log(normalise(result.forward[i]));
      result.num_alleles += lacks(query, i) ? 0 : 1;
    }
    for (std::size_t i = seen_.size(); i-- > 0;) {
      if (i + 1 < seen_.size()) result.behind[i] = left(result, i, jump(i + 1));
      Doubles posterior = result.forward[i];
      for (std::size_t h = 0; h < posterior.size(); ++h) posterior[h] *= result.behind[i][h];
      normalise(posterior);
      for (std::size_t h = 0; h < posterior.size(); ++h) {
        const std::int32_t state = result.states[i][h];
        if (!lacks(query, i) && differs(query, i, state)) result.mismatches += posterior[h];
        result.behind[i][h] *= emission(query, i, state);
      }
      normalise(result.behind[i]);
    }
    for (std::size_t i = 1; i < seen_.size(); ++i) {
      const auto stay = entered(result, i, 0);
      double same = 0;
      for (std::size_t h = 0; h < stay.size(); ++h) same += stay[h] * result.behind[i][h];
      same *= static_cast<double>(stay.size());
      result.draws.push_back(jump(i) / ((1 - jump(i)) * same + jump(i)));
    }
    return result;
  }

  // Writes the log-odds of the minor allele at a site, and those of a draw beside it.
  void expected(const NaivePasses& passes, std::int64_t site, double& minor, double& drawn) const {
    std::size_t next = 0;
    while (next < seen_.size() && seen_[next] < site) ++next;
    const bool is_between = next > 0 && next < seen_.size();
    const std::size_t at = std::min(next, passes.states.size() - 1);
    const std::vector<std::int32_t>& states = passes.states[at];
    Doubles before(states.size(), 1.0 / static_cast<double>(states.size())), behind = before;
    if (next > 0) before = is_between ? entered(passes, next, 0) : passes.forward[next - 1];
    if (next < seen_.size()) behind = passes.behind[next];
    const double* rho = cumulative_rho_.data();
    const double jump_before = is_between ? -std::expm1(rho[seen_[next - 1]] - rho[site]) : 0;
    const double jump_behind = is_between ? -std::expm1(rho[site] - rho[seen_[next]]) : 0;
    double carriers = 0, total = 0, same = 0;
    for (std::size_t h = 0; h < states.size(); ++h) {
      const double even = 1.0 / static_cast<double>(states.size());
      const double share = ((1 - jump_before) * before[h] + jump_before * even) *
                           ((1 - jump_behind) * behind[h] + jump_behind * even);
      const bool is_alt = panel_[states[h] * problem_.num_sites + site] != 0;
      if (is_alt == (is_alt_[site] != 0)) carriers += share;
      total += share;
      same += (1 - jump_before) * (1 - jump_behind) * before[h] * behind[h];
    }
    minor = carriers / total;
    drawn = 1 - same / total;
  }

 private:
  void make_states() {
    const std::int64_t haplotypes = problem_.num_haplotypes;
    const auto num_observed = static_cast<std::int64_t>(seen_.size());
    const std::int64_t step = problem_.step == 0 ? 7 : problem_.step;
    for (std::int64_t rank = 0; rank < std::max<std::int64_t>(1, num_observed); rank += step) {
      starts_.push_back(rank);
    }
    for (std::int64_t q = 0; q < problem_.num_queries; ++q) {
      offsets_.push_back(static_cast<std::int64_t>(copied_.size()));
      for (std::size_t b = 0; b < (problem_.step == 0 ? 1 : starts_.size()); ++b) {
        const std::size_t size = copied_.size();
        while (copied_.size() == size) {
          for (std::int64_t h = 0; h < haplotypes; ++h) {
            if (h == exclude_[2 * q] || h == exclude_[2 * q + 1]) continue;
            if (problem_.step == 0 || random_.below(3) == 0) {
              copied_.push_back(static_cast<std::int32_t>(h));
            }
          }
        }
        offsets_.push_back(static_cast<std::int64_t>(copied_.size()));
      }
    }
  }

  std::vector<std::int32_t> states_of(std::int64_t query, std::size_t block) const {
    const std::size_t columns = problem_.step == 0 ? 2 : starts_.size() + 1;
    const std::int64_t* offsets = offsets_.data() + static_cast<std::size_t>(query) * columns;
    return {copied_.begin() + offsets[block], copied_.begin() + offsets[block + 1]};
  }

  HaplotypePanel panel() const {
    HaplotypePanel panel;
    panel.haplotype_bits = bits_->data();
    panel.row_stride = num_words(problem_.num_sites) + gap_;
    panel.num_haplotypes = problem_.num_haplotypes;
    panel.num_sites = problem_.num_sites;
    panel.observed = observed_.data();
    panel.cumulative_rho = cumulative_rho_.data();
    panel.mismatch = problem_.mismatch;
    return panel;
  }

  LiStephensQueries queries() const {
    LiStephensQueries queries;
    queries.bits = query_bits_->data();
    queries.missing = problem_.percent_missing == 0 ? nullptr : missing_bits_->data();
    queries.num_queries = problem_.num_queries;
    queries.exclude = {exclude_.data(), 2};
    return queries;
  }

  StatesView states() const {
    StatesView view;
    view.block_starts = starts_.data();
    view.num_blocks = static_cast<std::int64_t>(starts_.size());
    view.offsets = offsets_.data();
    view.haplotypes = copied_.data();
    view.is_constant = problem_.step == 0;
    return view;
  }

  double jump(std::size_t rank) const {
    return -std::expm1(cumulative_rho_[seen_[rank - 1]] - cumulative_rho_[seen_[rank]]);
  }
  bool lacks(std::int64_t query, std::size_t rank) const {
    return missing_[query * problem_.num_sites + seen_[rank]] != 0;
  }
  bool differs(std::int64_t query, std::size_t rank, std::int32_t state) const {
    const std::int64_t sites = problem_.num_sites;
    return panel_[state * sites + seen_[rank]] != queries_[query * sites + seen_[rank]];
  }
  double emission(std::int64_t query, std::size_t rank, std::int32_t state) const {
    if (lacks(query, rank)) return 1;
    const auto mismatch = static_cast<double>(problem_.mismatch);
    return differs(query, rank, state) ? mismatch : 1 - mismatch;
  }

  // Calls found(i, j, probability) to go from state i of a site to state j of the next.
  template <class Found>
  void transitions(const NaivePasses& passes, std::size_t rank, double jump, Found found) const {
    const auto& from = passes.states[rank - 1];
    const auto& to = passes.states[rank];
    for (std::size_t i = 0; i < from.size(); ++i) {
      const bool is_lost = std::find(to.begin(), to.end(), from[i]) == to.end();
      for (std::size_t j = 0; j < to.size(); ++j) {
        const double even = 1.0 / static_cast<double>(to.size());
        const double stay = is_lost ? even : (from[i] == to[j] ? 1.0 : 0.0);
        found(i, j, (1 - jump) * stay + jump * even);
      }
    }
  }

  Doubles entered(const NaivePasses& passes, std::size_t rank, double jump) const {
    Doubles result(passes.states[rank].size());
    transitions(passes, rank, jump, [&](std::size_t i, std::size_t j, double probability) {
      result[j] += passes.forward[rank - 1][i] * probability;
    });
    return result;
  }

  Doubles left(const NaivePasses& passes, std::size_t rank, double jump) const {
    Doubles result(passes.states[rank].size());
    transitions(passes, rank + 1, jump, [&](std::size_t i, std::size_t j, double probability) {
      result[i] += passes.behind[rank + 1][j] * probability;
    });
    return result;
  }

  EvidenceProblem problem_;
  std::int64_t gap_;
  Random random_;
  Bytes panel_, queries_, missing_, observed_, is_alt_;
  Buffer<std::int64_t> exclude_, minor_counts_, wanted_;
  Buffer<double> cumulative_rho_;
  std::vector<std::int64_t> seen_, starts_, offsets_;
  std::vector<std::int32_t> copied_;
  std::unique_ptr<Words> bits_, query_bits_, missing_bits_;
};

bool near_odds(float got, double probability) {
  const double p = std::min(1 - 1e-5, std::max(1e-5, probability));
  return std::abs(static_cast<double>(got) - std::log(p / (1 - p))) < 2e-3;
}

void check_evidence(const EvidenceProblem& problem, const EvidenceInput& input) {
  const std::int64_t size = problem.num_queries * problem.num_sites * kNumEvidence;
  Buffer<float> first(size, std::numeric_limits<float>::quiet_NaN());
  CHECK(input.run(1, first));
  bool is_near = true, is_finite = true;
  for (std::int64_t q = 0; q < problem.num_queries; ++q) {
    const NaivePasses passes = input.passes(q);
    for (std::int64_t s = 0; s < problem.num_sites; ++s) {
      const float* at = first.data() + (q * problem.num_sites + s) * kNumEvidence;
      double minor = 0, drawn = 0;
      input.expected(passes, s, minor, drawn);
      is_near = is_near && near_odds(at[kLogOdds], minor) && near_odds(at[kSwitchOdds], drawn);
      for (int c = 0; c < kNumEvidence; ++c) is_finite = is_finite && std::isfinite(at[c]);
    }
  }
  CHECK(is_near);
  CHECK(is_finite);
  for (int threads : {2, 4}) {
    Buffer<float> again(size, std::numeric_limits<float>::quiet_NaN());
    CHECK(input.run(threads, again));
    CHECK(again == first);
  }
  const std::atomic<bool> cancel{true};
  CHECK(!input.run(2, first, &cancel));
}

bool near(double got, double expected) {
  return std::abs(got - expected) <= 1e-5 + 3e-4 * std::abs(expected);
}

void check_events(const EvidenceProblem& problem, const EvidenceInput& input) {
  Buffer<double> first(input.num_intervals()), log_likelihood(problem.num_queries);
  LiStephensEvents events{first.data(), log_likelihood.data()};
  CHECK(input.run(1, events));
  Doubles switches(static_cast<std::size_t>(input.num_intervals()));
  double mismatches = 0;
  std::int64_t num_alleles = 0;
  bool is_near = true;
  for (std::int64_t q = 0; q < problem.num_queries; ++q) {
    const NaivePasses expected = input.passes(q);
    for (std::size_t i = 0; i < switches.size(); ++i) switches[i] += expected.draws[i];
    mismatches += expected.mismatches;
    num_alleles += expected.num_alleles;
    is_near = is_near && near(log_likelihood[q], expected.log_likelihood);
  }
  for (std::int64_t i = 0; i < first.size(); ++i) {
    is_near = is_near && near(first[i], switches[static_cast<std::size_t>(i)]);
  }
  CHECK(is_near);
  CHECK(near(events.mismatches, mismatches));
  CHECK(events.num_alleles == num_alleles);
  for (int threads : {2, 4}) {
    Buffer<double> again(first.size()), likelihood_again(problem.num_queries);
    LiStephensEvents repeated{again.data(), likelihood_again.data()};
    CHECK(input.run(threads, repeated));
    CHECK(again == first && likelihood_again == log_likelihood);
    CHECK(repeated.mismatches == events.mismatches);
  }
  const std::atomic<bool> cancel{true};
  CHECK(problem.num_queries == 0 || !input.run(2, events, &cancel));
}

void test_problem(const EvidenceProblem& problem, std::int64_t gap = 0) {
  const EvidenceInput input(problem, gap);
  check_evidence(problem, input);
  check_events(problem, input);
}

}  // namespace

void test_evidence() {
  for (std::int64_t haplotypes : {1, 2, 3, 63, 64, 65, 129}) {
    for (std::int64_t sites : {0, 1, 2, 63, 64, 65, 129}) {
      for (std::int64_t step : {0, 1, 8}) {
        test_problem({haplotypes, sites, 2, 50, 0, step});
        test_problem({haplotypes, sites, 2, 100, 30, step}, 1);
      }
    }
  }
  test_problem({65, 70, 0, 50, 0, 4});
  test_problem({65, 70, 2, 0, 0, 4});
  test_problem({65, 130, 2, 2, 0, 4});
  test_problem({65, 70, 2, 100, 100, 4});
  test_problem({66, 70, 150, 50, 10, 3});
  for (float mismatch : {0.5f, 1e-4f}) test_problem({66, 130, 2, 90, 0, 5, mismatch});
}

}  // namespace snvrag::testing
