#include "snvrag/l2.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>

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
  std::atomic<bool> not_a_number{false};
  const auto cancelled = [cancel] {
    return cancel != nullptr && cancel->load(std::memory_order_relaxed);
  };
  parallel_ranges(num_rows, parts, [&](int part, std::int64_t begin, std::int64_t end) {
    Candidates* candidates = found[static_cast<std::size_t>(part)].data();
    const auto num_sums = static_cast<std::size_t>(num_queries * kRowsAtOnce);
    std::vector<float> sums(num_sums);
    std::vector<float> lanes(num_sums * static_cast<std::size_t>(table.float_lanes));
    for (std::int64_t first = begin; first < end && !cancelled(); first += kRowsAtOnce) {
      const std::int64_t rows = std::min(kRowsAtOnce, end - first);
      // Without a dimension, once over none: the sums are then 0.
      for (std::int64_t d = 0; d == 0 || d < num_dimensions; d += kL2Dimensions) {
        table.l2_block({aligned.data() + d, num_queries, aligned.stride(),
                        cache + first * cache_stride + d, rows, cache_stride,
                        std::min(kL2Dimensions, num_dimensions - d), d == 0, lanes.data()});
      }
      table.l2_sums(lanes.data(), num_queries * kRowsAtOnce, sums.data());
      for (std::int64_t q = 0; q < num_queries; ++q) {
        Candidates& mine = candidates[q];
        std::uint32_t keys[kRowsAtOnce];
        unsigned below = 0;
        for (std::int64_t r = 0; r < rows; ++r) {
          const float distance = sums[static_cast<std::size_t>(q * kRowsAtOnce + r)];
          if (std::isnan(distance)) {
            not_a_number.store(true, std::memory_order_relaxed);
            return;
          }
          keys[r] = float_key(distance);
          below |= unsigned{keys[r] < mine.threshold} << r;
        }
        if (below != 0) append(mine, below, keys, first);
      }
    }
  });
  if (not_a_number.load()) return L2Result::not_a_number;
  if (cancelled()) return L2Result::cancelled;

  take_sorted(found, num_queries, [&](std::int64_t q, const std::uint64_t* keys) {
    for (std::int64_t i = 0; i < k; ++i) {
      distances[q * k + i] = key_float(static_cast<std::uint32_t>(keys[i] >> 32));
      indices[q * k + i] = static_cast<std::int64_t>(keys[i] & 0xffffffffu);
    }
  });
  return L2Result::ok;
}

}  // namespace snvrag
