// The index and the search of bits on the device, against the CPU library.
#include <cstdint>
#include <cstdio>
#include <limits>

#include "cuda_api.hpp"
#include "cuda_hamming_problem.hpp"
#include "cuda_testing.hpp"
#include "emulator.hpp"
#include "snvrag/hamming.hpp"

namespace {

using namespace snvrag::testing;
using cuda_emulator::Stream;
using snvrag::num_words;

Found<std::int32_t> search_on_cpu(const Problem& p) {
  const auto index = snvrag::HammingIndex::from_haplotypes(
      p.panel.data(), p.c.num_haplotypes, p.c.num_sites, p.words + 3, p.observed());
  Found<std::int32_t> found(p.c.num_queries * p.c.k);
  index.search(p.wanted(), 1, found.distances.data(), found.indices.data());
  return found;
}

void search_on_device(const Problem& p, const DeviceIndex& device, Bytes& workspace,
                      Found<std::int32_t>& found, cudaStream_t stream) {
  snvrag::cuda::hamming_search(device.index, p.wanted(), workspace_of(workspace, p.c.block_bytes),
                               found.distances.data(), found.indices.data(), stream);
}

void test_hamming(const Case& c) {
  const Problem p(c);
  const auto expected = search_on_cpu(p);
  // With the capacity that is needed, and with that for a mask on the device.
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

// All work is deferred, and repeated with other values in the same memory.
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

// Selection with ties, one chunk and several, several batches, several slices of ranks.
void test_selection() {
  test_hamming({3000, 65, 3, 101, 8, 5, 2});
  test_hamming({3000, 129, 2, 0, 64, 5});               // every distance is 0
  test_hamming({3000, 129, 3, 101, 3000});              // two slices of ranks
  test_hamming({4500, 65, 1, 101, 2100});               // and a sample for each
  test_hamming({3000, 129, 5, 60, 64, 3, 1000, 7000});  // a query or two at a time
  test_hamming({20'000, 65, 2, 101, 8, 3, 1000});       // chunks, merged
  test_hamming({20'000, 65, 1, 101, 1000, 0, 3});
  // Ever nearer: a sample's bound is of little use, and histograms must find the k-th.
  const std::int64_t h = 9001;
  Words panel(h);
  for (std::int64_t i = 0; i < h; ++i) panel[i] = ~std::uint64_t{0} >> (63 * i / h);
  const auto cpu = snvrag::HammingIndex::from_haplotypes(panel.data(), h, 64, 1, nullptr);
  const Words query(1);
  snvrag::HammingQueries wanted;
  wanted.bits = query.data();
  wanted.num_queries = wanted.row_stride = 1;
  for (std::int64_t k : {1, 5, 700}) {
    wanted.k = k;
    Found<std::int32_t> expected(k), found(k);
    cpu.search(wanted, 1, expected.distances.data(), expected.indices.data());
    DeviceIndex device(h, 64, 1);
    Bytes workspace(static_cast<std::int64_t>(
        snvrag::cuda::hamming_workspace_bytes(device.index, 1, k, kBlockBytes)));
    snvrag::cuda::hamming_index_build(panel.data(), 1, nullptr, device.index, nullptr);
    snvrag::cuda::hamming_search(device.index, wanted, workspace_of(workspace, kBlockBytes),
                                 found.distances.data(), found.indices.data(), nullptr);
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
  snvrag::HammingQueries wanted;
  wanted.bits = query.data();
  wanted.num_queries = 1;
  wanted.row_stride = words;
  wanted.k = h;
  snvrag::cuda::hamming_search(device.index, wanted, workspace_of(workspace, kBlockBytes),
                               found.distances.data(), found.indices.data(), nullptr);
  for (std::int64_t i = 0; i < h; ++i) {
    CHECK(found.indices[i] == h - 1 - i && found.distances[i] == sites - (h - 1 - i));
  }
}

// An index from rows of sites has the words of one from rows of haplotypes. Bits past the last
// haplotype are set, and must not count.
void test_index_from_sites(std::int64_t num_haplotypes, std::int64_t num_sites, int percent) {
  const Problem p({num_haplotypes, num_sites, 0, percent, 1});
  const std::int64_t columns = num_words(num_haplotypes);
  Words rows(num_sites == 0 ? 0 : (num_sites - 1) * (columns + 2) + columns, ~std::uint64_t{0});
  for (std::int64_t s = 0; s < num_sites; ++s) {
    for (std::int64_t h = 0; h < num_haplotypes; ++h) {
      if ((p.panel[h * (p.words + 3) + s / 64] >> (s % 64) & 1) != 0) continue;
      rows[s * (columns + 2) + h / 64] &= ~(std::uint64_t{1} << (h % 64));
    }
  }
  for (std::int64_t max_words : {num_words(p.num_observed()), p.words}) {
    DeviceIndex by_haplotypes(num_haplotypes, num_sites, max_words);
    DeviceIndex by_sites(num_haplotypes, num_sites, max_words);
    snvrag::cuda::hamming_index_build(p.panel.data(), p.words + 3, p.observed(),
                                      by_haplotypes.index, nullptr);
    snvrag::cuda::hamming_index_build_from_sites(rows.data(), columns + 2, p.observed(),
                                                 by_sites.index, nullptr);
    CHECK(by_sites.plan == by_haplotypes.plan);
    CHECK(by_sites.words == by_haplotypes.words);
  }
}

void test_indexes_from_sites() {
  for (std::int64_t haplotypes : {1, 63, 64, 65, 1100}) {
    for (std::int64_t sites : {0, 1, 63, 64, 65, 129}) {
      for (int percent : {0, 40, 101}) test_index_from_sites(haplotypes, sites, percent);
    }
  }
  test_index_from_sites(300, 1020, 40);
  test_index_from_sites(3, 17'000, 50);  // more words than the plan takes in a round
}

}  // namespace

void test_cuda_hamming() {
  test_hamming_sizes();
  test_hamming_replayed();
  test_selection();
  test_long_rows();
  test_indexes_from_sites();
}
