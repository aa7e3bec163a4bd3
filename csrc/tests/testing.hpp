// Checks, random draws, buffers of exact size and naive twins for the C++ tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "snvrag/bits.hpp"
#include "snvrag/philox.hpp"
#include "snvrag/simd.hpp"

namespace snvrag::testing {

inline int passed = 0;
inline int failed = 0;

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (condition) {                                                          \
      ++snvrag::testing::passed;                                              \
    } else {                                                                  \
      ++snvrag::testing::failed;                                              \
      std::printf("%s:%d: %s: %s\n", __FILE__, __LINE__,                      \
                  snvrag::simd_level_name(snvrag::simd_level()), #condition); \
    }                                                                         \
  } while (false)

// A heap buffer of exactly n values; at n = 0, no value may be read.
template <class T>
class Buffer {
 public:
  explicit Buffer(std::int64_t n, T value = T{})
      : size_(n), values_(new T[static_cast<std::size_t>(n)]) {
    std::fill(begin(), end(), value);
  }
  T* data() { return values_.get(); }
  const T* data() const { return values_.get(); }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }
  std::int64_t size() const { return size_; }
  T& operator[](std::int64_t i) { return values_[static_cast<std::size_t>(i)]; }
  const T& operator[](std::int64_t i) const { return values_[static_cast<std::size_t>(i)]; }
  bool operator==(const Buffer& other) const {
    return std::equal(begin(), end(), other.begin(), other.end());
  }

 private:
  std::int64_t size_;
  std::unique_ptr<T[]> values_;
};

using Bytes = Buffer<std::uint8_t>;
using Words = Buffer<std::uint64_t>;

// Random draws by Philox, which is tested first.
class Random {
 public:
  explicit Random(std::uint64_t seed) : seed_(seed) {}
  std::uint64_t word() { return philox4x64({{++counter_, 0, 0, 0}}, {seed_, 0}).word[0]; }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(word() % static_cast<std::uint64_t>(n));
  }
  double unit() { return unit_double(word()); }

 private:
  std::uint64_t seed_;
  std::uint64_t counter_ = 0;
};

inline Bytes random_alleles(std::int64_t n, std::uint64_t seed) {
  Bytes alleles(n);
  Random random(seed);
  for (std::uint8_t& allele : alleles) allele = static_cast<std::uint8_t>(random.word() & 1);
  return alleles;
}

inline Words naive_pack(const Bytes& alleles, std::int64_t num_rows, std::int64_t num_columns) {
  const std::int64_t words = num_words(num_columns);
  Words bits(num_rows * words);
  for (std::int64_t r = 0; r < num_rows; ++r) {
    for (std::int64_t c = 0; c < num_columns; ++c) {
      bits[r * words + c / 64] |= std::uint64_t{alleles[r * num_columns + c]} << (c % 64);
    }
  }
  return bits;
}

inline Bytes transposed(const Bytes& alleles, std::int64_t num_rows, std::int64_t num_columns) {
  Bytes out(num_rows * num_columns);
  for (std::int64_t r = 0; r < num_rows; ++r) {
    for (std::int64_t c = 0; c < num_columns; ++c) {
      out[c * num_rows + r] = alleles[r * num_columns + c];
    }
  }
  return out;
}

// Spreads rows `gap` words further apart, with gaps of ones, and nothing past the last row.
inline Words spread_rows(const Words& bits, std::int64_t num_rows, std::int64_t words,
                         std::int64_t gap) {
  const std::int64_t size = num_rows == 0 ? 0 : num_rows * (words + gap) - gap;
  Words out(size, ~std::uint64_t{0});
  for (std::int64_t r = 0; r < num_rows; ++r) {
    std::copy(bits.data() + r * words, bits.data() + (r + 1) * words,
              out.data() + r * (words + gap));
  }
  return out;
}

// Orders by (distance, index), drops what is excluded, and keeps k.
template <class T>
std::vector<std::pair<T, std::int64_t>> nearest(const std::vector<T>& distances, std::int64_t k,
                                                const std::int64_t* exclude,
                                                std::int64_t num_exclude) {
  std::vector<std::pair<T, std::int64_t>> order;
  for (std::size_t h = 0; h < distances.size(); ++h) {
    const auto index = static_cast<std::int64_t>(h);
    if (std::find(exclude, exclude + num_exclude, index) != exclude + num_exclude) continue;
    order.emplace_back(distances[h], index);
  }
  std::sort(order.begin(), order.end());
  order.resize(static_cast<std::size_t>(k));
  return order;
}

// The tests of each kernel, in test_<kernel>.cpp, at the level in use.
void test_bits(const char* known_answers);  // independent of the level
void test_genotypes();
void test_packing();
void test_hamming();
void test_head();
void test_imputed_text();
void test_l2();
void test_li_stephens();
void test_states();
void test_evidence();
void test_phasings();

}  // namespace snvrag::testing
