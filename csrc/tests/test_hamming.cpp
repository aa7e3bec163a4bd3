// Searches by Hamming distance, with and without weights, against a naive one.
#include "snvrag/hamming.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

HammingQueries queries_of(const Words& bits, std::int64_t num_queries, std::int64_t row_stride,
                          std::int64_t k) {
  HammingQueries queries;
  queries.bits = bits.data();
  queries.num_queries = num_queries;
  queries.row_stride = row_stride;
  queries.k = k;
  return queries;
}

struct Window {
  std::int64_t num_haplotypes, num_sites, num_queries;
  int observed_percent;  // of 100; 101: no mask is given
  int num_kinds;         // of haplotypes; few make ties
};

void test_window(const Window& window, bool with_exclude) {
  const std::int64_t h = window.num_haplotypes, l = window.num_sites, q = window.num_queries;
  Random random(static_cast<std::uint64_t>(h * 10007 + l * 101 + window.observed_percent));
  const Bytes kinds = random_alleles(window.num_kinds * l, random.word());
  const auto choose = [&](std::int64_t rows) {
    Bytes alleles(rows * l);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t kind = random.below(window.num_kinds);
      std::copy(kinds.data() + kind * l, kinds.data() + (kind + 1) * l, alleles.data() + r * l);
    }
    return alleles;
  };
  const Bytes panel = choose(h), queries = choose(q);
  Bytes observed(l);
  for (std::uint8_t& site : observed) site = random.below(100) < window.observed_percent;
  const std::uint8_t* mask = window.observed_percent > 100 ? nullptr : observed.data();

  const std::int64_t words = num_words(l);
  const Words panel_bits = spread_rows(naive_pack(panel, h, l), h, words, 3);
  const Words query_bits = spread_rows(naive_pack(queries, q, l), q, words, 1);
  const Words site_bits =
      spread_rows(naive_pack(transposed(panel, h, l), l, h), l, num_words(h), 2);
  const auto by_haplotypes =
      HammingIndex::from_haplotypes(panel_bits.data(), h, l, words + 3, mask);
  auto by_sites = HammingIndex::from_sites(site_bits.data(), h, l, num_words(h) + 2, mask);
  const HammingIndex moved = std::move(by_sites);

  std::int64_t num_observed = 0;
  for (std::uint8_t site : observed) num_observed += mask == nullptr || site != 0;
  for (const HammingIndex* index : {&by_haplotypes, &moved}) {
    CHECK(index->num_haplotypes() == h);
    CHECK(index->num_sites() == l);
    CHECK(index->num_observed() == num_observed);
    CHECK(index->num_bytes() >= 8 * h * num_words(num_observed));
  }

  // A third of the panel, with repeats and -1: always leaves two thirds.
  const std::int64_t num_exclude = with_exclude ? h / 3 + 1 : 0;
  Buffer<std::int64_t> exclude(q * num_exclude);
  for (std::int64_t& index : exclude) index = random.below(h + 1) - 1;
  const std::int64_t most = h - std::min(num_exclude, h - 1);
  if (with_exclude && h == 1) std::fill(exclude.begin(), exclude.end(), -1);

  // Multiples of 1/4 are exact, so that any order of summation gives the same.
  Buffer<float> weights(l);
  for (float& weight : weights) weight = static_cast<float>(random.below(9)) / 4;
  std::vector<std::vector<std::int32_t>> naive;
  std::vector<std::vector<float>> naive_sums;
  for (std::int64_t i = 0; i < q; ++i) {
    naive.emplace_back(static_cast<std::size_t>(h), 0);
    naive_sums.emplace_back(static_cast<std::size_t>(h), 0.0f);
    for (std::int64_t row = 0; row < h; ++row) {
      for (std::int64_t s = 0; s < l; ++s) {
        const bool seen = mask == nullptr || mask[s] != 0;
        if (!seen || panel[row * l + s] == queries[i * l + s]) continue;
        naive.back()[static_cast<std::size_t>(row)] += 1;
        naive_sums.back()[static_cast<std::size_t>(row)] += weights[s];
      }
    }
  }
  // Whether an answer is that of a naive search.
  const auto same = [&](const auto& twin, const auto& distances, const auto& indices,
                        std::int64_t k) {
    for (std::int64_t i = 0; i < q; ++i) {
      const auto expected = nearest(twin[static_cast<std::size_t>(i)], k,
                                    exclude.data() + i * num_exclude, num_exclude);
      for (std::int64_t j = 0; j < k; ++j) {
        const auto& [distance, place] = expected[static_cast<std::size_t>(j)];
        if (distances[i * k + j] != distance || indices[i * k + j] != place) return false;
      }
    }
    return true;
  };

  for (std::int64_t k : {std::int64_t{1}, std::int64_t{8}, std::int64_t{64}, most}) {
    if (k > most) continue;
    for (int threads : {1, 2, 4}) {
      for (const HammingIndex* index : {&by_haplotypes, &moved}) {
        Buffer<std::int32_t> distances(q * k, -7);
        Buffer<std::int64_t> indices(q * k, -7);
        HammingQueries wanted = queries_of(query_bits, q, words + 1, k);
        wanted.exclude.indices = exclude.data();
        wanted.exclude.num_columns = num_exclude;
        CHECK(index->search(wanted, threads, distances.data(), indices.data()));
        CHECK(same(naive, distances, indices, k));
        Buffer<float> sums(q * k, -7);
        CHECK(index->search_weighted(wanted, weights.data(), threads, sums.data(), indices.data()));
        CHECK(same(naive_sums, sums, indices, k));
      }
    }
  }
}

// Weights of 1 give the plain search; others are rounded as the header says, however large.
void test_hamming_weights(std::int64_t h, std::int64_t num_sites, float scale) {
  Random random(static_cast<std::uint64_t>(h + num_sites));
  const std::int64_t words = num_words(num_sites);
  const Bytes alleles = random_alleles(h * num_sites, 5);
  const Words panel = naive_pack(alleles, h, num_sites);
  const auto index = HammingIndex::from_haplotypes(panel.data(), h, num_sites, words, nullptr);
  const HammingQueries wanted =
      queries_of(panel, std::min<std::int64_t>(h, 3), words, std::min<std::int64_t>(h, 9));
  const std::int64_t places = wanted.num_queries * wanted.k;
  Buffer<std::int32_t> plain(places);
  Buffer<float> sums(places);
  Buffer<std::int64_t> plain_indices(places), indices(places);
  CHECK(index.search(wanted, 1, plain.data(), plain_indices.data()));
  const Buffer<float> ones(num_sites, scale);  // a power of two
  CHECK(index.search_weighted(wanted, ones.data(), 1, sums.data(), indices.data()));
  bool same = true;
  for (std::int64_t i = 0; i < places; ++i) {
    same &= sums[i] == scale * static_cast<float>(plain[i]) && indices[i] == plain_indices[i];
  }
  CHECK(same);

  Buffer<float> weights(num_sites);
  double total = 0;
  for (float& weight : weights) {
    weight = scale * static_cast<float>(random.below(1 << 20)) / 3.0f;
    total += static_cast<double>(weight);
  }
  CHECK(index.search_weighted(wanted, weights.data(), 2, sums.data(), indices.data()));
  same = true;
  for (std::int64_t i = 0; i < places; ++i) {
    double sum = 0;
    for (std::int64_t s = 0; s < num_sites; ++s) {
      const std::int64_t query = i / wanted.k;
      if (alleles[indices[i] * num_sites + s] != alleles[query * num_sites + s]) {
        sum += static_cast<double>(weights[s]);
      }
    }
    const double bound = 1e-7 * sum + static_cast<double>(num_sites) * total / (1 << 30);
    same &= std::abs(static_cast<double>(sums[i]) - sum) <= bound;
  }
  CHECK(same);
}

// All sites differ: counters that are too narrow for a long row would wrap.
void test_hamming_of_long_rows(std::int64_t num_sites) {
  const std::int64_t words = num_words(num_sites);
  const Words zeros(words);
  Words ones(9 * words, ~std::uint64_t{0});
  ones[8 * words] = 0;
  const auto index = HammingIndex::from_haplotypes(ones.data(), 9, num_sites, words, nullptr);
  Buffer<std::int32_t> distances(9);
  Buffer<std::int64_t> indices(9);
  CHECK(index.search(queries_of(zeros, 1, words, 9), 1, distances.data(), indices.data()));
  CHECK(indices[0] == 8 && distances[0] == num_sites - 64);
  for (std::int64_t i = 1; i < 9; ++i) CHECK(indices[i] == i - 1 && distances[i] == num_sites);
}

// Every haplotype displaces one, and the panel is scanned in more than one piece.
void test_hamming_in_the_worst_order(int threads) {
  const std::int64_t h = 9001;
  Words panel(h);
  for (std::int64_t i = 0; i < h; ++i) {
    panel[i] = ~std::uint64_t{0} >> (63 * i / h);
  }
  const Words query(300);
  const auto index = HammingIndex::from_haplotypes(panel.data(), h, 64, 1, nullptr);
  Buffer<std::int32_t> distances(300 * 5);
  Buffer<std::int64_t> indices(300 * 5);
  CHECK(index.search(queries_of(query, 300, 1, 5), threads, distances.data(), indices.data()));
  std::vector<std::int32_t> naive;
  for (std::uint64_t word : panel) naive.push_back(__builtin_popcountll(word));
  const auto expected = nearest(naive, 5, nullptr, 0);
  bool same = true;
  for (std::int64_t i = 0; i < 300 * 5; ++i) {
    const auto& [distance, place] = expected[static_cast<std::size_t>(i % 5)];
    same &= distances[i] == distance && indices[i] == place;
  }
  CHECK(same);
}

void test_hamming_without_queries_and_cancelled() {
  const Words panel(5);
  const auto index = HammingIndex::from_haplotypes(panel.data(), 5, 64, 1, nullptr);
  CHECK(index.search(queries_of(Words(0), 0, 1, 3), 4, nullptr, nullptr));
  std::atomic<bool> cancel{true};
  Buffer<std::int32_t> distances(1);
  Buffer<std::int64_t> indices(1);
  const HammingQueries query = queries_of(panel, 1, 1, 1);
  CHECK(!index.search(query, 2, distances.data(), indices.data(), &cancel));
  cancel = false;
  CHECK(index.search(query, 2, distances.data(), indices.data(), &cancel));
}

// One index, searched from several threads that start threads of their own.
void test_hamming_from_several_threads() {
  const std::int64_t h = 700, words = 3;
  Words panel(h * words);
  Random random(8);
  for (std::uint64_t& word : panel) word = random.word();
  const auto index = HammingIndex::from_haplotypes(panel.data(), h, 64 * words, words, nullptr);
  Buffer<std::int64_t> found(4 * 6);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      Buffer<std::int32_t> distances(6);
      index.search(queries_of(panel, 2, words, 3), 1 + caller % 2, distances.data(),
                   found.data() + 6 * caller);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(found[0] == 0 && found[3] == 1);
  for (std::int64_t i = 0; i < found.size(); ++i) CHECK(found[i] == found[i % 6]);
}

// Fewer than k haplotypes are left: they come first, and the other places are unspecified.
void test_more_excluded_than_leave_k() {
  Words panel(70);
  for (std::int64_t i = 0; i < 70; ++i) panel[i] = static_cast<std::uint64_t>(i);
  const auto index = HammingIndex::from_haplotypes(panel.data(), 70, 64, 1, nullptr);
  Buffer<std::int64_t> exclude(71);
  for (std::int64_t i = 0; i < 71; ++i) exclude[i] = i < 68 ? i : 1000 * (i - 69);
  HammingQueries query = queries_of(Words(1), 1, 1, 9);
  const Words zero(1);
  query.bits = zero.data();
  query.exclude.indices = exclude.data();
  query.exclude.num_columns = exclude.size();
  const Buffer<float> weights(64, 1.0f);
  for (int threads : {1, 3}) {
    Buffer<std::int32_t> distances(9);
    Buffer<float> sums(9);
    Buffer<std::int64_t> indices(9);
    CHECK(index.search(query, threads, distances.data(), indices.data()));
    CHECK(indices[0] == 68 && distances[0] == 2 && indices[1] == 69 && distances[1] == 3);
    CHECK(index.search_weighted(query, weights.data(), threads, sums.data(), indices.data()));
    CHECK(indices[0] == 68 && sums[0] == 2.0f && indices[1] == 69 && sums[1] == 3.0f);
  }
}

// Invalid weights give distances of NaN and the lowest indices, as on a device.
void test_wrong_weights() {
  const Words panel(9);
  const auto index = HammingIndex::from_haplotypes(panel.data(), 9, 64, 1, nullptr);
  for (float wrong : {std::numeric_limits<float>::quiet_NaN(),
                      std::numeric_limits<float>::infinity(), -1.0f, 3e38f}) {
    const Buffer<float> weights(64, wrong);
    Buffer<float> sums(3);
    Buffer<std::int64_t> indices(3);
    CHECK(index.search_weighted(queries_of(panel, 1, 1, 3), weights.data(), 1, sums.data(),
                                indices.data()));
    for (std::int64_t i = 0; i < 3; ++i) CHECK(std::isnan(sums[i]) && indices[i] == i);
  }
}

}  // namespace

void test_hamming() {
  for (std::int64_t haplotypes : {1, 8, 9, 64, 65, 130}) {
    for (std::int64_t sites : {0, 1, 64, 65, 128, 129}) {
      for (int percent : {0, 40, 101}) test_window({haplotypes, sites, 3, percent, 1000}, false);
      test_window({haplotypes, sites, 2, 60, 3}, true);
    }
  }
  test_window({63, 127, 3, 100, 1000}, false);
  // Enough haplotypes for a first threshold to be estimated, and for more than one pass.
  test_window({2000, 500, 9, 101, 1000}, false);
  test_window({2001, 300, 9, 60, 12}, true);
  test_window({8200, 130, 9, 101, 3000}, false);
  // More distances than are counted.
  test_window({300, 4500, 2, 101, 30}, true);
  for (std::int64_t haplotypes : {1, 8, 300}) {
    for (std::int64_t sites : {1, 64, 200}) {
      for (float scale : {1.0f, 0.25f, 0x1p100f, 0x1p-90f}) {
        test_hamming_weights(haplotypes, sites, scale);
      }
    }
  }
  for (std::int64_t queries : {1, 8, 17}) test_window({70, 1020, queries, 40, 50}, true);
  for (std::int64_t sites : {64, 1984, 2048, 4096}) test_hamming_of_long_rows(sites);
  for (int threads : {1, 2, 4}) test_hamming_in_the_worst_order(threads);
  test_hamming_without_queries_and_cancelled();
  test_hamming_from_several_threads();
  test_more_excluded_than_leave_k();
  test_wrong_weights();
}

}  // namespace snvrag::testing
