#include "snvrag/li_stephens.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernel_table.hpp"
#include "parallel.hpp"
#include "snvrag/bits.hpp"

namespace snvrag {
namespace {

// Every haplotype stays reachable, and no probability becomes subnormal, which would be slow.
constexpr double kLeastJump = 1e-7;
constexpr float kLeastRatio = 1e-12f;

bool bit_of(const std::uint64_t* bits, std::int64_t at) {
  return (bits[at / 64] >> at % 64 & 1) != 0;
}

// The forward-backward algorithm for one query at a time; returns early when cancelled.
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
        ratio_(std::max(kLeastRatio, panel.mismatch / (1.0f - panel.mismatch))),
        prior_(size_),
        backward_(size_),
        here_(size_),
        after_(size_) {}

  bool cancelled() const { return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed); }

  void run(const LiStephensQueries& queries, std::int64_t query, float* dosage) {
    dosage_ = dosage;
    const std::int64_t words = num_words(panel_.num_sites);
    query_ = queries.bits + query * words;
    find_observed(queries.missing == nullptr ? nullptr : queries.missing + query * words);
    set_prior(queries.exclude, query);
    const auto n = static_cast<std::int64_t>(sites_.size());
    if (n == 0) {
      write_sites(0, panel_.num_sites, prior_.data(), 1.0f);
      return;
    }
    block_ = std::max<std::int64_t>(1, std::llround(std::sqrt(static_cast<double>(n))));
    const std::int64_t num_blocks = (n + block_ - 1) / block_;
    kept_.resize(static_cast<std::size_t>(num_blocks) * size_);
    kept_sums_.resize(static_cast<std::size_t>(num_blocks));
    forward_.resize(static_cast<std::size_t>(block_) * size_);
    sums_.resize(static_cast<std::size_t>(block_));
    keep_forward(n);
    go_backward(n, num_blocks);
  }

 private:
  void find_observed(const std::uint64_t* missing) {
    sites_.clear();
    for (std::int64_t s = 0; s < panel_.num_sites; ++s) {
      if (panel_.observed[s] != 0 && (missing == nullptr || !bit_of(missing, s))) {
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

  float jump_before(std::int64_t i) const {
    const double rho = panel_.cumulative_rho[sites_[static_cast<std::size_t>(i)]] -
                       panel_.cumulative_rho[sites_[static_cast<std::size_t>(i - 1)]];
    return static_cast<float>(std::max(kLeastJump, -std::expm1(-rho)));
  }

  LiStephensStep step_at(std::int64_t i, float keep, float jump) const {
    const std::int64_t site = sites_[static_cast<std::size_t>(i)];
    LiStephensStep step = {};
    step.bits = panel_.site_bits + site * panel_.row_stride;
    step.flip = bit_of(query_, site) ? ~std::uint64_t{0} : 0;
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
    const float jump = jump_before(i);
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

  void go_backward(std::int64_t n, std::int64_t num_blocks) {
    float* here = here_.data();
    float* after = after_.data();
    float scale_after = 1.0f, sum_backward = 1.0f;
    std::fill(backward_.begin(), backward_.end(), 0.0f);
    for (std::int64_t b = num_blocks - 1; b >= 0; --b) {
      if (cancelled()) return;
      const std::int64_t begin = b * block_, end = std::min(n, begin + block_);
      const auto kept = static_cast<std::size_t>(b);
      std::copy_n(kept_.data() + kept * size_, size_, forward_.data());
      sums_[0] = kept_sums_[kept];
      for (std::int64_t i = begin + 1; i < end; ++i) {
        const auto at = static_cast<std::size_t>(i - begin);
        const float* before = forward_.data() + (at - 1) * size_;
        sums_[at] = forward_step(i, before, sums_[at - 1], forward_.data() + at * size_);
      }
      for (std::int64_t i = end - 1; i >= begin; --i) {
        const float jump = i + 1 == n ? 1.0f : jump_before(i + 1);
        // Times the prior, which is 0 for excluded haplotypes: those may match the query where no
        // other does, and would grow without bound. The mean of the others is 1.
        const LiStephensStep step =
            step_at(i, (1.0f - jump) * num_left_ / sum_backward, jump * num_left_);
        const float* forward = forward_.data() + static_cast<std::size_t>(i - begin) * size_;
        const LiStephensSums sums =
            kernels_.li_stephens_backward(step, forward, backward_.data(), here);
        const float scale = 1.0f / sums.posterior;
        sum_backward = sums.backward;
        const std::int64_t site = sites_[static_cast<std::size_t>(i)];
        if (i + 1 == n) {
          write_sites(site, panel_.num_sites, here, scale);
        } else {
          const std::int64_t next = sites_[static_cast<std::size_t>(i + 1)];
          write_sites(site, site + 1, here, scale);
          write_between(site, next, here, scale, after, scale_after);
        }
        std::swap(here, after);
        scale_after = scale;
      }
    }
    write_sites(0, sites_.front(), after, scale_after);
  }

  const float* sums_of(std::int64_t first, std::int64_t stop, const float* here,
                       const float* after) {
    dosage_sums_.resize(static_cast<std::size_t>(2 * (stop - first)));
    kernels_.li_stephens_sums(here, after, panel_.site_bits + first * panel_.row_stride,
                              panel_.row_stride, stop - first, num_words_, dosage_sums_.data());
    return dosage_sums_.data();
  }

  // Writes sites [first, stop) from one posterior.
  void write_sites(std::int64_t first, std::int64_t stop, const float* here, float scale) {
    const float* sums = sums_of(first, stop, here, here);
    for (std::int64_t s = first; s < stop; ++s, sums += 2) {
      dosage_[s] = std::min(1.0f, sums[0] * scale);
    }
  }

  // Writes the sites between two observed ones.
  void write_between(std::int64_t site, std::int64_t next, const float* here, float scale,
                     const float* after, float scale_after) {
    const double* at = panel_.cumulative_rho;
    const double span = at[next] - at[site];
    const float* sums = sums_of(site + 1, next, here, after);
    for (std::int64_t s = site + 1; s < next; ++s, sums += 2) {
      const float t = span > 0 ? static_cast<float>((at[s] - at[site]) / span) : 0.5f;
      const float value = (1.0f - t) * (sums[0] * scale) + t * (sums[1] * scale_after);
      dosage_[s] = std::min(1.0f, value);
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
  std::vector<float> kept_, kept_sums_, forward_, sums_, dosage_sums_;
  std::vector<std::int64_t> sites_;
  std::int64_t block_ = 1;
  const std::uint64_t* query_ = nullptr;
  float* dosage_ = nullptr;
};

}  // namespace

bool li_stephens_dosage(const LiStephensQueries& queries, const LiStephensPanel& panel,
                        int num_threads, float* dosage, CancelFlag cancel) {
  if (queries.num_queries == 0 || panel.num_sites == 0) return true;
  parallel_ranges(queries.num_queries, num_threads, [&](int, std::int64_t begin, std::int64_t end) {
    ForwardBackward model(panel, cancel);
    for (std::int64_t query = begin; query < end && !model.cancelled(); ++query) {
      model.run(queries, query, dosage + query * panel.num_sites);
    }
  });
  return cancel == nullptr || !cancel->load(std::memory_order_relaxed);
}

}  // namespace snvrag
