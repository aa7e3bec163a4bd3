// The CUDA kernels, run by the emulator, against the CPU library.
//
// Host pointers serve as device pointers. Arrays are heap buffers of exactly their size, so that
// the address sanitizer detects any access past the end. Every test runs with the threads of a
// block in several orders, one of which shows what a missing barrier breaks.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "cuda_api.hpp"
#include "cuda_hamming_problem.hpp"
#include "cuda_testing.hpp"
#include "emulator.hpp"
#include "snvrag/l2.hpp"

namespace {

using namespace snvrag::testing;
using cuda_emulator::Order;

// --- masks ---------------------------------------------------------------------------------------

void test_masks() {
  // Empty, one site, part of a Philox block, a gap, two invalid ranges, many thread blocks.
  const std::int64_t ends[][2] = {{0, 0},   {0, 1},      {1, 64},      {64, 129},   {130, 1150},
                                  {-1, 50}, {600, 9001}, {1150, 1149}, {1200, 9000}};
  const std::int64_t num_sites = 9000, num_windows = 9;
  Indices starts(num_windows), stops(num_windows);
  for (std::int64_t i = 0; i < num_windows; ++i) {
    starts[i] = ends[i][0];
    stops[i] = ends[i][1];
  }
  Buffer<double> af(num_sites);
  Random random(1);
  for (double& share : af) share = std::pow(random.unit(), 3);
  snvrag::cuda::MaskWindows windows;
  windows.af = af.data();
  windows.num_sites = num_sites;
  windows.starts = starts.data();
  windows.stops = stops.data();
  windows.num_windows = num_windows;
  windows.first_window = 9995;
  snvrag::cuda::MaskRates rates;
  rates.seed = 2024;
  rates.rate = 0.5;
  rates.rare_rate = 0.7;
  rates.rare_threshold = 0.05;

  Bytes expected(num_sites);
  for (std::int64_t i = 0; i < num_windows; ++i) {
    if (starts[i] < 0 || stops[i] > num_sites) continue;
    const auto window = windows.first_window + static_cast<std::uint64_t>(i);
    const snvrag::PhiloxKey key = snvrag::mask_key(rates.seed, window);
    for (std::int64_t site = starts[i]; site < stops[i]; ++site) {
      const auto draw = static_cast<std::uint64_t>(site - starts[i]);
      const auto block = snvrag::philox4x64({{draw / 4 + 1, 0, 0, 0}}, key);
      const double share = af[site] < rates.rare_threshold ? rates.rare_rate : rates.rate;
      expected[site] = snvrag::unit_double(block.word[draw % 4]) < share;
    }
  }
  Bytes mask(num_sites, 77);
  snvrag::cuda::af_guided_masks(windows, rates, mask.data(), nullptr);
  CHECK(mask == expected);

  rates.mersenne_twister = true;
  Bytes twisted(num_sites);
  for (std::int64_t i = 0; i < num_windows; ++i) {
    if (starts[i] < 0 || stops[i] > num_sites) continue;
    const auto window = windows.first_window + static_cast<std::uint64_t>(i);
    std::mt19937 draws(static_cast<std::uint32_t>(rates.seed * 10000 + window));
    for (std::int64_t site = starts[i]; site < stops[i]; ++site) {
      const std::uint64_t high = draws() >> 5, low = draws() >> 6;
      const double share = af[site] < rates.rare_threshold ? rates.rare_rate : rates.rate;
      twisted[site] = std::ldexp(static_cast<double>((high << 26) | low), -53) < share;
    }
  }
  snvrag::cuda::af_guided_masks(windows, rates, mask.data(), nullptr);
  CHECK(mask == twisted);
  windows.num_windows = 0;
  snvrag::cuda::af_guided_masks(windows, rates, mask.data(), nullptr);
  CHECK(mask == Bytes(num_sites));
  snvrag::cuda::af_guided_masks({}, rates, nullptr, nullptr);
}

// --- squared L2 ----------------------------------------------------------------------------------

struct Vectors {
  std::int64_t num_rows, num_dimensions, num_queries, k;
  std::int64_t num_exclude = 0;
  std::size_t block_bytes = kBlockBytes;
};

snvrag::FloatRows rows_of(const Floats& values, std::int64_t num_rows, std::int64_t row_stride) {
  snvrag::FloatRows rows;
  rows.data = values.data();
  rows.num_rows = num_rows;
  rows.row_stride = row_stride;
  return rows;
}

// Small whole numbers have exact distances, ties included; others are within the tolerance.
void test_l2(const Vectors& v, bool whole) {
  const std::int64_t stride = v.num_dimensions + 3, query_stride = v.num_dimensions + 1;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Random random(static_cast<std::uint64_t>(v.num_rows * 1009 + v.num_dimensions));
  const auto fill = [&](std::int64_t rows, std::int64_t step) {
    Floats values(rows == 0 ? 0 : (rows - 1) * step + v.num_dimensions, nan);
    for (std::int64_t i = 0; i < rows * v.num_dimensions; ++i) {
      values[i / v.num_dimensions * step + i % v.num_dimensions] =
          whole ? static_cast<float>(random.below(3)) : static_cast<float>(random.unit() - 0.5);
    }
    return values;
  };
  const Floats database = fill(v.num_rows, stride), queries = fill(v.num_queries, query_stride);
  Indices exclude(v.num_queries * v.num_exclude);
  for (std::int64_t& index : exclude) index = random.below(v.num_rows + 1) - 1;

  Found<float> expected(v.num_queries * v.k), found(v.num_queries * v.k);
  snvrag::L2Search search;
  search.queries = rows_of(queries, v.num_queries, query_stride);
  search.database = rows_of(database, v.num_rows, stride);
  search.num_dimensions = v.num_dimensions;
  search.k = v.k;
  search.exclude.indices = exclude.data();
  search.exclude.num_columns = v.num_exclude;
  CHECK(snvrag::topk_l2(search, 1, expected.distances.data(), expected.indices.data()) ==
        snvrag::L2Result::ok);
  Bytes workspace(static_cast<std::int64_t>(
      snvrag::cuda::l2_workspace_bytes(v.num_queries, v.num_rows, v.k, v.block_bytes)));
  std::uint64_t first_nan = 7;
  snvrag::cuda::topk_l2(search, workspace_of(workspace, v.block_bytes), found.distances.data(),
                        found.indices.data(), &first_nan, nullptr);
  CHECK(first_nan == ~std::uint64_t{0});
  CHECK(found.indices == expected.indices);
  if (whole) {
    CHECK(found.distances == expected.distances);
  } else {
    // Sums of up to 1,000 terms in two levels: 64 roundings of 6e-8, on both sides.
    float worst = 0;
    for (std::int64_t i = 0; i < found.distances.size(); ++i) {
      worst = std::max(
          worst, std::abs(found.distances[i] - expected.distances[i]) / expected.distances[i]);
    }
    CHECK(worst < 8e-6f);
  }
}

void test_l2_of_what_is_not_a_number() {
  const std::int64_t rows = 70, dimensions = 33;
  Floats database(rows * dimensions, 1), queries(35 * dimensions, 2);
  Bytes workspace(
      static_cast<std::int64_t>(snvrag::cuda::l2_workspace_bytes(35, rows, 2, kBlockBytes)));
  Found<float> found(35 * 2);
  std::uint64_t first_nan = 0;
  snvrag::L2Search wanted;
  wanted.queries = rows_of(queries, 35, dimensions);
  wanted.database = rows_of(database, rows, dimensions);
  wanted.num_dimensions = dimensions;
  wanted.k = 2;
  const auto search = [&] {
    snvrag::cuda::topk_l2(wanted, workspace_of(workspace, kBlockBytes), found.distances.data(),
                          found.indices.data(), &first_nan, nullptr);
    return first_nan;
  };
  CHECK(search() == ~std::uint64_t{0});
  queries[34 * dimensions + 32] = std::numeric_limits<float>::quiet_NaN();
  CHECK(search() == 34 * 70);
  database[69 * dimensions] = std::numeric_limits<float>::quiet_NaN();
  CHECK(search() == 69);
}

void test_all_l2() {
  test_l2({1, 1, 1, 1}, true);
  test_l2({5, 0, 3, 5}, true);
  for (std::int64_t dimensions : {31, 32, 33}) {
    test_l2({65, dimensions, 33, 8, 2}, true);
    test_l2({64, dimensions, 0, 1}, true);
  }
  test_l2({130, 7, 65, 64, 0, 5000}, true);
  test_l2({3000, 3, 2, 64, 5}, true);
  test_l2({100, 1000, 3, 10}, false);
  test_l2_of_what_is_not_a_number();
}

}  // namespace

int main() {
  test_cuda_emulator();
#if defined(__SANITIZE_THREAD__)  // detects a race in any order
  const std::vector<Order> orders = {Order::mixed};
#else
  const std::vector<Order> orders = {Order::ascending, Order::descending, Order::mixed};
#endif
  for (Order order : orders) {
    cuda_emulator::set_order(order);
    test_masks();
    test_cuda_hamming();
    test_cuda_weighted();
    test_all_l2();
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
