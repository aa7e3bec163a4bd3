// Packing, unpacking, transposition and columns of bits against naive loops.
#include "snvrag/packing.hpp"

#include <algorithm>
#include <cstdint>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

void test_round_trip(std::int64_t num_rows, std::int64_t num_columns) {
  const Bytes alleles = random_alleles(num_rows * num_columns, 1);
  const Words expected = naive_pack(alleles, num_rows, num_columns);
  const std::int64_t words = num_words(num_columns);

  Words bits(num_rows * words, 0xabcd);
  CHECK(pack_rows(alleles.data(), num_rows, num_columns, num_columns, 1, bits.data()) == -1);
  CHECK(bits == expected);

  const Bytes columns_first = transposed(alleles, num_rows, num_columns);
  Words from_columns(num_rows * words, 0xabcd);
  CHECK(pack_rows(columns_first.data(), num_rows, num_columns, 1, num_rows, from_columns.data()) ==
        -1);
  CHECK(from_columns == expected);

  // Three bytes apart, and nothing past the last one.
  Bytes wide(std::max<std::int64_t>(0, 3 * num_rows * num_columns - 2), 9);
  for (std::int64_t i = 0; i < num_rows * num_columns; ++i) wide[3 * i] = alleles[i];
  Words from_wide(num_rows * words, 0xabcd);
  CHECK(pack_rows(wide.data(), num_rows, num_columns, 3 * num_columns, 3, from_wide.data()) == -1);
  CHECK(from_wide == expected);

  // Backwards in both axes.
  if (num_rows > 0 && num_columns > 0) {
    Bytes backwards(alleles.size());
    std::reverse_copy(alleles.begin(), alleles.end(), backwards.begin());
    Words from_backwards(num_rows * words, 0xabcd);
    CHECK(pack_rows(backwards.data() + backwards.size() - 1, num_rows, num_columns, -num_columns,
                    -1, from_backwards.data()) == -1);
    CHECK(from_backwards == expected);
  }

  const Words apart = spread_rows(expected, num_rows, words, 2);
  Bytes back(num_rows * num_columns, 9);
  unpack_rows(apart.data(), num_rows, num_columns, words + 2, back.data());
  CHECK(back == alleles);

  Words columns(num_columns * num_words(num_rows), 0xabcd);
  transpose_bits(apart.data(), num_rows, num_columns, words + 2, columns.data());
  CHECK(columns == naive_pack(columns_first, num_columns, num_rows));
}

void test_bad_alleles(std::int64_t num_rows, std::int64_t num_columns) {
  Random random(2);
  for (int bad : {2, 3, 128, 254, 255}) {
    Bytes alleles = random_alleles(num_rows * num_columns, 3);
    const std::int64_t first = random.below(alleles.size());
    alleles[first] = static_cast<std::uint8_t>(bad);
    alleles[alleles.size() - 1] = 7;
    const Bytes columns_first = transposed(alleles, num_rows, num_columns);
    Words bits(num_rows * num_words(num_columns));
    CHECK(pack_rows(alleles.data(), num_rows, num_columns, num_columns, 1, bits.data()) == first);
    CHECK(pack_rows(columns_first.data(), num_rows, num_columns, 1, num_rows, bits.data()) ==
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
    gather_columns(bits.data(), words + 1, start, rows, wanted.data(), 5, got.data());
    Bytes chosen(5 * rows);
    for (std::int64_t i = 0; i < 5; ++i) {
      for (std::int64_t r = 0; r < rows; ++r) {
        chosen[i * rows + r] = alleles[(start + r) * num_columns + wanted[i]];
      }
    }
    CHECK(got == naive_pack(chosen, 5, rows));
    Bytes bytes(5 * rows);
    gather_alleles(bits.data(), words + 1, start, rows, wanted.data(), 5, rows, bytes.data());
    CHECK(bytes == chosen);
  }
}

}  // namespace

void test_packing() {
  for (std::int64_t rows : {0, 1, 7, 63, 64, 65, 130}) {
    for (std::int64_t columns : {0, 1, 63, 64, 65, 127, 128, 129}) test_round_trip(rows, columns);
  }
  test_round_trip(65, 1020);
  test_round_trip(1020, 65);
  for (std::int64_t rows : {1, 64, 70}) {
    for (std::int64_t columns : {1, 64, 129}) {
      test_bad_alleles(rows, columns);
      test_gather(rows, columns);
    }
  }
  test_gather(300, 129);
}

}  // namespace snvrag::testing
