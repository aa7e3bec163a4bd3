// Genotypes in BCF's coding, one of every kind.
#include "snvrag/genotypes.hpp"

#include <algorithm>
#include <cstdint>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

void test_every_kind_of_call() {
  // 32 plain calls, which are read at once, then one of every kind; (allele + 1) << 1 | phased.
  constexpr std::int32_t kEnd = kNoAllele;
  const std::int32_t rows[][2] = {{2, 3}, {2, 5},    {4, 4}, {4, 2}, {2, 4},
                                  {0, 2}, {4, kEnd}, {0, 0}, {6, 5}, {1, kEnd}};
  const std::int64_t n = 42;
  Buffer<std::int32_t> codes(2 * n, 3);
  codes[2] = 5;
  codes[63] = 4;
  for (std::int64_t i = 0; i < 20; ++i) codes[64 + i] = rows[i / 2][i % 2];
  Bytes ploidy(n, 0);
  std::fill(ploidy.begin(), ploidy.begin() + 32, std::uint8_t{2});
  ploidy[38] = 2;
  Words alleles(2, 77), missing(2, 77), unphased(1, 77);
  const GenotypeSummary got = read_genotypes(codes.data(), n, 2, ploidy.data(), alleles.data(),
                                             missing.data(), unphased.data());
  CHECK(got.first_unphased == 31 && got.num_unphased == 3);
  CHECK(got.first_changed == 38 && got.first_polyploid == -1);
  CHECK(got.num_missing == 3);
  CHECK(got.highest_allele == 2);
  CHECK(alleles[0] == 0x8000000000000004u && missing[0] == 0);
  CHECK(alleles[1] == 0x31278u);
  CHECK(missing[1] == 0xcc400u);
  CHECK(unphased[0] == 0x3880000000u);
  CHECK(ploidy[32] == 2 && ploidy[38] == 2 && ploidy[39] == 0 && ploidy[41] == 0);
  const GenotypeSummary none = read_genotypes(nullptr, 0, 2, nullptr, nullptr, nullptr, nullptr);
  CHECK(none.first_unphased == -1 && none.first_changed == -1 && none.num_missing == 0);
}

}  // namespace

void test_genotypes() { test_every_kind_of_call(); }

}  // namespace snvrag::testing
