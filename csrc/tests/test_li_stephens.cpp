// The Li-Stephens model against a naive forward-backward algorithm in double precision.
#include "snvrag/li_stephens.hpp"

#include <atomic>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

using Doubles = std::vector<double>;

struct LiStephensProblem {
  std::int64_t num_haplotypes, num_sites, num_queries;
  int percent_observed;
  double mismatch = 0.01;
  bool is_alone = false;  // queries match no haplotype but those excluded
};

// The input of a call, in buffers of exact size.
class LiStephensInput {
 public:
  LiStephensInput(const LiStephensProblem& problem, bool has_missing, std::int64_t gap)
      : problem_(problem),
        gap_(gap),
        panel_(random_alleles(problem.num_haplotypes * problem.num_sites, 21)),
        queries_(random_alleles(problem.num_queries * problem.num_sites, 22)),
        missing_(problem.num_queries * problem.num_sites),
        observed_(problem.num_sites),
        exclude_(2 * problem.num_queries, -1),
        cumulative_rho_(problem.num_sites) {
    const std::int64_t haplotypes = problem.num_haplotypes, sites = problem.num_sites;
    Random random(static_cast<std::uint64_t>(1000 * haplotypes + sites));
    double at = 3.0;
    for (std::int64_t s = 0; s < sites; ++s) {
      observed_[s] = random.below(100) < problem.percent_observed;
      // Every seventh distance is none.
      cumulative_rho_[s] = at += random.below(7) == 0 ? 0.0 : 0.2 * random.unit();
    }
    for (std::uint8_t& missing : missing_) missing = has_missing && random.below(3) == 0;
    for (std::int64_t q = 0; q < problem.num_queries; ++q) {
      if (haplotypes > 1) exclude_[2 * q] = random.below(haplotypes);
      if (haplotypes > 2) exclude_[2 * q + 1] = random.below(haplotypes);
      // Mosaics of two haplotypes, with errors.
      const std::int64_t first = random.below(haplotypes), second = random.below(haplotypes);
      for (std::int64_t s = 0; s < sites; ++s) {
        const std::int64_t copied = s < sites / 2 ? first : second;
        queries_[q * sites + s] = panel_[copied * sites + s] ^ (random.below(20) == 0);
      }
    }
    if (problem.is_alone) {
      std::fill(panel_.begin(), panel_.end(), std::uint8_t{1});
      std::fill(queries_.begin(), queries_.end(), std::uint8_t{0});
      for (std::int64_t i = 0; i < exclude_.size(); ++i) {
        for (std::int64_t s = 0; s < sites && exclude_[i] >= 0; ++s) {
          panel_[exclude_[i] * sites + s] = 0;
        }
      }
    }
    const Words rows = naive_pack(transposed(panel_, haplotypes, sites), sites, haplotypes);
    site_bits_ = std::make_unique<Words>(spread_rows(rows, sites, num_words(haplotypes), gap));
    query_bits_ = std::make_unique<Words>(naive_pack(queries_, problem.num_queries, sites));
    missing_bits_ = std::make_unique<Words>(naive_pack(missing_, problem.num_queries, sites));
    has_missing_ = has_missing;
  }

  LiStephensPanel panel() const {
    LiStephensPanel panel;
    panel.site_bits = site_bits_->data();
    panel.row_stride = num_words(problem_.num_haplotypes) + gap_;
    panel.num_haplotypes = problem_.num_haplotypes;
    panel.num_sites = problem_.num_sites;
    panel.observed = observed_.data();
    panel.cumulative_rho = cumulative_rho_.data();
    panel.mismatch = static_cast<float>(problem_.mismatch);
    return panel;
  }

  LiStephensQueries queries() const {
    LiStephensQueries queries;
    queries.bits = query_bits_->data();
    queries.missing = has_missing_ ? missing_bits_->data() : nullptr;
    queries.num_queries = problem_.num_queries;
    queries.exclude.indices = exclude_.data();
    queries.exclude.num_columns = 2;
    return queries;
  }

  Doubles expected(std::int64_t q) const {
    const std::int64_t sites = problem_.num_sites;
    const std::vector<std::int64_t> copied = copied_by(q), seen = seen_by(q);
    const std::vector<Doubles> posterior = posteriors(q, copied, seen);
    Doubles dosage;
    for (std::int64_t s = 0; s < sites; ++s) {
      std::size_t after = 0;
      while (after < seen.size() && seen[after] < s) ++after;
      std::size_t before = after;
      if (after == seen.size() || seen[after] != s) before = after == 0 ? 0 : after - 1;
      after = std::min(after, posterior.size() - 1);
      double t = 0.0;
      if (before != after) {
        const double begin = cumulative_rho_[seen[before]],
                     span = cumulative_rho_[seen[after]] - begin;
        t = span > 0 ? (cumulative_rho_[s] - begin) / span : 0.5;
      }
      double sum = 0;
      for (std::size_t i = 0; i < copied.size(); ++i) {
        const double weight = (1 - t) * posterior[before][i] + t * posterior[after][i];
        sum += weight * panel_[copied[i] * sites + s];
      }
      dosage.push_back(sum);
    }
    return dosage;
  }

 private:
  static void normalise(Doubles& values) {
    double sum = 0;
    for (double value : values) sum += value;
    for (double& value : values) value /= sum;
  }

  std::vector<std::int64_t> copied_by(std::int64_t q) const {
    std::vector<std::int64_t> copied;
    for (std::int64_t h = 0; h < problem_.num_haplotypes; ++h) {
      if (h != exclude_[2 * q] && h != exclude_[2 * q + 1]) copied.push_back(h);
    }
    return copied;
  }

  std::vector<std::int64_t> seen_by(std::int64_t q) const {
    std::vector<std::int64_t> seen;
    for (std::int64_t s = 0; s < problem_.num_sites; ++s) {
      if (observed_[s] != 0 && missing_[q * problem_.num_sites + s] == 0) seen.push_back(s);
    }
    return seen;
  }

  // Posteriors of each haplotype that may be copied, at each observed site; the prior without one.
  std::vector<Doubles> posteriors(std::int64_t q, const std::vector<std::int64_t>& copied,
                                  const std::vector<std::int64_t>& seen) const {
    const double share = 1.0 / static_cast<double>(copied.size());
    if (seen.empty()) return {Doubles(copied.size(), share)};
    const auto emission = [&](std::size_t i, std::size_t h) {
      const std::int64_t s = seen[i], sites = problem_.num_sites;
      const bool agree = panel_[copied[h] * sites + s] == queries_[q * sites + s];
      return agree ? 1 - problem_.mismatch : problem_.mismatch;
    };
    const auto jump = [&](std::size_t i) {  // after the i-th
      return -std::expm1(cumulative_rho_[seen[i]] - cumulative_rho_[seen[i + 1]]);
    };
    std::vector<Doubles> result(seen.size(), Doubles(copied.size(), share));
    for (std::size_t i = 0; i < seen.size(); ++i) {
      for (std::size_t h = 0; h < copied.size(); ++h) {
        if (i > 0) result[i][h] = (1 - jump(i - 1)) * result[i - 1][h] + jump(i - 1) * share;
        result[i][h] *= emission(i, h);
      }
      normalise(result[i]);
    }
    Doubles backward(copied.size(), 1.0);
    for (std::size_t i = seen.size(); i-- > 0;) {
      if (i + 1 < seen.size()) {
        for (std::size_t h = 0; h < copied.size(); ++h) backward[h] *= emission(i + 1, h);
        normalise(backward);
        for (double& value : backward) value = (1 - jump(i)) * value + jump(i) * share;
      }
      for (std::size_t h = 0; h < copied.size(); ++h) result[i][h] *= backward[h];
      normalise(result[i]);
    }
    return result;
  }

  LiStephensProblem problem_;
  std::int64_t gap_;
  Bytes panel_, queries_, missing_, observed_;
  Buffer<std::int64_t> exclude_;
  Buffer<double> cumulative_rho_;
  std::unique_ptr<Words> site_bits_, query_bits_, missing_bits_;
  bool has_missing_ = false;
};

void test_dosage(const LiStephensProblem& problem, bool has_missing = false, std::int64_t gap = 0) {
  const LiStephensInput input(problem, has_missing, gap);
  const std::int64_t size = problem.num_queries * problem.num_sites;
  Buffer<float> first(size, std::numeric_limits<float>::quiet_NaN());
  CHECK(li_stephens_dosage(input.queries(), input.panel(), 1, first.data()));
  double worst = 0;
  for (std::int64_t q = 0; q < problem.num_queries; ++q) {
    const Doubles expected = input.expected(q);
    for (std::int64_t s = 0; s < problem.num_sites; ++s) {
      const double got = double{first[q * problem.num_sites + s]};
      const double error = std::abs(got - expected[static_cast<std::size_t>(s)]);
      worst = std::isnan(error) ? 1e9 : std::max(worst, error);
    }
  }
  CHECK(worst < 5e-5);
  for (int threads : {2, 4}) {
    Buffer<float> again(size, std::numeric_limits<float>::quiet_NaN());
    CHECK(li_stephens_dosage(input.queries(), input.panel(), threads, again.data()));
    CHECK(again == first);
  }
}

void test_cancelled() {
  const LiStephensInput input({65, 70, 5, 50}, false, 0);
  Buffer<float> dosage(5 * 70);
  std::atomic<bool> cancel{false};
  CHECK(li_stephens_dosage(input.queries(), input.panel(), 2, dosage.data(), &cancel));
  cancel = true;
  for (int threads : {1, 2, 4}) {
    CHECK(!li_stephens_dosage(input.queries(), input.panel(), threads, dosage.data(), &cancel));
  }
  // In the middle of one query.
  const LiStephensInput one({640, 20'000, 1, 100}, false, 0);
  Buffer<float> answer(20'000);
  cancel = false;
  std::thread canceller([&] { cancel = true; });
  li_stephens_dosage(one.queries(), one.panel(), 1, answer.data(), &cancel);
  canceller.join();
  CHECK(!li_stephens_dosage(one.queries(), one.panel(), 1, answer.data(), &cancel));
}

}  // namespace

void test_li_stephens() {
  for (std::int64_t haplotypes : {1, 2, 3, 63, 64, 65, 127, 129}) {
    for (std::int64_t sites : {0, 1, 2, 63, 64, 65, 129}) {
      for (int percent : {0, 40, 100}) {
        test_dosage({haplotypes, sites, 3, percent});
      }
      test_dosage({haplotypes, sites, 2, 60}, true, 1);
    }
  }
  test_dosage({65, 64, 0, 50});
  test_dosage({300, 300, 5, 30}, true, 3);
  for (double mismatch : {0.5, 1e-3, 1e-6}) test_dosage({66, 130, 3, 90, mismatch});
  for (std::int64_t haplotypes : {2, 5, 64, 65}) {
    for (double mismatch : {0.01, 1e-6}) {
      test_dosage({haplotypes, 200, 2, 100, mismatch, true});
    }
  }
  test_cancelled();
}

}  // namespace snvrag::testing
