#include "snvrag/l2.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>

#include "kernel_table.hpp"
#include "parallel.hpp"

namespace snvrag {
namespace {

constexpr std::int64_t kNoInteger = -1;

// Rows copied so that each begins a cache line: a vector load that crosses two costs twice.
class AlignedRows {
 public:
  AlignedRows(const float* rows, std::int64_t num_rows, std::int64_t num_columns,
              std::int64_t row_stride)
      : stride_((num_columns + kLineFloats - 1) / kLineFloats * kLineFloats),
        storage_(static_cast<std::size_t>(num_rows * stride_ + kLineFloats)) {
    void* start = storage_.data();
    std::size_t space = storage_.size() * sizeof(float);
    data_ = static_cast<float*>(std::align(64, 1, start, space));
    for (std::int64_t r = 0; r < num_rows; ++r) {
      std::copy(rows + r * row_stride, rows + r * row_stride + num_columns, data_ + r * stride_);
    }
  }
  const float* data() const { return data_; }
  std::int64_t stride() const { return stride_; }

 private:
  static constexpr std::int64_t kLineFloats = 16;
  std::int64_t stride_;
  std::vector<float> storage_;
  float* data_;
};
constexpr std::int64_t kRowsAtOnce = kL2RowsAtOnce;
static_assert(kRowsAtOnce <= CandidateSet::kBurst);

// Blocks of dimensions between two looks at which queries a group of rows can still be near to.
constexpr std::int64_t kBlocksBetweenLooks = 4;

// Of so many blocks, one is looked at for a first threshold; fewer blocks are not worth it.
constexpr std::int64_t kBlocksPerSample = 16;

// The search by one thread, of a range of rows.
class RangeSearch {
 public:
  RangeSearch(const KernelTable& table, const AlignedRows& queries, std::int64_t num_queries,
              std::int64_t num_dimensions, const float* cache, std::int64_t cache_stride,
              Candidates* candidates, CancelFlag cancel)
      : table_(table),
        queries_(queries),
        num_queries_(num_queries),
        num_dimensions_(num_dimensions),
        cache_(cache),
        cache_stride_(cache_stride),
        candidates_(candidates),
        cancel_(cancel),
        chosen_(static_cast<std::size_t>(num_queries)),
        sums_(static_cast<std::size_t>(num_queries * kRowsAtOnce)),
        lanes_(static_cast<std::size_t>(num_queries * kRowsAtOnce * table.float_lanes)) {}

  // Lowers the thresholds by the rows that are nearest in a sample of the dimensions: with a first
  // threshold at hand, most rows are given up long before their last dimension.
  void estimate_thresholds(std::int64_t begin, std::int64_t end) {
    const std::int64_t k = candidates_->k;
    if (num_dimensions_ < kBlocksPerSample * kL2Dimensions || end - begin < 16 * k) return;
    CandidateSet sampled(num_queries_, k, kNoInteger, candidates_->exclude,
                         candidates_->num_exclude);
    for (std::int64_t first = begin; first < end && !is_cancelled(); first += kRowsAtOnce) {
      const std::int64_t num_rows = std::min(kRowsAtOnce, end - first);
      choose_all();
      constexpr std::int64_t kStep = kBlocksPerSample * kL2Dimensions;
      for (std::int64_t d = kStep / 2; d < num_dimensions_; d += kStep) {
        add_block(first, num_rows, d, d == kStep / 2);
      }
      sum_up(num_rows);
      for (std::int64_t q = 0; q < num_queries_; ++q) take(sampled.data()[q], q, num_rows, first);
    }
    std::vector<std::uint32_t> distances(static_cast<std::size_t>(k));
    for (std::int64_t q = 0; q < num_queries_ && !is_cancelled(); ++q) {
      const std::uint64_t* keys = sampled.sorted(q);
      if (sampled.data()[q].size < k) continue;  // more are excluded here than elsewhere
      for (std::int64_t i = 0; i < k; ++i) {
        const auto row = static_cast<std::int64_t>(keys[i] & 0xffffffffu);
        chosen_[0] = q;
        num_chosen_ = 1;
        for (std::int64_t d = 0; d < num_dimensions_; d += kL2Dimensions) {
          add_block(row, 1, d, d == 0);
        }
        sum_up(1);
        distances[static_cast<std::size_t>(i)] = float_key(sums_of(q)[0]);
      }
      lower_threshold(candidates_[q], distances.data(), k);
    }
  }

  bool is_cancelled() const {
    return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed);
  }

  // Rows [first, first + num_rows), at most kRowsAtOnce. Returns false for what is not a number.
  bool add(std::int64_t first, std::int64_t num_rows) {
    choose_all();
    std::int64_t blocks = 0;
    // Without a dimension, once over none: the sums are then 0.
    for (std::int64_t d = 0; d == 0 || d < num_dimensions_; d += kL2Dimensions) {
      add_block(first, num_rows, d, d == 0);
      const std::int64_t next = d + kL2Dimensions;
      if (is_cancelled()) return true;
      if (next < num_dimensions_ && ++blocks % kBlocksBetweenLooks != 0) continue;
      sum_up(num_rows);
      keep_near(num_rows);
      // What no query looks at must still be numbers.
      if (num_chosen_ == 0) return next >= num_dimensions_ || !has_nan(first, num_rows, next);
    }
    for (std::int64_t i = 0; i < num_chosen_; ++i) {
      const std::int64_t q = chosen_[static_cast<std::size_t>(i)];
      if (!take(candidates_[q], q, num_rows, first)) return false;
    }
    return true;
  }

 private:
  float* sums_of(std::int64_t query) { return sums_.data() + query * kRowsAtOnce; }

  void choose_all() {
    std::iota(chosen_.begin(), chosen_.end(), 0);
    num_chosen_ = num_queries_;
  }

  void add_block(std::int64_t first, std::int64_t num_rows, std::int64_t d, bool is_first) {
    table_.l2_block({queries_.data() + d, queries_.stride(), chosen_.data(), num_chosen_,
                     cache_ + first * cache_stride_ + d, num_rows, cache_stride_,
                     std::min(kL2Dimensions, num_dimensions_ - d), is_first, lanes_.data()});
  }

  void sum_up(std::int64_t num_rows) {
    for (std::int64_t i = 0; i < num_chosen_; ++i) {
      const std::int64_t q = chosen_[static_cast<std::size_t>(i)];
      table_.l2_sums(lanes_.data() + q * kRowsAtOnce * table_.float_lanes, num_rows, sums_of(q));
    }
  }

  // Sums only grow, as do their roundings: a query whose rows are all beyond its threshold is done
  // with them.
  void keep_near(std::int64_t num_rows) {
    std::int64_t num_left = 0;
    for (std::int64_t i = 0; i < num_chosen_; ++i) {
      const std::int64_t q = chosen_[static_cast<std::size_t>(i)];
      const std::uint32_t threshold = candidates_[q].threshold;
      const bool is_near = std::any_of(sums_of(q), sums_of(q) + num_rows, [threshold](float sum) {
        return std::isnan(sum) || float_key(sum) < threshold;
      });
      if (is_near) chosen_[static_cast<std::size_t>(num_left++)] = q;
    }
    num_chosen_ = num_left;
  }

  bool has_nan(std::int64_t first, std::int64_t num_rows, std::int64_t d) const {
    for (std::int64_t r = first; r < first + num_rows; ++r) {
      if (table_.has_nan(cache_ + r * cache_stride_ + d, num_dimensions_ - d)) return true;
    }
    return false;
  }

  bool take(Candidates& candidates, std::int64_t query, std::int64_t num_rows, std::int64_t first) {
    std::uint32_t keys[kRowsAtOnce];
    unsigned below = 0;
    for (std::int64_t r = 0; r < num_rows; ++r) {
      const float distance = sums_of(query)[r];
      if (std::isnan(distance)) return false;
      keys[r] = float_key(distance);
      below |= unsigned{keys[r] < candidates.threshold} << r;
    }
    if (below != 0) append(candidates, below, keys, first);
    return true;
  }

  const KernelTable& table_;
  const AlignedRows& queries_;
  std::int64_t num_queries_, num_dimensions_;
  const float* cache_;
  std::int64_t cache_stride_;
  Candidates* candidates_;
  CancelFlag cancel_;
  std::vector<std::int64_t> chosen_;  // the queries in work, the first num_chosen_ of them
  std::int64_t num_chosen_ = 0;
  std::vector<float> sums_, lanes_;
};

}  // namespace

L2Result topk_l2(const float* queries, std::int64_t num_queries, std::int64_t query_stride,
                 const float* cache, std::int64_t num_rows, std::int64_t cache_stride,
                 std::int64_t num_dimensions, std::int64_t k, const std::int64_t* exclude,
                 std::int64_t num_exclude, int num_threads, float* distances, std::int64_t* indices,
                 CancelFlag cancel) {
  if (num_queries == 0) return L2Result::ok;
  const KernelTable& table = kernels();
  const AlignedRows aligned(queries, num_queries, num_dimensions, query_stride);
  const int parts = static_cast<int>(
      std::min<std::int64_t>(std::max(1, num_threads), (num_rows + kRowsAtOnce - 1) / kRowsAtOnce));
  std::vector<CandidateSet> found;
  found.reserve(static_cast<std::size_t>(parts));
  for (int part = 0; part < parts; ++part) {
    found.emplace_back(num_queries, k, kNoInteger, exclude, num_exclude);
  }
  // A row given up early would not show what a query holds behind that.
  for (std::int64_t q = 0; q < num_queries; ++q) {
    if (table.has_nan(queries + q * query_stride, num_dimensions)) return L2Result::not_a_number;
  }
  std::atomic<bool> not_a_number{false};
  parallel_ranges(num_rows, parts, [&](int part, std::int64_t begin, std::int64_t end) {
    RangeSearch search(table, aligned, num_queries, num_dimensions, cache, cache_stride,
                       found[static_cast<std::size_t>(part)].data(), cancel);
    search.estimate_thresholds(begin, end);
    for (std::int64_t first = begin; first < end && !search.is_cancelled(); first += kRowsAtOnce) {
      if (!search.add(first, std::min(kRowsAtOnce, end - first))) {
        not_a_number.store(true, std::memory_order_relaxed);
        return;
      }
    }
  });
  if (not_a_number.load()) return L2Result::not_a_number;
  if (cancel != nullptr && cancel->load()) return L2Result::cancelled;

  take_sorted(found, num_queries, [&](std::int64_t q, const std::uint64_t* keys) {
    for (std::int64_t i = 0; i < k; ++i) {
      distances[q * k + i] = key_float(static_cast<std::uint32_t>(keys[i] >> 32));
      indices[q * k + i] = static_cast<std::int64_t>(keys[i] & 0xffffffffu);
    }
  });
  return L2Result::ok;
}

}  // namespace snvrag
