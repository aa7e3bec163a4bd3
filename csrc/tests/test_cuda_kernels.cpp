// The CUDA kernels, run by the emulator, against the CPU library.
//
// Pointers of the host are device pointers here. Arrays are heap buffers of exactly their size, so
// that the address sanitizer sees an access behind one. Every test runs with the threads of a block
// in several orders; what a missing barrier breaks is seen in one of them.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <vector>

#include "cuda_api.hpp"
#include "emulator.hpp"
#include "snvrag/hamming.hpp"
#include "snvrag/l2.hpp"
#include "testing.hpp"

void test_cuda_emulator();

namespace {

using namespace snvrag::testing;
using cuda_emulator::Order;
using cuda_emulator::Stream;
using snvrag::num_words;

using Floats = Buffer<float>;
using Indices = Buffer<std::int64_t>;

constexpr std::size_t kBlockBytes = 1 << 26;

Bytes random_mask(std::int64_t num_sites, int percent, std::uint64_t seed) {
  Bytes mask(num_sites);
  Random random(seed);
  for (std::uint8_t& site : mask) site = random.below(100) < percent;
  return mask;
}

Words random_words(std::int64_t n, std::uint64_t seed) {
  Words words(n);
  Random random(seed);
  for (std::uint64_t& word : words) word = random.word();
  return words;
}

// --- masks ---------------------------------------------------------------------------------------

void test_masks() {
  // Empty, one site, part of a Philox block, a gap, two that are no ranges, many thread blocks.
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
  const snvrag::cuda::MaskRule rule = {2024, 9995, 0.5, 0.7, 0.05};

  Bytes expected(num_sites);
  for (std::int64_t i = 0; i < num_windows; ++i) {
    if (starts[i] < 0 || stops[i] > num_sites) continue;
    const auto window = rule.first_window + static_cast<std::uint64_t>(i);
    const snvrag::PhiloxKey key = snvrag::mask_key(rule.seed, window);
    for (std::int64_t site = starts[i]; site < stops[i]; ++site) {
      const auto draw = static_cast<std::uint64_t>(site - starts[i]);
      const auto block = snvrag::philox4x64({{draw / 4 + 1, 0, 0, 0}}, key);
      const double share = af[site] < rule.rare_threshold ? rule.rare_rate : rule.rate;
      expected[site] = snvrag::unit_double(block.word[draw % 4]) < share;
    }
  }
  Bytes mask(num_sites, 77);
  snvrag::cuda::af_guided_masks(af.data(), num_sites, starts.data(), stops.data(), num_windows,
                                rule, mask.data(), nullptr);
  CHECK(mask == expected);
  snvrag::cuda::af_guided_masks(af.data(), num_sites, nullptr, nullptr, 0, rule, mask.data(),
                                nullptr);
  CHECK(mask == Bytes(num_sites));
  snvrag::cuda::af_guided_masks(nullptr, 0, nullptr, nullptr, 0, rule, nullptr, nullptr);
}

// --- Hamming -------------------------------------------------------------------------------------

// An index with its memory, filled with what must not be read.
struct DeviceIndex {
  Words plan, words;
  snvrag::cuda::HammingIndex index;

  DeviceIndex(std::int64_t num_haplotypes, std::int64_t num_sites, std::int64_t max_words)
      : plan(snvrag::cuda::plan_size(num_sites), ~std::uint64_t{0}),
        words(max_words * snvrag::cuda::row_pitch(num_haplotypes), ~std::uint64_t{0}),
        index{plan.data(), words.data(), max_words, num_haplotypes, num_sites} {}
};

template <class Distance>
struct Found {
  Buffer<Distance> distances;
  Indices indices;

  explicit Found(std::int64_t n) : distances(n, Distance{-7}), indices(n, -7) {}
  bool operator==(const Found& other) const {
    return distances == other.distances && indices == other.indices;
  }
};

struct Case {
  std::int64_t num_haplotypes, num_sites, num_queries;
  int observed_percent;  // of 100; 101: no mask is given
  std::int64_t k;
  std::int64_t num_exclude = 0;
  int num_kinds = 50;  // of haplotypes; few make ties
  std::size_t block_bytes = kBlockBytes;
};

// Rows apart from each other, a mask, and haplotypes to leave out.
struct Problem {
  Case c;
  std::int64_t words;
  Words panel, queries;
  Bytes mask;
  Indices exclude;

  explicit Problem(const Case& given)
      : c(given),
        words(num_words(c.num_sites)),
        panel(rows_of_kinds(c.num_haplotypes, words + 3, 1)),
        queries(rows_of_kinds(c.num_queries, words + 1, 2)),
        mask(random_mask(c.num_sites, c.observed_percent, 3)),
        exclude(c.num_queries * c.num_exclude) {
    Random random(4);
    for (std::int64_t& index : exclude) index = random.below(c.num_haplotypes + 1) - 1;
  }

  // Bits behind the last site are set, too: they must not count.
  Words rows_of_kinds(std::int64_t num_rows, std::int64_t stride, std::uint64_t seed) const {
    const Words kinds = random_words(c.num_kinds * words, 5);
    Words rows(num_rows == 0 ? 0 : (num_rows - 1) * stride + words);
    Random random(seed);
    for (std::int64_t r = 0; r < num_rows; ++r) {
      const std::int64_t kind = random.below(c.num_kinds);
      for (std::int64_t w = 0; w < words; ++w) rows[r * stride + w] = kinds[kind * words + w];
    }
    return rows;
  }

  const std::uint8_t* observed() const { return c.observed_percent > 100 ? nullptr : mask.data(); }
  std::int64_t num_observed() const {
    std::int64_t count = 0;
    for (std::uint8_t site : mask) count += observed() == nullptr || site != 0;
    return count;
  }
};

Found<std::int32_t> search_on_cpu(const Problem& p) {
  const auto index = snvrag::HammingIndex::from_haplotypes(
      p.panel.data(), p.c.num_haplotypes, p.c.num_sites, p.words + 3, p.observed());
  Found<std::int32_t> found(p.c.num_queries * p.c.k);
  index.search(p.queries.data(), p.c.num_queries, p.words + 1, p.c.k, p.exclude.data(),
               p.c.num_exclude, 1, found.distances.data(), found.indices.data());
  return found;
}

void search_on_device(const Problem& p, const DeviceIndex& device, Bytes& workspace,
                      Found<std::int32_t>& found, cudaStream_t stream) {
  snvrag::cuda::hamming_search(device.index, p.queries.data(), p.c.num_queries, p.words + 1, p.c.k,
                               p.c.num_exclude > 0 ? p.exclude.data() : nullptr, p.c.num_exclude,
                               workspace.data(), p.c.block_bytes, found.distances.data(),
                               found.indices.data(), stream);
}

void test_hamming(const Case& c) {
  const Problem p(c);
  const auto expected = search_on_cpu(p);
  // With the room that is needed, and with the room that a mask on the device takes.
  for (std::int64_t max_words : {num_words(p.num_observed()), p.words}) {
    DeviceIndex device(c.num_haplotypes, c.num_sites, max_words);
    Bytes workspace(static_cast<std::int64_t>(snvrag::cuda::hamming_workspace_bytes(
                        device.index, c.num_queries, c.k, c.block_bytes)),
                    0xee);
    Found<std::int32_t> found(c.num_queries * c.k);
    snvrag::cuda::hamming_index_build(p.panel.data(), p.words + 3, p.observed(), device.index,
                                      nullptr);
    search_on_device(p, device, workspace, found, nullptr);
    CHECK(found == expected);
    if (!(found == expected)) {
      std::printf("  H %ld L %ld Q %ld k %ld\n", c.num_haplotypes, c.num_sites, c.num_queries, c.k);
    }
  }
}

// All work is put off, and done again with other values in the same memory.
void test_hamming_replayed() {
  const Case c = {300, 129, 5, 50, 8, 2};
  Problem p(c);
  DeviceIndex device(c.num_haplotypes, c.num_sites, p.words);
  Bytes workspace(static_cast<std::int64_t>(
      snvrag::cuda::hamming_workspace_bytes(device.index, c.num_queries, c.k, c.block_bytes)));
  Found<std::int32_t> found(c.num_queries * c.k);
  Stream stream;
  snvrag::cuda::hamming_index_build(p.panel.data(), p.words + 3, p.observed(), device.index,
                                    stream.handle());
  search_on_device(p, device, workspace, found, stream.handle());
  CHECK(found == Found<std::int32_t>(c.num_queries * c.k));
  for (std::uint64_t seed : {21, 22}) {
    const Words queries = random_words(p.queries.size(), seed);
    const Bytes mask = random_mask(c.num_sites, 30, seed);
    std::copy(queries.begin(), queries.end(), p.queries.begin());
    std::copy(mask.begin(), mask.end(), p.mask.begin());
    stream.run();
    CHECK(found == search_on_cpu(p));
  }
}

void test_hamming_sizes() {
  for (std::int64_t sites : {0, 1, 63, 64, 65, 129}) {
    for (std::int64_t haplotypes : {1, 2, 63, 64, 65, 257}) {
      for (int percent : {0, 40, 101}) {
        for (std::int64_t k : {std::int64_t{1}, std::int64_t{8}, haplotypes}) {
          if (k <= haplotypes) test_hamming({haplotypes, sites, 2, percent, k});
        }
      }
    }
  }
  for (std::int64_t queries : {0, 1, 16, 17}) test_hamming({70, 65, queries, 60, 3});
  test_hamming({513, 1020, 18, 40, 64, 3});
  test_hamming({300, 4160, 3, 101, 5});  // more words than are staged at a time
}

// What selection may meet: ties, one chunk and several, several batches, several slices of ranks.
void test_selection() {
  test_hamming({3000, 65, 3, 101, 8, 5, 2});
  test_hamming({3000, 129, 2, 0, 64, 5});               // every distance is 0
  test_hamming({3000, 129, 3, 101, 3000});              // two slices of ranks
  test_hamming({3000, 129, 5, 60, 64, 3, 1000, 7000});  // a query or two at a time
  test_hamming({20'000, 65, 2, 101, 8, 3, 1000});       // chunks, merged
  test_hamming({20'000, 65, 1, 101, 1000, 0, 3});
  // Ever nearer: a sample's bound is of little use, and histograms must find the k-th.
  const std::int64_t h = 9001;
  Words panel(h);
  for (std::int64_t i = 0; i < h; ++i) panel[i] = ~std::uint64_t{0} >> (63 * i / h);
  const auto cpu = snvrag::HammingIndex::from_haplotypes(panel.data(), h, 64, 1, nullptr);
  const Words query(1);
  for (std::int64_t k : {1, 5, 700}) {
    Found<std::int32_t> expected(k), found(k);
    cpu.search(query.data(), 1, 1, k, nullptr, 0, 1, expected.distances.data(),
               expected.indices.data());
    DeviceIndex device(h, 64, 1);
    Bytes workspace(static_cast<std::int64_t>(
        snvrag::cuda::hamming_workspace_bytes(device.index, 1, k, kBlockBytes)));
    snvrag::cuda::hamming_index_build(panel.data(), 1, nullptr, device.index, nullptr);
    snvrag::cuda::hamming_search(device.index, query.data(), 1, 1, k, nullptr, 0, workspace.data(),
                                 kBlockBytes, found.distances.data(), found.indices.data(),
                                 nullptr);
    CHECK(found == expected);
  }
}

// Distances that 16 bits do not hold.
void test_long_rows() {
  const std::int64_t sites = 70'000, words = num_words(sites), h = 5;
  Words panel(h * words, ~std::uint64_t{0});
  for (std::int64_t i = 0; i < h; ++i) panel[i * words] = ~std::uint64_t{0} << i;
  const Words query(words);
  DeviceIndex device(h, sites, words);
  Bytes workspace(static_cast<std::int64_t>(
      snvrag::cuda::hamming_workspace_bytes(device.index, 1, h, kBlockBytes)));
  Found<std::int32_t> found(h);
  snvrag::cuda::hamming_index_build(panel.data(), words, nullptr, device.index, nullptr);
  snvrag::cuda::hamming_search(device.index, query.data(), 1, words, h, nullptr, 0,
                               workspace.data(), kBlockBytes, found.distances.data(),
                               found.indices.data(), nullptr);
  for (std::int64_t i = 0; i < h; ++i) {
    CHECK(found.indices[i] == h - 1 - i && found.distances[i] == sites - (h - 1 - i));
  }
}

// --- squared L2 ----------------------------------------------------------------------------------

struct Vectors {
  std::int64_t num_rows, num_dimensions, num_queries, k;
  std::int64_t num_exclude = 0;
  std::size_t block_bytes = kBlockBytes;
};

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
  const Floats cache = fill(v.num_rows, stride), queries = fill(v.num_queries, query_stride);
  Indices exclude(v.num_queries * v.num_exclude);
  for (std::int64_t& index : exclude) index = random.below(v.num_rows + 1) - 1;

  Found<float> expected(v.num_queries * v.k), found(v.num_queries * v.k);
  CHECK(snvrag::topk_l2(queries.data(), v.num_queries, query_stride, cache.data(), v.num_rows,
                        stride, v.num_dimensions, v.k, exclude.data(), v.num_exclude, 1,
                        expected.distances.data(),
                        expected.indices.data()) == snvrag::L2Result::ok);
  Bytes workspace(static_cast<std::int64_t>(
      snvrag::cuda::l2_workspace_bytes(v.num_queries, v.num_rows, v.k, v.block_bytes)));
  std::uint64_t first_nan = 7;
  snvrag::cuda::topk_l2({queries.data(), v.num_queries, query_stride},
                        {cache.data(), v.num_rows, stride}, v.num_dimensions, v.k,
                        v.num_exclude > 0 ? exclude.data() : nullptr, v.num_exclude,
                        workspace.data(), v.block_bytes, found.distances.data(),
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
  Floats cache(rows * dimensions, 1), queries(35 * dimensions, 2);
  Bytes workspace(
      static_cast<std::int64_t>(snvrag::cuda::l2_workspace_bytes(35, rows, 2, kBlockBytes)));
  Found<float> found(35 * 2);
  std::uint64_t first_nan = 0;
  const auto search = [&] {
    snvrag::cuda::topk_l2({queries.data(), 35, dimensions}, {cache.data(), rows, dimensions},
                          dimensions, 2, nullptr, 0, workspace.data(), kBlockBytes,
                          found.distances.data(), found.indices.data(), &first_nan, nullptr);
    return first_nan;
  };
  CHECK(search() == ~std::uint64_t{0});
  queries[34 * dimensions + 32] = std::numeric_limits<float>::quiet_NaN();
  CHECK(search() == 34 * 70);
  cache[69 * dimensions] = std::numeric_limits<float>::quiet_NaN();
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
  for (Order order : {Order::ascending, Order::descending, Order::mixed}) {
    cuda_emulator::set_order(order);
    test_masks();
    test_hamming_sizes();
    test_hamming_replayed();
    test_selection();
    test_long_rows();
    test_all_l2();
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
