// Retrieved states against sorting the panel anew at every middle site.
#include "snvrag/states.hpp"

#include <atomic>
#include <cstdlib>
#include <numeric>
#include <set>
#include <tuple>
#include <vector>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

struct StatesProblem {
  std::int64_t num_haplotypes, num_sites, num_queries;
  int percent_observed, percent_missing;
  StatesOptions options;
  int percent_unphased = -1;  // negative: the queries are not of samples
  std::int64_t group_size = 1;
};

// The input of a call, in buffers of exact size.
class StatesInput {
 public:
  explicit StatesInput(const StatesProblem& problem, std::int64_t gap = 0)
      : problem_(problem),
        gap_(gap),
        panel_(random_alleles(problem.num_haplotypes * problem.num_sites, 31)),
        queries_(random_alleles(problem.num_queries * problem.num_sites, 32)),
        missing_(problem.num_queries * problem.num_sites),
        unphased_(problem.num_queries / 2 * problem.num_sites),
        observed_(problem.num_sites),
        exclude_(2 * problem.num_queries, -1),
        position_cm_(problem.num_sites) {
    const std::int64_t haplotypes = problem.num_haplotypes, sites = problem.num_sites;
    Random random(static_cast<std::uint64_t>(1000 * haplotypes + sites));
    double at = -3.0;
    for (std::int64_t s = 0; s < sites; ++s) {
      observed_[s] = random.below(100) < problem.percent_observed;
      position_cm_[s] = at += random.below(7) == 0 ? 0.0 : 0.05 * random.unit();
      if (observed_[s] != 0) sites_.push_back(s);
    }
    for (std::uint8_t& missing : missing_) missing = random.below(100) < problem.percent_missing;
    for (std::uint8_t& unphased : unphased_)
      unphased = random.below(100) < problem.percent_unphased;
    for (std::int64_t i = 0; i < exclude_.size(); ++i) {
      if (haplotypes > 2) exclude_[i] = random.below(haplotypes);
    }
    const Words rows = naive_pack(transposed(panel_, haplotypes, sites), sites, haplotypes);
    site_bits_ = std::make_unique<Words>(spread_rows(rows, sites, num_words(haplotypes), gap));
    query_bits_ = std::make_unique<Words>(naive_pack(queries_, problem.num_queries, sites));
    missing_bits_ = std::make_unique<Words>(naive_pack(missing_, problem.num_queries, sites));
    unphased_bits_ = std::make_unique<Words>(naive_pack(unphased_, problem.num_queries / 2, sites));
  }

  bool run(int num_threads, States& states, CancelFlag cancel = nullptr) const {
    StatesQueries queries;
    queries.bits = query_bits_->data();
    queries.missing = missing_bits_->data();
    queries.num_queries = problem_.num_queries;
    queries.exclude = {exclude_.data(), 2};
    if (problem_.percent_unphased >= 0) queries.unphased = unphased_bits_->data();
    queries.group_size = problem_.group_size;
    StatesPanel panel;
    panel.site_bits = site_bits_->data();
    panel.row_stride = num_words(problem_.num_haplotypes) + gap_;
    panel.num_haplotypes = problem_.num_haplotypes;
    panel.num_sites = problem_.num_sites;
    panel.observed = observed_.data();
    panel.position_cm = position_cm_.data();
    return retrieve_states(queries, panel, problem_.options, num_threads, states, cancel);
  }

  std::int64_t num_blocks() const {
    return std::max<std::int64_t>(1, block_of(num_observed() - 1) + 1);
  }

  // The states of a group of queries in each block.
  std::vector<std::set<std::int32_t>> expected(std::int64_t group) const {
    std::vector<std::set<std::int32_t>> states(static_cast<std::size_t>(num_blocks()));
    std::set<std::int32_t> any_allowed;
    bool takes_all = sites_.empty();
    for (std::int64_t i = 0; i < problem_.group_size; ++i) {
      const std::int64_t query = group * problem_.group_size + i;
      const std::set<std::int32_t> allowed = allowed_of(query);
      any_allowed.insert(allowed.begin(), allowed.end());
      const auto num_allowed = static_cast<std::int64_t>(allowed.size());
      if (num_allowed <= 2 * problem_.options.neighbours) takes_all = true;
      if (takes_all) continue;
      for (bool is_backward : {false, true}) add_choices(query, is_backward, states);
    }
    if (takes_all) {
      for (auto& block : states) block = any_allowed;
    }
    return states;
  }

 private:
  std::int64_t num_observed() const { return static_cast<std::int64_t>(sites_.size()); }
  std::int64_t block_of(std::int64_t rank) const { return rank / problem_.options.step; }
  double cm(std::int64_t rank) const {
    return position_cm_[sites_[static_cast<std::size_t>(rank)]];
  }
  std::uint8_t allele(std::int64_t haplotype, std::int64_t rank) const {
    return panel_[haplotype * problem_.num_sites + sites_[static_cast<std::size_t>(rank)]];
  }

  // What is sorted: alleles from the last site passed to the first, then the rank without alleles.
  using Key = std::pair<std::vector<std::uint8_t>, std::int64_t>;

  std::set<std::int32_t> allowed_of(std::int64_t query) const {
    std::set<std::int32_t> allowed;
    for (std::int64_t h = 0; h < problem_.num_haplotypes; ++h) {
      if (h != exclude_[2 * query] && h != exclude_[2 * query + 1]) {
        allowed.insert(static_cast<std::int32_t>(h));
      }
    }
    return allowed;
  }

  // The alleles of a query and of the sample's other one (of no other: itself).
  struct Sample {
    std::int64_t queries[2];
    std::set<std::int32_t> allowed[2];
    Key keys[2] = {{{}, -1}, {{}, -1}};
  };

  // Appends the alleles of both at a site.
  void append_alleles(Sample& sample, const std::vector<std::pair<Key, std::int32_t>>& keys,
                      std::int64_t rank) const {
    const bool is_unknown = is_unphased(sample.queries[0], rank);
    std::uint8_t has[2], found[2] = {};
    std::int64_t match[2] = {};
    bool lacks[2];
    for (int i : {0, 1}) {
      const std::int64_t site = sites_[static_cast<std::size_t>(rank)];
      const std::int64_t at = sample.queries[i] * problem_.num_sites + site;
      lacks[i] = missing_[at] != 0;
      if (lacks[i] || is_unknown) {
        const std::int32_t h = nearest(sample.keys[i], keys, sample.allowed[i], 1)[0];
        for (const auto& [key, other] : keys) {
          if (other == h) match[i] = match_of(sample.keys[i], key);
        }
        found[i] = allele(h, rank);
      }
      has[i] = lacks[i] ? found[i] : queries_[at];
    }
    if (is_unknown && !(lacks[0] && lacks[1])) {
      const int shorter = match[0] < match[1] ? 0 : 1;
      if (lacks[0] || lacks[1]) {
        const std::uint8_t known = has[lacks[0] ? 1 : 0];
        std::copy_n(found, 2, has);
        if (found[0] != known && found[1] != known) has[shorter] = known;
      } else if (has[0] != has[1]) {
        std::copy_n(found, 2, has);
        if (found[0] == found[1]) has[shorter] = 1 - found[shorter];
      }
    }
    for (int i : {0, 1}) sample.keys[i].first.insert(sample.keys[i].first.begin(), has[i]);
  }

  bool is_unphased(std::int64_t first, std::int64_t rank) const {
    return problem_.percent_unphased >= 0 &&
           unphased_[first / 2 * problem_.num_sites + sites_[static_cast<std::size_t>(rank)]] != 0;
  }

  void add_choices(std::int64_t query, bool is_backward,
                   std::vector<std::set<std::int32_t>>& states) const {
    const std::int64_t size = problem_.num_haplotypes, step = problem_.options.step;
    std::int64_t stride = std::max<std::int64_t>(1, size * 618 / 1000);
    while (std::gcd(stride, size) != 1) ++stride;
    std::vector<std::pair<Key, std::int32_t>> keys;
    for (std::int64_t i = 0; i < size; ++i) {
      keys.push_back(
          {{{}, is_backward ? size - i : i}, static_cast<std::int32_t>(i * stride % size)});
    }
    const bool has_other = problem_.percent_unphased >= 0;
    Sample sample;
    for (int i : {0, 1}) {
      sample.queries[i] = has_other ? query / 2 * 2 + i : query;
      sample.allowed[i] = allowed_of(sample.queries[i]);
    }
    const Key& own = sample.keys[has_other ? query % 2 : 0];
    for (std::int64_t i = 0; i < num_observed(); ++i) {
      const std::int64_t rank = is_backward ? num_observed() - 1 - i : i;
      append_alleles(sample, keys, rank);
      for (auto& [key, h] : keys) key.first.insert(key.first.begin(), allele(h, rank));
      const std::int64_t block = block_of(rank), start = block * step;
      if (rank != start + std::min(step, num_observed() - start) / 2) continue;
      const std::set<std::int32_t> allowed = allowed_of(query);
      for (std::int32_t h : nearest(own, keys, allowed, problem_.options.neighbours)) {
        for (std::int64_t r = 0; r < num_observed(); ++r) {
          const bool is_adjacent = std::abs(block_of(r) - block) <= 1;
          // The expressions of the kernel, as rounding could differ otherwise.
          const double within = problem_.options.within_cm;
          const bool is_near = cm(r) >= cm(rank) - within && cm(r) <= cm(rank) + within;
          if (is_adjacent || is_near) states[static_cast<std::size_t>(block_of(r))].insert(h);
        }
      }
    }
  }

  static std::int64_t match_of(const Key& a, const Key& b) {
    return std::mismatch(a.first.begin(), a.first.end(), b.first.begin()).first - a.first.begin();
  }

  static std::vector<std::int32_t> nearest(const Key& own,
                                           std::vector<std::pair<Key, std::int32_t>> keys,
                                           const std::set<std::int32_t>& allowed,
                                           std::int64_t count) {
    std::sort(keys.begin(), keys.end());
    std::int64_t place = 0;
    for (const auto& [key, h] : keys) place += key < own;
    std::vector<std::tuple<std::int64_t, std::int64_t, std::int32_t>> order;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const auto& [key, h] = keys[i];
      if (allowed.count(h) == 0) continue;
      order.emplace_back(-match_of(own, key),
                         std::abs(2 * (static_cast<std::int64_t>(i) - place) + 1), h);
    }
    std::sort(order.begin(), order.end());
    std::vector<std::int32_t> haplotypes;
    for (std::int64_t i = 0; i < count; ++i) {
      haplotypes.push_back(std::get<2>(order[static_cast<std::size_t>(i)]));
    }
    return haplotypes;
  }

  StatesProblem problem_;
  std::int64_t gap_;
  Bytes panel_, queries_, missing_, unphased_, observed_;
  Buffer<std::int64_t> exclude_;
  Buffer<double> position_cm_;
  std::unique_ptr<Words> site_bits_, query_bits_, missing_bits_, unphased_bits_;
  std::vector<std::int64_t> sites_;  // the observed ones
};

bool equal(const States& a, const States& b) {
  return a.block_starts == b.block_starts && a.offsets == b.offsets && a.haplotypes == b.haplotypes;
}

void test_problem(const StatesProblem& problem, std::int64_t gap = 0) {
  const StatesInput input(problem, gap);
  States got;
  CHECK(input.run(1, got));
  const std::int64_t num_blocks = input.num_blocks();
  const std::int64_t num_groups = problem.num_queries / problem.group_size;
  CHECK(static_cast<std::int64_t>(got.block_starts.size()) == num_blocks);
  CHECK(static_cast<std::int64_t>(got.offsets.size()) == num_groups * (num_blocks + 1));
  bool is_same = true;
  std::vector<std::int32_t> haplotypes;
  for (std::int64_t g = 0; g < num_groups; ++g) {
    const auto expected = input.expected(g);
    for (std::int64_t b = 0; b <= num_blocks; ++b) {
      const auto offset = got.offsets[static_cast<std::size_t>(g * (num_blocks + 1) + b)];
      is_same = is_same && offset == static_cast<std::int64_t>(haplotypes.size());
      if (b == num_blocks) continue;
      const auto& block = expected[static_cast<std::size_t>(b)];
      haplotypes.insert(haplotypes.end(), block.begin(), block.end());
    }
  }
  CHECK(is_same && haplotypes == got.haplotypes);
  for (int threads : {2, 5}) {
    States again;
    CHECK(input.run(threads, again));
    CHECK(equal(again, got));
  }
  const std::atomic<bool> cancel{true};
  CHECK(problem.num_queries == 0 || !input.run(2, got, &cancel));
}

}  // namespace

void test_states() {
  for (std::int64_t haplotypes : {1, 2, 3, 63, 64, 65, 129}) {
    for (std::int64_t sites : {0, 1, 2, 63, 64, 65, 129}) {
      test_problem({haplotypes, sites, 2, 40, 0, {2, 8, 0.1}});
      test_problem({haplotypes, sites, 3, 100, 20, {5, 7, 0.3}}, 1);
      test_problem({haplotypes, sites, 4, 100, 20, {3, 7, 0.3}, 70, 2});
    }
  }
  test_problem({65, 70, 0, 100, 0, {2, 8, 0.1}});
  test_problem({65, 70, 2, 0, 0, {2, 8, 0.1}});
  test_problem({65, 70, 2, 100, 100, {1, 1, 0.0}});
  test_problem({65, 70, 2, 100, 0, {1, 100, 1e9}});
  test_problem({300, 20, 40, 100, 5, {3, 4, 0.1}});
  test_problem({300, 20, 42, 100, 5, {3, 4, 0.1}, 60, 3});
  test_problem({65, 70, 0, 100, 0, {2, 8, 0.1}, 100, 2});
  test_problem({65, 70, 2, 100, 100, {1, 1, 0.0}, 100});
  test_problem({65, 70, 4, 100, 50, {1, 8, 0.1}, 100});
  test_problem({6, 70, 24, 100, 10, {2, 8, 0.1}, 100});  // most queries get all that are left
}

}  // namespace snvrag::testing
