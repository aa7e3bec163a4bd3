// Helpers of the tests of the CUDA kernels. Host pointers serve as device pointers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "testing.hpp"

namespace snvrag::testing {

using Floats = Buffer<float>;
using Indices = Buffer<std::int64_t>;

inline constexpr std::size_t kBlockBytes = 1 << 26;

// The answer of a search, initialised with values that no search gives.
template <class Distance>
struct Found {
  Buffer<Distance> distances;
  Indices indices;

  explicit Found(std::int64_t n) : distances(n, Distance{-7}), indices(n, -7) {}
  bool operator==(const Found& other) const {
    return distances == other.distances && indices == other.indices;
  }
};

}  // namespace snvrag::testing

void test_cuda_emulator();
void test_cuda_hamming();
void test_cuda_weighted();
