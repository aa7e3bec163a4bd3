#include <limits>
#include <string>
#include <vector>

#include "snvrag/imputed_text.hpp"
#include "testing.hpp"

namespace snvrag::testing {
namespace {

std::string cells(const std::vector<std::uint16_t>& hap_dosage, std::vector<char> is_haploid,
                  const std::uint16_t* hom_alt = nullptr, const std::int32_t* phase_set = nullptr) {
  const std::int64_t n = static_cast<std::int64_t>(is_haploid.size());
  std::vector<char> out(static_cast<std::size_t>(n * kMaxCellBytes));
  ImputedDosages dosages;
  dosages.num_samples = n;
  dosages.hap_dosage = hap_dosage.data();
  dosages.haploid = reinterpret_cast<const bool*>(is_haploid.data());
  dosages.hom_alt = hom_alt;
  dosages.phase_set = phase_set;
  char* end = write_cells(dosages, 0, out.data());
  return end == nullptr ? "too large" : std::string(out.data(), end);
}

void test_phased_cells() {
  // Of two records; the first samples end a word, and the last one begins another.
  constexpr std::int64_t n = 33;
  Words alleles(4, 0), missing(4, 0);
  Buffer<std::int32_t> phase_set(2 * n, 0);
  Buffer<bool> haploid(n, false);
  Buffer<char> out(n * kMaxPhasedCellBytes);
  haploid[31] = true;
  alleles[2] = std::uint64_t{2} << 60 | std::uint64_t{1} << 62;
  alleles[3] = 1;
  missing[3] = 2;
  phase_set[n + 30] = std::numeric_limits<std::int32_t>::max();
  phase_set[n + 32] = 7;
  PhasedGenotypes genotypes{n, alleles.data(), missing.data(), haploid.data(), phase_set.data()};
  char* end = write_phased_cells(genotypes, 1, out.data());
  const std::string text(out.data(), end);
  CHECK(text.substr(0, 12) == "\t0|0:.\t0|0:.");
  CHECK(text.substr(30 * 6) == "\t0|1:2147483647\t1:.\t1|.:7");
  phase_set[n] = -1;
  CHECK(write_phased_cells(genotypes, 1, out.data()) == nullptr);
}

}  // namespace

void test_imputed_text() {
  CHECK(
      cells({0, 0, 1, 1000, 12, 340}, {0, 0, 0}) ==
      "\t0|0:0:0,0:1,0,0\t0|1:1.001:0.001,1:0,0.999,0.001\t0|0:0.352:0.012,0.34:0.652,0.344,0.004");
  CHECK(cells({500, 9, 501, 0}, {1, 1}) == "\t0:0.5:0.5:0.5,0.5\t1:0.501:0.501:0.499,0.501");
  CHECK(cells({0, 1001}, {0}) == "too large");
  // The longest cells fill the room that each has, and no more.
  const std::int32_t far = std::numeric_limits<std::int32_t>::max(), negative = -1;
  for (std::uint16_t first = 0; first <= 1000; first += 9) {
    for (std::uint16_t second = 1; second <= 1000; second += 7) {
      cells({first, second}, {0});
      const auto hom_alt = static_cast<std::uint16_t>(first + second);
      cells({first, second}, {0}, &hom_alt, &far);
    }
  }
  CHECK(cells({1, 2}, {0}, nullptr, &negative) == "too large");
  const std::uint16_t hom_alt[] = {kProduct, 200, 0, 900, 7};
  const std::int32_t phase_set[] = {0, 12, 9, 10, 0};
  CHECK(cells({500, 500, 500, 500, 700, 600, 400, 501, 300, 0}, {0, 0, 0, 0, 1}, hom_alt,
              phase_set) ==
        "\t1|0:1:0.5,0.5:0.25,0.5,0.25:.\t0|1:1:0.5,0.5:0.2,0.6,0.2:12"
        "\t1|0:1.3:0.7,0.6:0,0.7,0.3:9\t0|0:0.901:0.4,0.501:0.549,0.001,0.45:10"
        "\t0:0.3:0.3:0.7,0.3:.");
  test_phased_cells();
}

}  // namespace snvrag::testing
