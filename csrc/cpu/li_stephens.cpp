#include "snvrag/li_stephens.hpp"

#include <algorithm>
#include <vector>

#include "forward_backward.hpp"
#include "parallel.hpp"

namespace snvrag {
namespace {

// The probability of ALT at every site, for one query at a time.
class Dosage {
 public:
  Dosage(const LiStephensPanel& panel, CancelFlag cancel) : panel_(panel), model_(panel, cancel) {}

  bool cancelled() const { return model_.cancelled(); }

  void run(const LiStephensQueries& queries, std::int64_t query, float* dosage) {
    dosage_ = dosage;
    SitePosterior first;
    const std::int64_t num_observed =
        model_.run(queries, query,
                   [&](const SitePosterior& here, const SitePosterior& next, double /* jump */) {
                     first = here;
                     if (next.values == nullptr) {
                       write_sites(here.site, panel_.num_sites, here);
                     } else {
                       write_sites(here.site, here.site + 1, here);
                       write_between(here, next);
                     }
                   });
    if (cancelled()) return;
    if (num_observed == 0) {
      first.site = panel_.num_sites;
      first.values = model_.prior();
    }
    write_sites(0, first.site, first);
  }

 private:
  const float* sums_of(std::int64_t first, std::int64_t stop, const float* here,
                       const float* after) {
    sums_.resize(static_cast<std::size_t>(2 * (stop - first)));
    kernels().li_stephens_sums(here, after, panel_.site_bits + first * panel_.row_stride,
                               panel_.row_stride, stop - first, num_words(panel_.num_haplotypes),
                               sums_.data());
    return sums_.data();
  }

  // Writes sites [first, stop) from one posterior.
  void write_sites(std::int64_t first, std::int64_t stop, const SitePosterior& here) {
    const float* sums = sums_of(first, stop, here.values, here.values);
    for (std::int64_t s = first; s < stop; ++s, sums += 2) {
      dosage_[s] = std::min(1.0f, sums[0] * here.scale);
    }
  }

  // Writes the sites between two observed ones.
  void write_between(const SitePosterior& here, const SitePosterior& next) {
    const double* at = panel_.cumulative_rho;
    const double begin = at[here.site], span = at[next.site] - begin;
    const float* sums = sums_of(here.site + 1, next.site, here.values, next.values);
    for (std::int64_t s = here.site + 1; s < next.site; ++s, sums += 2) {
      const float t = span > 0 ? static_cast<float>((at[s] - begin) / span) : 0.5f;
      const float value = (1.0f - t) * (sums[0] * here.scale) + t * (sums[1] * next.scale);
      dosage_[s] = std::min(1.0f, value);
    }
  }

  const LiStephensPanel& panel_;
  ForwardBackward model_;
  std::vector<float> sums_;
  float* dosage_ = nullptr;
};

}  // namespace

bool li_stephens_dosage(const LiStephensQueries& queries, const LiStephensPanel& panel,
                        int num_threads, float* dosage, CancelFlag cancel) {
  if (queries.num_queries == 0 || panel.num_sites == 0) return true;
  parallel_ranges(queries.num_queries, num_threads, [&](int, std::int64_t begin, std::int64_t end) {
    Dosage model(panel, cancel);
    for (std::int64_t query = begin; query < end && !model.cancelled(); ++query) {
      model.run(queries, query, dosage + query * panel.num_sites);
    }
  });
  return cancel == nullptr || !cancel->load(std::memory_order_relaxed);
}

}  // namespace snvrag
