// CUDA C++ as plain C++: the built-ins of nvcc and the parts of its cuda_runtime.h that csrc/cuda
// uses. The semantics of threads, barriers and warps are in emulator.hpp.
#pragma once

#include <math.h>  // kernels call isnan, fmaf, ... unqualified

#include <cstring>
#include <tuple>

#include "cuda_runtime_api.h"
#include "emulator.hpp"

// No machine code for any device.
#define __CUDA_ARCH_LIST__ 0

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(threads)
#define __align__(bytes) __attribute__((aligned(bytes)))
// Blocks run one after another, so one copy is enough; as on a device, it keeps the values of the
// preceding block.
#define __shared__ static

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) ulonglong2 {
  unsigned long long x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

using cuda_emulator::blockDim;
using cuda_emulator::blockIdx;
using cuda_emulator::gridDim;
using cuda_emulator::threadIdx;

// --- barriers and warps --------------------------------------------------------------------------

#define __syncthreads() cuda_emulator::wait_for_block(__FILE__, __LINE__)
#define __syncwarp() cuda_emulator::wait_for_warp(0xffffffffu)

template <class T>
T __shfl_xor_sync(unsigned lanes, T value, int lane_mask) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t), "what a lane brings");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  cuda_emulator::bring(bits);
  cuda_emulator::wait_for_warp(lanes);
  bits = cuda_emulator::brought_by(cuda_emulator::own_lane() ^ static_cast<unsigned>(lane_mask));
  cuda_emulator::wait_for_warp(lanes);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline unsigned __ballot_sync(unsigned lanes, int predicate) {
  cuda_emulator::bring(predicate != 0);
  cuda_emulator::wait_for_warp(lanes);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((lanes >> lane & 1) != 0 && cuda_emulator::brought_by(lane) != 0) votes |= 1u << lane;
  }
  cuda_emulator::wait_for_warp(lanes);
  return votes;
}

// --- atomics -------------------------------------------------------------------------------------
// Threads are never interrupted; __atomic marks these for the thread sanitizer as no race.

template <class T>
T atomicAdd(T* place, T value) {
  return __atomic_fetch_add(place, value, __ATOMIC_RELAXED);
}

template <class T>
T atomicMin(T* place, T value) {
  T old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (value < old && !__atomic_compare_exchange_n(place, &old, value, false, __ATOMIC_RELAXED,
                                                     __ATOMIC_RELAXED)) {
  }
  return old;
}

// --- intrinsics ----------------------------------------------------------------------------------

inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// --- launches ------------------------------------------------------------------------------------

// As in CUDA, arguments are copied at the launch, and pointers are read when the stream runs it.
template <class... Parameters>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Parameters... arguments) {
  const auto copies = std::make_tuple(arguments...);
  return cuda_emulator::launch(*config, [kernel, copies] { std::apply(kernel, copies); });
}
