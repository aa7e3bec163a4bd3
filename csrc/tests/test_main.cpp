// Tests of the C++ library by itself, for the sanitizers: every kernel against a naive loop, at
// every instruction set.
//
// Arrays are heap buffers of exactly their size, so that the address sanitizer detects any access
// past the end. The first argument names the known answers of Philox, tests/kat/philox4x64_10.txt.
#include <cstdio>

#include "snvrag/simd.hpp"
#include "testing.hpp"

using namespace snvrag::testing;

int main(int argc, char** argv) {
  test_bits(argc > 1 ? argv[1] : nullptr);
  for (snvrag::SimdLevel level : snvrag::available_simd_levels()) {
    snvrag::set_simd_level(snvrag::simd_level_name(level));
    const int before = passed + failed;
    test_genotypes();
    test_packing();
    test_hamming();
    test_head();
    test_imputed_text();
    test_l2();
    test_li_stephens();
    test_states();
    test_evidence();
    test_phasings();
    std::printf("%s: %d checks\n", snvrag::simd_level_name(level), passed + failed - before);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
