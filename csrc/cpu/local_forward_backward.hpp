// The forward-backward algorithm over states that change along the panel, one query at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernel_table.hpp"
#include "snvrag/bits.hpp"
#include "snvrag/evidence.hpp"
#include "state_blocks.hpp"

namespace snvrag {

// What is known about the interval before observed site `rank`, or past the last one. Forward and
// backward have a value for each state of the block; times their scale they add up to 1. The former
// is before a draw in the interval, the latter after it and with the allele at the site itself.
struct Interval {
  std::int64_t rank = 0;
  const StateBlock* block = nullptr;
  const float *forward = nullptr, *backward = nullptr;
  const float *before = nullptr, *behind = nullptr;  // lengths of matches up to the neighbours
  float forward_scale = 1, backward_scale = 1;
  float jump = 0;  // 0 before the first and past the last observed site
};

// Keeps the forward probabilities at the first site of every block; those within are computed again
// when the backward pass reaches the block.
template <bool kLengths>  // of matches; otherwise they are 0
class LocalForwardBackward {
 public:
  LocalForwardBackward(const HaplotypePanel& panel, const ObservedSites& observed,
                       const StatesView& states)
      : panel_(panel),
        observed_(observed),
        states_(panel, observed, states),
        ratio_(std::max(1e-12f, panel.mismatch / (1.0f - panel.mismatch))) {}

  float ratio() const { return ratio_; }
  double log_likelihood() const { return log_likelihood_; }
  std::int64_t num_alleles() const { return num_alleles_; }

  // Calls interval(Interval) from the last interval to the first, and
  // site(rank, block, forward, backward) for each observed site; the product of the two, divided by
  // the emission that both have, is in proportion to the posterior.
  template <class AtInterval, class AtSite>
  void run(const LiStephensQueries& queries, std::int64_t query, AtInterval at_interval,
           AtSite at_site) {
    const std::int64_t words = num_words(panel_.num_sites);
    query_ = queries.bits + query * words;
    missing_ = queries.missing == nullptr ? nullptr : queries.missing + query * words;
    read_blocks(query);
    go_forward();
    go_backward(at_interval, at_site);
  }

 private:
  std::int64_t num_observed() const { return static_cast<std::int64_t>(observed_.sites.size()); }
  std::int64_t site(std::int64_t rank) const {
    return observed_.sites[static_cast<std::size_t>(rank)];
  }
  float jump_before(std::int64_t rank) const {
    return static_cast<float>(observed_.jump[static_cast<std::size_t>(rank - 1)]);
  }
  float rho_before(std::int64_t rank) const {
    return static_cast<float>(observed_.rho[static_cast<std::size_t>(rank - 1)]);
  }
  bool lacks(std::int64_t s) const { return missing_ != nullptr && has_bit(missing_, s); }

  void read_blocks(std::int64_t query) {
    states_.read(query);
    std::int64_t num_entries = 0, most = 0;
    for (const StateBlock& block : states_.blocks()) {
      num_entries += block.size();
      most = std::max(most, block.size());
    }
    entries_.resize(static_cast<std::size_t>(num_entries));
    entry_lengths_.resize(static_cast<std::size_t>(num_entries));
    const auto size = static_cast<std::size_t>(most);
    even_.resize(size);
    ones_.assign(size, 1.0f);
    none_.assign(static_cast<std::size_t>(num_words(most)), 0);
    for (auto* values :
         {&backward_, &behind_, &mapped_, &mapped_lengths_, &next_, &next_lengths_}) {
      values->resize(size);
    }
  }

  // One kernel serves the probabilities, forward and backward, and the lengths of matches, which
  // grow by `jump` and are multiplied by a ratio of 0 where alleles differ.
  float step(const StateBlock& block, std::int64_t rank, const float* prior, float keep, float jump,
             float ratio, const float* before, float* after) const {
    const std::int64_t s = site(rank);
    LiStephensStep step = {};
    const bool is_missing = lacks(s);
    step.bits = is_missing ? none_.data() : block.row(s);
    step.flip = !is_missing && has_bit(query_, s) ? ~std::uint64_t{0} : 0;
    step.num_words = block.num_words;
    step.prior = prior;
    step.keep = keep;
    step.jump = jump;
    step.ratio = ratio;
    return kernels().li_stephens_forward(step, before, after);
  }

  void grow(const StateBlock& block, std::int64_t rank, float grown, const float* length,
            float* after) const {
    if (kLengths) step(block, rank, ones_.data(), 1, grown, 0, length, after);
  }

  // Makes even_ the probabilities of a draw of the block's states, 0 past the last.
  void set_even(const StateBlock& block) {
    const auto end = even_.begin() + block.num_states;
    std::fill(even_.begin(), end, 1.0f / static_cast<float>(block.num_states));
    std::fill(end, even_.begin() + block.size(), 0.0f);
  }

  void go_forward() {
    log_likelihood_ = 0;
    num_alleles_ = 0;
    float *entry = entries_.data(), *lengths = entry_lengths_.data();
    float sum = 1;
    const std::vector<StateBlock>& blocks = states_.blocks();
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      const StateBlock& block = blocks[b];
      const auto size = static_cast<std::size_t>(block.size());
      set_even(block);
      if (b == 0) {
        std::copy_n(even_.data(), size, entry);
        std::fill_n(lengths, size, 0.0f);
      } else {
        enter(blocks[b - 1], block, 1 / sum, entry, lengths);
      }
      sum = fill(block, entry, lengths, true);
      entry += size;
      lengths += size;
    }
  }

  // Writes the probabilities and lengths at the last observed site of a block, as those of the
  // states of the next one. What belonged to other states is spread evenly.
  void enter(const StateBlock& from, const StateBlock& to, float scale, float* entry,
             float* lengths) const {
    const std::int64_t last = from.end_rank - from.first_rank - 1;
    const float* forward = forward_.data() + last * from.size();
    const float* length = before_.data() + last * from.size();
    std::fill_n(entry, to.size(), 0.0f);
    std::fill_n(lengths, to.size(), 0.0f);
    float lost = 0;
    match(
        from, to,
        [&](std::int64_t i, std::int64_t j) {
          entry[j] = scale * forward[i];
          lengths[j] = length[i];
        },
        [&](std::int64_t i) { lost += scale * forward[i]; });
    const float share = lost / static_cast<float>(to.num_states);
    for (std::int64_t j = 0; j < to.num_states; ++j) entry[j] += share;
  }

  // Computes forward_, before_ and sums_ of a block's observed sites; returns the last sum.
  float fill(const StateBlock& block, const float* entry, const float* lengths, bool is_first) {
    const std::int64_t count = block.end_rank - block.first_rank, size = block.size();
    forward_.resize(static_cast<std::size_t>(count * size));
    before_.resize(static_cast<std::size_t>(count * size));
    sums_.resize(static_cast<std::size_t>(count));
    float sum = 1;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t rank = block.first_rank + i;
      const float jump = rank == 0 ? 0.0f : jump_before(rank);
      const float grown = rank == 0 ? 0.0f : rho_before(rank);
      const float* before = i == 0 ? entry : forward_.data() + (i - 1) * size;
      const float* length = i == 0 ? lengths : before_.data() + (i - 1) * size;
      sum = step(block, rank, even_.data(), (1 - jump) / sum, jump, ratio_, before,
                 forward_.data() + i * size);
      grow(block, rank, grown, length, before_.data() + i * size);
      sums_[static_cast<std::size_t>(i)] = sum;
      if (is_first && !lacks(site(rank))) {
        log_likelihood_ += std::log(static_cast<double>(sum));
        ++num_alleles_;
      }
    }
    return sum;
  }

  template <class AtInterval, class AtSite>
  void go_backward(AtInterval at_interval, AtSite at_site) {
    const float* entry = entries_.data() + entries_.size();
    const float* lengths = entry_lengths_.data() + entry_lengths_.size();
    float sum = 1;
    const std::vector<StateBlock>& blocks = states_.blocks();
    for (std::size_t b = blocks.size(); b-- > 0;) {
      const StateBlock& block = blocks[b];
      const std::int64_t count = block.end_rank - block.first_rank, size = block.size();
      entry -= size;
      lengths -= size;
      set_even(block);
      fill(block, entry, lengths, false);
      Interval interval;
      interval.block = &block;
      float draw = 1;  // the states' probability of a draw, over that of an even one
      if (b + 1 < blocks.size()) {
        draw = leave(block, blocks[b + 1], 1 / sum);
      } else {
        std::copy_n(even_.data(), size, mapped_.data());
        std::fill_n(mapped_lengths_.data(), size, 0.0f);
        interval.rank = block.end_rank;
        interval.forward = count > 0 ? forward_.data() + (count - 1) * size : entry;
        interval.before = count > 0 ? before_.data() + (count - 1) * size : lengths;
        interval.forward_scale = count > 0 ? 1 / sums_.back() : 1;
        interval.backward = mapped_.data();
        interval.behind = mapped_lengths_.data();
        at_interval(interval);
      }
      const float *before = mapped_.data(), *length = mapped_lengths_.data();
      float before_sum = 1;
      for (std::int64_t i = count - 1; i >= 0; --i) {
        const std::int64_t rank = block.first_rank + i;
        const bool is_last = rank + 1 == num_observed();
        const float jump = is_last ? 0.0f : jump_before(rank + 1);
        const float grown = is_last ? 0.0f : rho_before(rank + 1);
        sum = step(block, rank, even_.data(), (1 - jump) / before_sum, jump * draw, ratio_, before,
                   next_.data());
        grow(block, rank, grown, length, next_lengths_.data());
        std::swap(next_, backward_);
        std::swap(next_lengths_, behind_);
        before = backward_.data();
        length = behind_.data();
        before_sum = sum;
        draw = 1;
        at_site(rank, block, forward_.data() + i * size, before);
        interval.rank = rank;
        interval.forward = i == 0 ? entry : forward_.data() + (i - 1) * size;
        interval.before = i == 0 ? lengths : before_.data() + (i - 1) * size;
        interval.forward_scale = i == 0 ? 1 : 1 / sums_[static_cast<std::size_t>(i - 1)];
        interval.backward = before;
        interval.behind = length;
        interval.backward_scale = 1 / sum;
        interval.jump = rank == 0 ? 0.0f : jump_before(rank);
        at_interval(interval);
      }
    }
  }

  // Writes the backward probabilities and lengths of the next block's first site as those of the
  // states before it. A state that it lacks is drawn anew, whatever the jump. Returns the factor of
  // a draw: the next block may have more or fewer states.
  float leave(const StateBlock& from, const StateBlock& to, float scale) {
    const auto even = 1 / static_cast<float>(to.num_states);
    std::fill_n(mapped_.data(), from.size(), 0.0f);
    std::fill_n(mapped_lengths_.data(), from.size(), 0.0f);
    match(
        from, to,
        [&](std::int64_t i, std::int64_t j) {
          mapped_[static_cast<std::size_t>(i)] = scale * backward_[static_cast<std::size_t>(j)];
          mapped_lengths_[static_cast<std::size_t>(i)] = behind_[static_cast<std::size_t>(j)];
        },
        [&](std::int64_t i) { mapped_[static_cast<std::size_t>(i)] = even; });
    return static_cast<float>(from.num_states) * even;
  }

  const HaplotypePanel& panel_;
  const ObservedSites& observed_;
  StateBlocks states_;
  float ratio_;
  double log_likelihood_ = 0;
  std::int64_t num_alleles_ = 0;
  const std::uint64_t *query_ = nullptr, *missing_ = nullptr;
  std::vector<std::uint64_t> none_;
  std::vector<float> entries_, entry_lengths_;  // of every block, one after the other
  std::vector<float> forward_, before_, sums_;  // of one block's observed sites
  std::vector<float> even_, ones_, backward_, behind_, mapped_, mapped_lengths_, next_,
      next_lengths_;
};

}  // namespace snvrag
