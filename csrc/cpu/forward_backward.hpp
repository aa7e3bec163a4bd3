// The forward-backward algorithm of the Li-Stephens model, for one query at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernel_table.hpp"
#include "snvrag/bits.hpp"
#include "snvrag/li_stephens.hpp"

namespace snvrag {

// The posterior of the copied haplotype at one of a query's observed sites.
struct SitePosterior {
  std::int64_t site = 0;
  const float* values = nullptr;  // times `scale`: the probability of each haplotype
  float scale = 1.0f;
};

// Forward probabilities, f, are divided by their sum s before each step:
//     f_i(h) = r_i(h) * ((1 - jump) * f_{i-1}(h) / s_{i-1} + jump * prior(h)),
// with r_i(h) = 1 where the haplotype has the query's allele, ratio() elsewhere. The likelihood of
// n observed alleles is therefore the product of the s_i, divided by (1 + ratio)^n. Backward
// probabilities are scaled so that their mean over the haplotypes that may be copied is 1 after the
// next emission:
//     b_i(h) = (1 - jump) * r_{i+1}(h) * b_{i+1}(h) / mean(r_{i+1} * b_{i+1}) + jump.
//
// The forward probabilities of every block_-th observed site are kept; those between are computed
// again when the backward pass reaches them.
class ForwardBackward {
 public:
  ForwardBackward(const LiStephensPanel& panel, CancelFlag cancel)
      : panel_(panel),
        cancel_(cancel),
        kernels_(kernels()),
        num_words_(num_words(panel.num_haplotypes)),
        size_(static_cast<std::size_t>(64 * num_words_)),
        ratio_(std::max(1e-12f, panel.mismatch / (1.0f - panel.mismatch))),
        prior_(size_),
        backward_(size_),
        here_(size_),
        after_(size_) {}

  bool cancelled() const { return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed); }

  // Probability of a mismatch over that of a match.
  float ratio() const { return ratio_; }

  // Probability of each haplotype to be drawn by the query of the last run; 0 if excluded.
  const float* prior() const { return prior_.data(); }

  // Calls visit(here, next, jump) for each observed site of a query, from the last to the first,
  // with the posterior at the following one, whose values are null at the last, and the probability
  // of a draw between them. Returns the number of observed sites, or returns early when cancelled.
  template <class Visit>
  std::int64_t run(const LiStephensQueries& queries, std::int64_t query, Visit visit) {
    const std::int64_t words = num_words(panel_.num_sites);
    query_ = queries.bits + query * words;
    find_observed(queries.missing == nullptr ? nullptr : queries.missing + query * words);
    set_prior(queries.exclude, query);
    const auto n = static_cast<std::int64_t>(sites_.size());
    if (n == 0) return 0;
    block_ = std::max<std::int64_t>(1, std::llround(std::sqrt(static_cast<double>(n))));
    const std::int64_t num_blocks = (n + block_ - 1) / block_;
    kept_.resize(static_cast<std::size_t>(num_blocks) * size_);
    kept_sums_.resize(static_cast<std::size_t>(num_blocks));
    forward_.resize(static_cast<std::size_t>(block_) * size_);
    sums_.resize(static_cast<std::size_t>(block_));
    keep_forward(n);
    go_backward(n, num_blocks, visit);
    return n;
  }

 private:
  void find_observed(const std::uint64_t* missing) {
    sites_.clear();
    for (std::int64_t s = 0; s < panel_.num_sites; ++s) {
      if (panel_.observed[s] != 0 && (missing == nullptr || !has_bit(missing, s))) {
        sites_.push_back(s);
      }
    }
  }

  void set_prior(const Exclude& exclude, std::int64_t query) {
    std::fill(prior_.begin(), prior_.end(), 0.0f);
    std::fill_n(prior_.begin(), panel_.num_haplotypes, 1.0f);
    std::int64_t left = panel_.num_haplotypes;
    for (std::int64_t i = 0; i < exclude.num_columns; ++i) {
      const std::int64_t index = exclude.from(query).indices[i];
      if (index < 0 || index >= panel_.num_haplotypes) continue;
      float& share = prior_[static_cast<std::size_t>(index)];
      if (share == 0.0f) continue;
      share = 0.0f;
      --left;
    }
    num_left_ = static_cast<float>(left);
    for (float& value : prior_) value /= num_left_;
  }

  double jump_before(std::int64_t i) const {
    const double* rho = panel_.cumulative_rho;
    return draw_probability(rho[sites_[static_cast<std::size_t>(i)]] -
                            rho[sites_[static_cast<std::size_t>(i - 1)]]);
  }

  LiStephensStep step_at(std::int64_t i, float keep, float jump) const {
    const std::int64_t site = sites_[static_cast<std::size_t>(i)];
    LiStephensStep step = {};
    step.bits = panel_.site_bits + site * panel_.row_stride;
    step.flip = has_bit(query_, site) ? ~std::uint64_t{0} : 0;
    step.num_words = num_words_;
    step.prior = prior_.data();
    step.keep = keep;
    step.jump = jump;
    step.ratio = ratio_;
    return step;
  }

  // Computes the forward probabilities of observed site i from those of i - 1; returns their sum.
  float forward_step(std::int64_t i, const float* before, float sum_before, float* after) const {
    if (i == 0) return kernels_.li_stephens_forward(step_at(0, 0.0f, 1.0f), prior_.data(), after);
    const auto jump = static_cast<float>(jump_before(i));
    return kernels_.li_stephens_forward(step_at(i, (1.0f - jump) / sum_before, jump), before,
                                        after);
  }

  void keep_forward(std::int64_t n) {
    float sum = 1.0f;
    float* now = here_.data();
    float* next = after_.data();
    for (std::int64_t i = 0; i < n; ++i) {
      sum = forward_step(i, now, sum, next);
      std::swap(now, next);
      if (i % block_ == 0) {
        if (cancelled()) return;
        const auto at = static_cast<std::size_t>(i / block_);
        std::copy_n(now, size_, kept_.data() + at * size_);
        kept_sums_[at] = sum;
      }
    }
  }

  // Computes the forward probabilities of observed sites [begin, end), a block, again.
  void restore_block(std::int64_t begin, std::int64_t end) {
    const auto kept = static_cast<std::size_t>(begin / block_);
    std::copy_n(kept_.data() + kept * size_, size_, forward_.data());
    sums_[0] = kept_sums_[kept];
    for (std::int64_t i = begin + 1; i < end; ++i) {
      const auto at = static_cast<std::size_t>(i - begin);
      const float* before = forward_.data() + (at - 1) * size_;
      sums_[at] = forward_step(i, before, sums_[at - 1], forward_.data() + at * size_);
    }
  }

  template <class Visit>
  void go_backward(std::int64_t n, std::int64_t num_blocks, Visit visit) {
    float* here = here_.data();
    float* after = after_.data();
    SitePosterior next;
    float sum_backward = 1.0f;
    std::fill(backward_.begin(), backward_.end(), 0.0f);
    for (std::int64_t b = num_blocks - 1; b >= 0; --b) {
      if (cancelled()) return;
      const std::int64_t begin = b * block_, end = std::min(n, begin + block_);
      restore_block(begin, end);
      for (std::int64_t i = end - 1; i >= begin; --i) {
        const double jump = i + 1 == n ? 1.0 : jump_before(i + 1);
        const auto draw = static_cast<float>(jump);
        // Times the prior, which is 0 for excluded haplotypes: those may match the query where no
        // other does, and would grow without bound. The mean of the others is 1.
        const LiStephensStep step =
            step_at(i, (1.0f - draw) * num_left_ / sum_backward, draw * num_left_);
        const auto at = static_cast<std::size_t>(i - begin);
        const LiStephensSums sums = kernels_.li_stephens_backward(
            step, forward_.data() + at * size_, backward_.data(), here);
        sum_backward = sums.backward;
        const SitePosterior found = {sites_[static_cast<std::size_t>(i)], here,
                                     1.0f / sums.posterior};
        visit(found, next, jump);
        next = found;
        std::swap(here, after);
      }
    }
  }

  const LiStephensPanel& panel_;
  CancelFlag cancel_;
  const KernelTable& kernels_;
  std::int64_t num_words_;
  std::size_t size_;
  float ratio_;
  float num_left_ = 1.0f;  // haplotypes that are not excluded
  std::vector<float> prior_, backward_, here_, after_;
  std::vector<float> kept_, kept_sums_, forward_, sums_;
  std::vector<std::int64_t> sites_;
  std::int64_t block_ = 1;
  const std::uint64_t* query_ = nullptr;
};

}  // namespace snvrag
