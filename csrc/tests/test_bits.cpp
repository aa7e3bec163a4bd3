// Bit layout, Philox's known answers, keys of the top-k selection, and instruction-set levels.
#include "snvrag/bits.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "snvrag/philox.hpp"
#include "snvrag/simd.hpp"
#include "snvrag/topk.hpp"
#include "testing.hpp"

namespace snvrag::testing {
namespace {

void test_words() {
  CHECK(num_words(0) == 0);
  CHECK(num_words(1) == 1);
  CHECK(num_words(63) == 1);
  CHECK(num_words(64) == 1);
  CHECK(num_words(65) == 2);
  CHECK(num_words(1020) == 16);
  for (std::int64_t n = 1; n <= 200; ++n) {
    std::uint64_t expected = 0;
    for (std::int64_t i = 64 * (num_words(n) - 1); i < n; ++i) expected |= 1ull << (i % 64);
    CHECK(last_word_mask(n) == expected);
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
    const PhiloxBlock got = philox4x64({{word[0], word[1], word[2], word[3]}}, {word[4], word[5]});
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
    std::printf("no file of known answers: testing the built-in one alone\n");
  }

  const std::uint64_t most = ~std::uint64_t{0};
  CHECK(multiply_high(most, most) == most - 1);
  CHECK(multiply_high(most, 1) == 0);
  CHECK(multiply_high(1ull << 63, 2) == 1);
  CHECK(multiply_high(0x123456789abcdef0ull, 0xfedcba9876543210ull) == 0x121fa00ad77d7422ull);
  CHECK(unit_double(0) == 0.0);
  CHECK(unit_double((1ull << 11) - 1) == 0.0);
  CHECK(unit_double(1ull << 63) == 0.5);
  CHECK(unit_double(most) == 1.0 - 1.0 / 9007199254740992.0);

  const PhiloxKey near = mask_key(2024, 330);
  CHECK(near.low == 20240330 && near.high == 0);
  const PhiloxKey far = mask_key(3, 20001);
  CHECK(far.low == 50001 && far.high == 2);
}

void test_keys() {
  CHECK(pack_key(1, 0) > pack_key(0, 0xffffffffu));
  CHECK(pack_key(7, 3) < pack_key(7, 4));
  const float values[] = {0.0f, 1e-45f, 1e-38f, 1.0f, 1.0000001f, 3e38f, INFINITY};
  for (int i = 0; i < 7; ++i) {
    CHECK(key_float(float_key(values[i])) == values[i]);
    if (i > 0) CHECK(float_key(values[i - 1]) < float_key(values[i]));
  }
}

void test_levels() {
  const auto& levels = available_simd_levels();
  CHECK(!levels.empty() && levels.front() == SimdLevel::scalar);
  CHECK(std::is_sorted(levels.begin(), levels.end()));
  const SimdLevel before = simd_level();
  for (const char* name : {"", "mmx", "AVX2", "scalar "}) {
    bool refused = false;
    try {
      set_simd_level(name);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    CHECK(refused);
    CHECK(simd_level() == before);
  }
}

}  // namespace

void test_bits(const char* known_answers) {
  test_words();
  test_philox(known_answers);
  test_keys();
  test_levels();
}

}  // namespace snvrag::testing
