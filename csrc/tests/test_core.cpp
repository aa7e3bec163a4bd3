// The C++ alone, for the sanitizers: every kernel against a naive loop, at every instruction set.
//
// Arrays are heap buffers of exactly their size, so that an access behind one is seen. The first
// argument names the known answers of Philox, tests/kat/philox4x64_10.txt.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <limits>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "snvrag/bits.hpp"
#include "snvrag/genotypes.hpp"
#include "snvrag/hamming.hpp"
#include "snvrag/l2.hpp"
#include "snvrag/matching.hpp"
#include "snvrag/packing.hpp"
#include "snvrag/philox.hpp"
#include "snvrag/simd.hpp"
#include "snvrag/topk.hpp"
#include "testing.hpp"

namespace {

using namespace snvrag::testing;
using snvrag::num_words;

// --- without levels ------------------------------------------------------------------------------

void test_bits() {
  CHECK(num_words(0) == 0);
  CHECK(num_words(1) == 1);
  CHECK(num_words(63) == 1);
  CHECK(num_words(64) == 1);
  CHECK(num_words(65) == 2);
  CHECK(num_words(1020) == 16);
  for (std::int64_t n = 1; n <= 200; ++n) {
    std::uint64_t expected = 0;
    for (std::int64_t i = 64 * (num_words(n) - 1); i < n; ++i) expected |= 1ull << (i % 64);
    CHECK(snvrag::last_word_mask(n) == expected);
  }
}

// Returns the number of known answers that were read and compared.
int check_known_answers(std::istream& lines) {
  int found = 0;
  std::string line;
  while (std::getline(lines, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    words >> std::hex;
    std::uint64_t word[10] = {};
    int read = 0;
    while (read < 10 && words >> word[read]) ++read;
    CHECK(read == 10);
    const snvrag::PhiloxBlock got =
        snvrag::philox4x64({{word[0], word[1], word[2], word[3]}}, {word[4], word[5]});
    for (int i = 0; i < 4; ++i) CHECK(got.word[i] == word[6 + i]);
    ++found;
  }
  return found;
}

void test_philox(const char* path) {
  std::istringstream zeros(
      "0 0 0 0 0 0 16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b");
  CHECK(check_known_answers(zeros) == 1);
  if (path != nullptr) {
    std::ifstream file(path);
    if (!file) std::printf("cannot read %s\n", path);
    CHECK(check_known_answers(file) >= 3);
  } else {
    std::printf("no known answers given: the built-in one alone\n");
  }

  const std::uint64_t most = ~std::uint64_t{0};
  CHECK(snvrag::multiply_high(most, most) == most - 1);
  CHECK(snvrag::multiply_high(most, 1) == 0);
  CHECK(snvrag::multiply_high(1ull << 63, 2) == 1);
  CHECK(snvrag::multiply_high(0x123456789abcdef0ull, 0xfedcba9876543210ull) ==
        0x121fa00ad77d7422ull);
  CHECK(snvrag::unit_double(0) == 0.0);
  CHECK(snvrag::unit_double((1ull << 11) - 1) == 0.0);
  CHECK(snvrag::unit_double(1ull << 63) == 0.5);
  CHECK(snvrag::unit_double(most) == 1.0 - 1.0 / 9007199254740992.0);

  const snvrag::PhiloxKey near = snvrag::mask_key(2024, 330);
  CHECK(near.low == 20240330 && near.high == 0);
  const snvrag::PhiloxKey far = snvrag::mask_key(3, 20001);
  CHECK(far.low == 50001 && far.high == 2);
}

void test_keys() {
  CHECK(snvrag::pack_key(1, 0) > snvrag::pack_key(0, 0xffffffffu));
  CHECK(snvrag::pack_key(7, 3) < snvrag::pack_key(7, 4));
  const float values[] = {0.0f, 1e-45f, 1e-38f, 1.0f, 1.0000001f, 3e38f, INFINITY};
  for (int i = 0; i < 7; ++i) {
    CHECK(snvrag::key_float(snvrag::float_key(values[i])) == values[i]);
    if (i > 0) CHECK(snvrag::float_key(values[i - 1]) < snvrag::float_key(values[i]));
  }
}

void test_levels() {
  const auto& levels = snvrag::available_simd_levels();
  CHECK(!levels.empty() && levels.front() == snvrag::SimdLevel::scalar);
  CHECK(std::is_sorted(levels.begin(), levels.end()));
  const snvrag::SimdLevel before = snvrag::simd_level();
  for (const char* name : {"", "mmx", "AVX2", "scalar "}) {
    bool refused = false;
    try {
      snvrag::set_simd_level(name);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    CHECK(refused);
    CHECK(snvrag::simd_level() == before);
  }
}

void test_genotypes() {
  // 32 plain calls, which are read at once, then one of every kind; 2 | allele << 1 | phased.
  constexpr std::int32_t kEnd = snvrag::kNoAllele;
  const std::int32_t rows[][2] = {{2, 3}, {2, 5},    {4, 4}, {4, 2}, {2, 4},
                                  {0, 3}, {4, kEnd}, {0, 0}, {6, 5}, {1, kEnd}};
  const std::int64_t n = 42;
  for (const bool hide : {false, true}) {
    Buffer<std::int32_t> codes(2 * n, 3);
    codes[2] = 5;
    for (std::int64_t i = 0; i < 20; ++i) codes[64 + i] = rows[i / 2][i % 2];
    Bytes ploidy(n, 0);
    std::fill(ploidy.begin(), ploidy.begin() + 32, std::uint8_t{2});
    ploidy[38] = 2;
    Words alleles(2, 77), missing(2, 77);
    const snvrag::GenotypeSummary got = snvrag::read_genotypes(
        codes.data(), n, 2, hide, ploidy.data(), alleles.data(), missing.data());
    CHECK(got.first_unphased == 35 && got.num_unphased == 2);
    CHECK(got.first_changed == 38 && got.first_polyploid == -1);
    CHECK(got.num_missing == 3);
    CHECK(got.highest_allele == 2);
    CHECK(alleles[0] == 4 && missing[0] == 0);
    CHECK(alleles[1] == (hide ? 0x31038u : 0x31278u));
    CHECK(missing[1] == (hide ? 0xcc7c0u : 0xcc400u));
    CHECK(ploidy[32] == 2 && ploidy[38] == 2 && ploidy[39] == 0 && ploidy[41] == 0);
  }
  const snvrag::GenotypeSummary none =
      snvrag::read_genotypes(nullptr, 0, 2, false, nullptr, nullptr, nullptr);
  CHECK(none.first_unphased == -1 && none.first_changed == -1 && none.num_missing == 0);
}

// --- packing -------------------------------------------------------------------------------------

void test_packing(std::int64_t num_rows, std::int64_t num_columns) {
  const Bytes alleles = random_alleles(num_rows * num_columns, 1);
  const Words expected = naive_pack(alleles, num_rows, num_columns);
  const std::int64_t words = num_words(num_columns);

  Words bits(num_rows * words, 0xabcd);
  CHECK(snvrag::pack_rows(alleles.data(), num_rows, num_columns, num_columns, 1, bits.data()) ==
        -1);
  CHECK(bits == expected);

  const Bytes turned = transposed(alleles, num_rows, num_columns);
  Words from_turned(num_rows * words, 0xabcd);
  CHECK(snvrag::pack_rows(turned.data(), num_rows, num_columns, 1, num_rows, from_turned.data()) ==
        -1);
  CHECK(from_turned == expected);

  // Three bytes apart, and nothing behind the last one.
  Bytes wide(std::max<std::int64_t>(0, 3 * num_rows * num_columns - 2), 9);
  for (std::int64_t i = 0; i < num_rows * num_columns; ++i) wide[3 * i] = alleles[i];
  Words from_wide(num_rows * words, 0xabcd);
  CHECK(snvrag::pack_rows(wide.data(), num_rows, num_columns, 3 * num_columns, 3,
                          from_wide.data()) == -1);
  CHECK(from_wide == expected);

  // Backwards in both axes.
  if (num_rows > 0 && num_columns > 0) {
    Bytes backwards(alleles.size());
    std::reverse_copy(alleles.begin(), alleles.end(), backwards.begin());
    Words from_backwards(num_rows * words, 0xabcd);
    CHECK(snvrag::pack_rows(backwards.data() + backwards.size() - 1, num_rows, num_columns,
                            -num_columns, -1, from_backwards.data()) == -1);
    CHECK(from_backwards == expected);
  }

  const Words apart = spread_rows(expected, num_rows, words, 2);
  Bytes back(num_rows * num_columns, 9);
  snvrag::unpack_rows(apart.data(), num_rows, num_columns, words + 2, back.data());
  CHECK(back == alleles);

  Words columns(num_columns * num_words(num_rows), 0xabcd);
  snvrag::transpose_bits(apart.data(), num_rows, num_columns, words + 2, columns.data());
  CHECK(columns == naive_pack(turned, num_columns, num_rows));
}

void test_bad_alleles(std::int64_t num_rows, std::int64_t num_columns) {
  Random random(2);
  for (int bad : {2, 3, 128, 254, 255}) {
    Bytes alleles = random_alleles(num_rows * num_columns, 3);
    const std::int64_t first = random.below(alleles.size());
    alleles[first] = static_cast<std::uint8_t>(bad);
    alleles[alleles.size() - 1] = 7;
    const Bytes turned = transposed(alleles, num_rows, num_columns);
    Words bits(num_rows * num_words(num_columns));
    CHECK(snvrag::pack_rows(alleles.data(), num_rows, num_columns, num_columns, 1, bits.data()) ==
          first);
    CHECK(snvrag::pack_rows(turned.data(), num_rows, num_columns, 1, num_rows, bits.data()) ==
          first);
  }
}

void test_gather(std::int64_t num_rows, std::int64_t num_columns) {
  const Bytes alleles = random_alleles(num_rows * num_columns, 4);
  const std::int64_t words = num_words(num_columns);
  const Words bits = spread_rows(naive_pack(alleles, num_rows, num_columns), num_rows, words, 1);
  Random random(5);
  for (std::int64_t start : {std::int64_t{0}, num_rows / 3, num_rows}) {
    const std::int64_t rows = num_rows - start;
    Buffer<std::int64_t> wanted(5);
    for (std::int64_t& column : wanted) column = random.below(num_columns);
    wanted[0] = num_columns - 1;
    Words got(5 * num_words(rows), 0xabcd);
    snvrag::gather_columns(bits.data(), words + 1, start, rows, wanted.data(), 5, got.data());
    Bytes chosen(5 * rows);
    for (std::int64_t i = 0; i < 5; ++i) {
      for (std::int64_t r = 0; r < rows; ++r) {
        chosen[i * rows + r] = alleles[(start + r) * num_columns + wanted[i]];
      }
    }
    CHECK(got == naive_pack(chosen, 5, rows));
  }
}

// --- retrieval -----------------------------------------------------------------------------------

struct Window {
  std::int64_t num_haplotypes, num_sites, num_queries;
  int observed_percent;  // of 100; 101: no mask is given
  int num_kinds;         // of haplotypes; few make ties
};

void test_hamming(const Window& window, bool with_exclude) {
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
      snvrag::HammingIndex::from_haplotypes(panel_bits.data(), h, l, words + 3, mask);
  auto by_sites = snvrag::HammingIndex::from_sites(site_bits.data(), h, l, num_words(h) + 2, mask);
  const snvrag::HammingIndex moved = std::move(by_sites);

  std::int64_t num_observed = 0;
  for (std::uint8_t site : observed) num_observed += mask == nullptr || site != 0;
  for (const snvrag::HammingIndex* index : {&by_haplotypes, &moved}) {
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

  std::vector<std::vector<std::int32_t>> naive;
  for (std::int64_t i = 0; i < q; ++i) {
    naive.emplace_back(static_cast<std::size_t>(h), 0);
    for (std::int64_t row = 0; row < h; ++row) {
      for (std::int64_t s = 0; s < l; ++s) {
        naive.back()[static_cast<std::size_t>(row)] +=
            (mask == nullptr || mask[s] != 0) && panel[row * l + s] != queries[i * l + s];
      }
    }
  }

  // Multiples of 1/4 are exact, so that any order of summation gives the same.
  Buffer<float> weights(l);
  for (float& weight : weights) weight = static_cast<float>(random.below(9)) / 4;
  std::vector<std::vector<float>> naive_sums;
  for (std::int64_t i = 0; i < q; ++i) {
    naive_sums.emplace_back(static_cast<std::size_t>(h), 0.0f);
    for (std::int64_t row = 0; row < h; ++row) {
      for (std::int64_t s = 0; s < l; ++s) {
        const bool differ =
            (mask == nullptr || mask[s] != 0) && panel[row * l + s] != queries[i * l + s];
        naive_sums.back()[static_cast<std::size_t>(row)] += differ ? weights[s] : 0.0f;
      }
    }
  }

  for (std::int64_t k : {std::int64_t{1}, std::int64_t{8}, std::int64_t{64}, most}) {
    if (k > most) continue;
    for (int threads : {1, 2, 4}) {
      for (const snvrag::HammingIndex* index : {&by_haplotypes, &moved}) {
        Buffer<std::int32_t> distances(q * k, -7);
        Buffer<std::int64_t> indices(q * k, -7);
        const snvrag::HammingQueries wanted{query_bits.data(), q,          words + 1, k,
                                            exclude.data(),    num_exclude};
        CHECK(index->search(wanted, threads, distances.data(), indices.data()));
        bool same = true;
        for (std::int64_t i = 0; i < q; ++i) {
          const auto expected = nearest(naive[static_cast<std::size_t>(i)], k,
                                        exclude.data() + i * num_exclude, num_exclude);
          for (std::int64_t j = 0; j < k; ++j) {
            const auto& [distance, place] = expected[static_cast<std::size_t>(j)];
            same &= distances[i * k + j] == distance && indices[i * k + j] == place;
          }
        }
        CHECK(same);

        Buffer<float> sums(q * k, -7);
        CHECK(index->search_weighted(wanted, weights.data(), threads, sums.data(), indices.data()));
        same = true;
        for (std::int64_t i = 0; i < q; ++i) {
          const auto expected = nearest(naive_sums[static_cast<std::size_t>(i)], k,
                                        exclude.data() + i * num_exclude, num_exclude);
          for (std::int64_t j = 0; j < k; ++j) {
            const auto& [sum, place] = expected[static_cast<std::size_t>(j)];
            same &= sums[i * k + j] == sum && indices[i * k + j] == place;
          }
        }
        CHECK(same);
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
  const auto index =
      snvrag::HammingIndex::from_haplotypes(panel.data(), h, num_sites, words, nullptr);
  const snvrag::HammingQueries wanted{
      panel.data(), std::min<std::int64_t>(h, 3), words, std::min<std::int64_t>(h, 9), nullptr, 0};
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
  const auto index =
      snvrag::HammingIndex::from_haplotypes(ones.data(), 9, num_sites, words, nullptr);
  Buffer<std::int32_t> distances(9);
  Buffer<std::int64_t> indices(9);
  CHECK(index.search({zeros.data(), 1, words, 9, nullptr, 0}, 1, distances.data(), indices.data()));
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
  const auto index = snvrag::HammingIndex::from_haplotypes(panel.data(), h, 64, 1, nullptr);
  Buffer<std::int32_t> distances(300 * 5);
  Buffer<std::int64_t> indices(300 * 5);
  CHECK(index.search({query.data(), 300, 1, 5, nullptr, 0}, threads, distances.data(),
                     indices.data()));
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
  const auto index = snvrag::HammingIndex::from_haplotypes(panel.data(), 5, 64, 1, nullptr);
  CHECK(index.search({nullptr, 0, 1, 3, nullptr, 0}, 4, nullptr, nullptr));
  std::atomic<bool> cancel{true};
  Buffer<std::int32_t> distances(1);
  Buffer<std::int64_t> indices(1);
  CHECK(!index.search({panel.data(), 1, 1, 1, nullptr, 0}, 2, distances.data(), indices.data(),
                      &cancel));
  cancel = false;
  CHECK(index.search({panel.data(), 1, 1, 1, nullptr, 0}, 2, distances.data(), indices.data(),
                     &cancel));
}

// One index, searched from several threads that take threads of their own.
void test_hamming_from_several_threads() {
  const std::int64_t h = 700, words = 3;
  Words panel(h * words);
  Random random(8);
  for (std::uint64_t& word : panel) word = random.word();
  const auto index =
      snvrag::HammingIndex::from_haplotypes(panel.data(), h, 64 * words, words, nullptr);
  Buffer<std::int64_t> found(4 * 6);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      Buffer<std::int32_t> distances(6);
      index.search({panel.data(), 2, words, 3, nullptr, 0}, 1 + caller % 2, distances.data(),
                   found.data() + 6 * caller);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(found[0] == 0 && found[3] == 1);
  for (std::int64_t i = 0; i < found.size(); ++i) CHECK(found[i] == found[i % 6]);
}

void test_l2(std::int64_t num_rows, std::int64_t num_dimensions, std::int64_t num_queries) {
  const std::int64_t stride = num_dimensions + 3, query_stride = num_dimensions + 1;
  const auto size = [](std::int64_t rows, std::int64_t step, std::int64_t used) {
    return rows == 0 ? 0 : (rows - 1) * step + used;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Buffer<float> cache(size(num_rows, stride, num_dimensions), nan);
  Buffer<float> queries(size(num_queries, query_stride, num_dimensions), nan);
  // Small whole numbers: float32 sums are exact, so the answer is ==, ties included.
  Random random(static_cast<std::uint64_t>(num_rows * 1009 + num_dimensions));
  for (std::int64_t r = 0; r < num_rows; ++r) {
    for (std::int64_t d = 0; d < num_dimensions; ++d) {
      cache[r * stride + d] = static_cast<float>(random.below(d < 6 ? 3 : 1));
    }
  }
  for (std::int64_t q = 0; q < num_queries; ++q) {
    for (std::int64_t d = 0; d < num_dimensions; ++d) {
      queries[q * query_stride + d] = static_cast<float>(random.below(3));
    }
  }
  const std::int64_t num_exclude = num_rows > 4 ? 2 : 0;
  Buffer<std::int64_t> exclude(num_queries * num_exclude);
  for (std::int64_t& index : exclude) index = random.below(num_rows + 1) - 1;

  for (std::int64_t k : {std::int64_t{1}, std::int64_t{8}, num_rows - num_exclude}) {
    if (k > num_rows - num_exclude) continue;
    for (int threads : {1, 2, 4}) {
      Buffer<float> distances(num_queries * k, nan);
      Buffer<std::int64_t> indices(num_queries * k, -7);
      CHECK(snvrag::topk_l2(queries.data(), num_queries, query_stride, cache.data(), num_rows,
                            stride, num_dimensions, k, exclude.data(), num_exclude, threads,
                            distances.data(), indices.data()) == snvrag::L2Result::ok);
      bool same = true;
      for (std::int64_t q = 0; q < num_queries; ++q) {
        std::vector<double> naive(static_cast<std::size_t>(num_rows));
        for (std::int64_t r = 0; r < num_rows; ++r) {
          for (std::int64_t d = 0; d < num_dimensions; ++d) {
            const double difference = double{queries[q * query_stride + d]} - cache[r * stride + d];
            naive[static_cast<std::size_t>(r)] += difference * difference;
          }
        }
        const auto expected = nearest(naive, k, exclude.data() + q * num_exclude, num_exclude);
        for (std::int64_t j = 0; j < k; ++j) {
          const auto& [distance, place] = expected[static_cast<std::size_t>(j)];
          same &= double{distances[q * k + j]} == distance && indices[q * k + j] == place;
        }
      }
      CHECK(same);
    }
  }
}

void test_l2_of_what_is_not_a_number() {
  for (int threads : {1, 2, 4}) {
    Buffer<float> cache(70 * 17, 1.0f), query(17, 1.0f), distances(1);
    Buffer<std::int64_t> indices(1);
    const auto search = [&](snvrag::CancelFlag cancel) {
      return snvrag::topk_l2(query.data(), 1, 17, cache.data(), 70, 17, 17, 1, nullptr, 0, threads,
                             distances.data(), indices.data(), cancel);
    };
    CHECK(search(nullptr) == snvrag::L2Result::ok);
    CHECK(distances[0] == 0.0f && indices[0] == 0);
    cache[69 * 17 + 16] = std::numeric_limits<float>::quiet_NaN();
    CHECK(search(nullptr) == snvrag::L2Result::not_a_number);
    cache[69 * 17 + 16] = std::numeric_limits<float>::infinity();
    CHECK(search(nullptr) == snvrag::L2Result::ok);
    std::atomic<bool> cancel{true};
    CHECK(search(&cancel) == snvrag::L2Result::cancelled);
  }
  CHECK(snvrag::topk_l2(nullptr, 0, 1, nullptr, 5, 1, 1, 1, nullptr, 0, 4, nullptr, nullptr) ==
        snvrag::L2Result::ok);
}

// --- matching ------------------------------------------------------------------------------------

void test_matching(std::int64_t num_sites, std::int64_t num_queries, std::int64_t num_neighbours) {
  const std::int64_t pairs = num_queries * num_neighbours;
  const Bytes queries = random_alleles(num_queries * num_sites, 11);
  const Bytes observed = random_alleles(num_sites, 12);
  Bytes neighbours(pairs * num_sites);
  Random random(static_cast<std::uint64_t>(num_sites));
  for (std::int64_t p = 0; p < pairs; ++p) {
    for (std::int64_t s = 0; s < num_sites; ++s) {
      const int flip = random.below(10) == 0;
      neighbours[p * num_sites + s] =
          static_cast<std::uint8_t>(queries[p / num_neighbours * num_sites + s] ^ flip);
    }
  }
  Buffer<std::int64_t> position(num_sites);
  std::int64_t place = 1'000'000;
  for (std::int64_t& site : position) site = place += random.below(5000);

  const double decay_sites = 7.0;
  Buffer<float> got(pairs * snvrag::kMatchFeatures * num_sites,
                    std::numeric_limits<float>::quiet_NaN());
  const Words query_bits = naive_pack(queries, num_queries, num_sites);
  const Words neighbour_bits = naive_pack(neighbours, pairs, num_sites);
  const Words observed_bits = naive_pack(observed, 1, num_sites);
  snvrag::match_features(query_bits.data(), neighbour_bits.data(), num_queries, num_neighbours,
                         num_sites, observed_bits.data(), position.data(),
                         static_cast<float>(decay_sites), got.data());

  double worst = 0;
  for (std::int64_t p = 0; p < pairs; ++p) {
    const auto mismatch = [&](std::int64_t s) {
      return observed[s] != 0 &&
             queries[p / num_neighbours * num_sites + s] != neighbours[p * num_sites + s];
    };
    for (std::int64_t s = 0; s < num_sites; ++s) {
      for (int side = 0; side < 2; ++side) {
        const std::int64_t step = side == 0 ? -1 : 1;
        std::int64_t end = -1, seen = 0, crossed = 0;
        double decayed = 0;
        for (std::int64_t t = s; t >= 0 && t < num_sites; t += step) {
          if (mismatch(t)) {
            if (end < 0) end = t;
            decayed += std::exp(-static_cast<double>(crossed) / decay_sites);
          }
          if (end < 0) seen += observed[t];
          crossed += observed[t];
        }
        if (end < 0) end = side == 0 ? 0 : num_sites - 1;
        const double kb = std::abs(static_cast<double>(position[s] - position[end])) / 1000;
        const double expected[] = {std::log1p(static_cast<double>(seen)), std::log1p(kb), decayed};
        for (int i = 0; i < 3; ++i) {
          const std::int64_t feature = 2 * i + side;
          const double value = double{got[(p * snvrag::kMatchFeatures + feature) * num_sites + s]};
          const double error = std::abs(value - expected[i]);
          worst = std::isnan(error) ? 1e9 : std::max(worst, error);
        }
      }
    }
  }
  CHECK(worst < 5e-4);
}

void test_at_one_level() {
  for (std::int64_t rows : {0, 1, 7, 63, 64, 65, 130}) {
    for (std::int64_t columns : {0, 1, 63, 64, 65, 127, 128, 129}) test_packing(rows, columns);
  }
  test_packing(65, 1020);
  test_packing(1020, 65);
  for (std::int64_t rows : {1, 64, 70}) {
    for (std::int64_t columns : {1, 64, 129}) {
      test_bad_alleles(rows, columns);
      test_gather(rows, columns);
    }
  }
  test_gather(300, 129);

  for (std::int64_t haplotypes : {1, 8, 9, 64, 65, 130}) {
    for (std::int64_t sites : {0, 1, 64, 65, 128, 129}) {
      for (int percent : {0, 40, 101}) test_hamming({haplotypes, sites, 3, percent, 1000}, false);
      test_hamming({haplotypes, sites, 2, 60, 3}, true);
    }
  }
  test_hamming({63, 127, 3, 100, 1000}, false);
  // Enough haplotypes for a first threshold to be estimated, and for more than one pass.
  test_hamming({2000, 500, 9, 101, 1000}, false);
  test_hamming({2001, 300, 9, 60, 12}, true);
  test_hamming({8200, 130, 9, 101, 3000}, false);
  // More distances than are counted.
  test_hamming({300, 4500, 2, 101, 30}, true);
  for (std::int64_t haplotypes : {1, 8, 300}) {
    for (std::int64_t sites : {1, 64, 200}) {
      for (float scale : {1.0f, 0.25f, 0x1p100f, 0x1p-90f}) {
        test_hamming_weights(haplotypes, sites, scale);
      }
    }
  }
  for (std::int64_t queries : {1, 8, 17}) test_hamming({70, 1020, queries, 40, 50}, true);
  for (std::int64_t sites : {64, 1984, 2048, 4096}) test_hamming_of_long_rows(sites);
  for (int threads : {1, 2, 4}) test_hamming_in_the_worst_order(threads);
  test_hamming_without_queries_and_cancelled();
  test_hamming_from_several_threads();

  for (std::int64_t rows : {1, 3, 31, 32, 33, 100}) {
    for (std::int64_t dimensions : {0, 1, 3, 15, 16, 17, 33}) test_l2(rows, dimensions, 5);
  }
  for (std::int64_t dimensions : {1023, 1024, 1025, 3000}) test_l2(7, dimensions, 9);
  // Dimensions enough for first thresholds to be estimated and for rows to be given up.
  test_l2(200, 16384, 3);
  test_l2(131, 20001, 7);
  test_l2_of_what_is_not_a_number();

  for (std::int64_t sites : {0, 1, 2, 63, 64, 65, 129, 200}) test_matching(sites, 2, 3);
  test_matching(64, 2, 0);
  test_matching(64, 0, 3);

  test_copying();
}

}  // namespace

int main(int argc, char** argv) {
  test_bits();
  test_philox(argc > 1 ? argv[1] : nullptr);
  test_keys();
  test_levels();
  test_genotypes();
  for (snvrag::SimdLevel level : snvrag::available_simd_levels()) {
    snvrag::set_simd_level(snvrag::simd_level_name(level));
    const int before = passed + failed;
    test_at_one_level();
    std::printf("%s: %d checks\n", snvrag::simd_level_name(level), passed + failed - before);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
