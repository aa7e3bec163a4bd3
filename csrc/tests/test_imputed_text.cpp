#include <string>
#include <vector>

#include "snvrag/imputed_text.hpp"
#include "testing.hpp"

namespace snvrag::testing {
namespace {

std::string cells(const std::vector<std::uint16_t>& hap_dosage, std::vector<char> is_haploid) {
  const std::int64_t n = static_cast<std::int64_t>(is_haploid.size());
  std::vector<char> out(static_cast<std::size_t>(n * kMaxCellBytes));
  ImputedDosages dosages;
  dosages.num_samples = n;
  dosages.hap_dosage = hap_dosage.data();
  dosages.haploid = reinterpret_cast<const bool*>(is_haploid.data());
  char* end = write_cells(dosages, 0, out.data());
  return end == nullptr ? "too large" : std::string(out.data(), end);
}

}  // namespace

void test_imputed_text() {
  CHECK(
      cells({0, 0, 1, 1000, 12, 340}, {0, 0, 0}) ==
      "\t0|0:0:0,0:1,0,0\t0|1:1.001:0.001,1:0,0.999,0.001\t0|0:0.352:0.012,0.34:0.652,0.344,0.004");
  CHECK(cells({500, 9, 501, 0}, {1, 1}) == "\t0:0.5:0.5:0.5,0.5\t1:0.501:0.501:0.499,0.501");
  CHECK(cells({0, 1001}, {0}) == "too large");
  // The longest cells fill the room that each has, and no more.
  for (std::uint16_t first = 0; first <= 1000; first += 9) {
    for (std::uint16_t second = 1; second <= 1000; second += 7) cells({first, second}, {0});
  }
}

}  // namespace snvrag::testing
