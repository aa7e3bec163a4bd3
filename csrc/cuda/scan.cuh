// Prefix sums over the threads of a block.
#pragma once

#include "launch.cuh"

namespace snvrag::cuda {

// Returns the sum of `own` over the threads up to and including this one; sums[i] (shared memory,
// kThreads values) becomes thread i's sum. All threads of the block must call it, and pass a
// barrier before they write to `sums` again.
template <int kThreads>
__device__ unsigned inclusive_sum(unsigned own, unsigned* sums) {
  sums[threadIdx.x] = own;
  for (unsigned step = 1; step < kThreads; step *= 2) {
    __syncthreads();
    const unsigned left = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
    __syncthreads();
    sums[threadIdx.x] += left;
  }
  __syncthreads();
  return sums[threadIdx.x];
}

}  // namespace snvrag::cuda
