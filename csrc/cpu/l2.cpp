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

// A copy of rows in which each begins at a cache line: a vector load that crosses two costs twice.
class AlignedRows {
 public:
  AlignedRows(const FloatRows& rows, std::int64_t num_columns)
      : stride_((num_columns + kLineFloats - 1) / kLineFloats * kLineFloats),
        storage_(static_cast<std::size_t>(rows.num_rows * stride_ + kLineFloats)) {
    void* start = storage_.data();
    std::size_t space = storage_.size() * sizeof(float);
    data_ = static_cast<float*>(std::align(64, 1, start, space));
    for (std::int64_t r = 0; r < rows.num_rows; ++r) {
      const float* row = rows.data + r * rows.row_stride;
      std::copy(row, row + num_columns, data_ + r * stride_);
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

// Blocks of dimensions between two checks of which queries a group of rows can still be near.
constexpr std::int64_t kBlocksPerCheck = 4;

// One block in this many is sampled for a first threshold; with fewer blocks there is none.
constexpr std::int64_t kBlocksPerSample = 16;

// One thread's search of a range of rows.
class RangeSearch {
 public:
  RangeSearch(const KernelTable& table, const L2Search& search, const AlignedRows& queries,
              Candidates* candidates, CancelFlag cancel)
      : table_(table),
        queries_(queries),
        num_queries_(search.queries.num_rows),
        num_dimensions_(search.num_dimensions),
        exclude_(search.exclude),
        database_(search.database),
        candidates_(candidates),
        cancel_(cancel),
        chosen_(static_cast<std::size_t>(num_queries_)),
        sums_(static_cast<std::size_t>(num_queries_ * kRowsAtOnce)),
        lanes_(static_cast<std::size_t>(num_queries_ * kRowsAtOnce * table.float_lanes)) {}

  // Lowers the thresholds by the rows that are nearest in a sample of the dimensions: given a first
  // threshold, most rows are rejected long before their last dimension.
  void estimate_thresholds(std::int64_t begin, std::int64_t end) {
    const std::int64_t k = candidates_->k;
    if (num_dimensions_ < kBlocksPerSample * kL2Dimensions || end - begin < 16 * k) return;
    CandidateSet sampled(num_queries_, k, kNoInteger, exclude_);
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
      if (sampled.data()[q].size < k) continue;  // too many are excluded in this range
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

  // Adds rows [first, first + num_rows), at most kRowsAtOnce. Returns false if a distance is NaN.
  bool add(std::int64_t first, std::int64_t num_rows) {
    choose_all();
    std::int64_t blocks = 0;
    // Without dimensions, one pass over none sets the sums to 0.
    for (std::int64_t d = 0; d == 0 || d < num_dimensions_; d += kL2Dimensions) {
      add_block(first, num_rows, d, d == 0);
      const std::int64_t next = d + kL2Dimensions;
      if (is_cancelled()) return true;
      if (next < num_dimensions_ && ++blocks % kBlocksPerCheck != 0) continue;
      sum_up(num_rows);
      keep_near(num_rows);
      // Dimensions that no query reads must still be checked for NaN.
      if (num_chosen_ == 0) return next >= num_dimensions_ || !has_nan(first, num_rows, next);
    }
    for (std::int64_t i = 0; i < num_chosen_; ++i) {
      const std::int64_t q = chosen_[static_cast<std::size_t>(i)];
      if (!take(candidates_[q], q, num_rows, first)) return false;
    }
    return true;
  }

 private:
  const float* row(std::int64_t r) const { return database_.data + r * database_.row_stride; }

  float* sums_of(std::int64_t query) { return sums_.data() + query * kRowsAtOnce; }

  void choose_all() {
    std::iota(chosen_.begin(), chosen_.end(), 0);
    num_chosen_ = num_queries_;
  }

  void add_block(std::int64_t first, std::int64_t num_rows, std::int64_t d, bool is_first) {
    L2Block block = {};
    block.queries = queries_.data() + d;
    block.query_stride = queries_.stride();
    block.chosen = chosen_.data();
    block.num_chosen = num_chosen_;
    block.rows = row(first) + d;
    block.num_rows = num_rows;
    block.row_stride = database_.row_stride;
    block.num_dimensions = std::min(kL2Dimensions, num_dimensions_ - d);
    block.is_first = is_first;
    block.lanes = lanes_.data();
    table_.l2_block(block);
  }

  void sum_up(std::int64_t num_rows) {
    for (std::int64_t i = 0; i < num_chosen_; ++i) {
      const std::int64_t q = chosen_[static_cast<std::size_t>(i)];
      table_.l2_sums(lanes_.data() + q * kRowsAtOnce * table_.float_lanes, num_rows, sums_of(q));
    }
  }

  // Drops the queries for which all rows exceed the threshold: sums never decrease, even rounded.
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
      if (table_.has_nan(row(r) + d, num_dimensions_ - d)) return true;
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
  const Exclude exclude_;
  const FloatRows database_;
  Candidates* candidates_;
  CancelFlag cancel_;
  std::vector<std::int64_t> chosen_;  // queries still compared: the first num_chosen_
  std::int64_t num_chosen_ = 0;
  std::vector<float> sums_, lanes_;
};

}  // namespace

L2Result topk_l2(const L2Search& search, int num_threads, float* distances, std::int64_t* indices,
                 CancelFlag cancel) {
  const std::int64_t num_queries = search.queries.num_rows, num_rows = search.database.num_rows;
  if (num_queries == 0) return L2Result::ok;
  const KernelTable& table = kernels();
  const AlignedRows aligned(search.queries, search.num_dimensions);
  const int parts = static_cast<int>(
      std::min<std::int64_t>(std::max(1, num_threads), (num_rows + kRowsAtOnce - 1) / kRowsAtOnce));
  std::vector<CandidateSet> found;
  found.reserve(static_cast<std::size_t>(parts));
  for (int part = 0; part < parts; ++part) {
    found.emplace_back(num_queries, search.k, kNoInteger, search.exclude);
  }
  // Queries are checked first: early rejection may skip a NaN in a later dimension.
  for (std::int64_t q = 0; q < num_queries; ++q) {
    const float* query = search.queries.data + q * search.queries.row_stride;
    if (table.has_nan(query, search.num_dimensions)) return L2Result::not_a_number;
  }
  std::atomic<bool> not_a_number{false};
  parallel_ranges(num_rows, parts, [&](int part, std::int64_t begin, std::int64_t end) {
    RangeSearch range(table, search, aligned, found[static_cast<std::size_t>(part)].data(), cancel);
    range.estimate_thresholds(begin, end);
    for (std::int64_t first = begin; first < end && !range.is_cancelled(); first += kRowsAtOnce) {
      if (!range.add(first, std::min(kRowsAtOnce, end - first))) {
        not_a_number.store(true, std::memory_order_relaxed);
        return;
      }
    }
  });
  if (not_a_number.load()) return L2Result::not_a_number;
  if (cancel != nullptr && cancel->load()) return L2Result::cancelled;

  take_sorted(found, num_queries, [&](std::int64_t q, const std::uint64_t* keys) {
    for (std::int64_t i = 0; i < search.k; ++i) {
      distances[q * search.k + i] = key_float(static_cast<std::uint32_t>(keys[i] >> 32));
      indices[q * search.k + i] = static_cast<std::int64_t>(keys[i] & 0xffffffffu);
    }
  });
  return L2Result::ok;
}

}  // namespace snvrag
