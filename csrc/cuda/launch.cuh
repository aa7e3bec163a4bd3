// Kernel launches, and arithmetic that all kernels need.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <limits>

#include "cuda_api.hpp"

namespace snvrag::cuda {

template <class T>
__host__ __device__ constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}

template <class T>
__host__ __device__ constexpr T larger(T a, T b) {
  return a < b ? b : a;
}

template <class T>
__host__ __device__ constexpr T ceil_divide(T a, T b) {
  return (a + b - 1) / b;
}

template <class T>
__host__ __device__ constexpr T round_up(T a, T multiple) {
  return ceil_divide(a, multiple) * multiple;
}

// The dynamic shared memory of a block, 16-byte aligned.
template <class T>
__device__ T* dynamic_shared() {
#if defined(SNVRAG_CUDA_EMULATOR)  // csrc/tests/cuda_emulator
  return static_cast<T*>(cuda_emulator::dynamic_shared_memory());
#else
  extern __shared__ uint4 snvrag_dynamic_shared[];
  return reinterpret_cast<T*>(snvrag_dynamic_shared);
#endif
}

// The status comes from the launch itself: cudaGetLastError might return another library's error.
template <class... Parameters, class... Arguments>
void launch(const char* what, void (*kernel)(Parameters...), std::int64_t num_blocks,
            int num_threads, std::size_t shared_bytes, cudaStream_t stream,
            Arguments... arguments) {
  if (num_blocks == 0) return;
  if (num_blocks > std::numeric_limits<int>::max()) check(cudaErrorInvalidConfiguration, what);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(num_blocks));
  config.blockDim = dim3(static_cast<unsigned>(num_threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), what);
}

}  // namespace snvrag::cuda
