// What the tests of the CUDA kernels share. Pointers of the host are device pointers here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "testing.hpp"

namespace snvrag::testing {

using Floats = Buffer<float>;
using Indices = Buffer<std::int64_t>;

inline constexpr std::size_t kBlockBytes = 1 << 26;

// What a search answers, filled with what no search does.
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
