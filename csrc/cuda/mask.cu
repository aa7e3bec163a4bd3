// AF-guided masks: the device twins of the CPU kernels, equal to them bit for bit.
#include "cuda_api.hpp"
#include "launch.cuh"
#include "snvrag/philox.hpp"

namespace snvrag::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kDraws = 4;  // words of a Philox block

// Comparisons of doubles and an exact scaling: the compiler has nothing to contract, and the result
// is the CPU's. A frequency of NaN counts as common.
__device__ bool is_hidden(double uniform, double frequency, const MaskRates& rates) {
  return uniform < (frequency < rates.rare_threshold ? rates.rare_rate : rates.rate);
}

// `blocks_per_window` thread blocks share a window; a thread computes entire Philox blocks.
__global__ void __launch_bounds__(kThreads)
    mask_windows(MaskWindows windows, MaskRates rates, std::int64_t blocks_per_window,
                 std::uint8_t* mask) {
  const std::int64_t window = blockIdx.x / blocks_per_window;
  const std::int64_t start = windows.starts[window], stop = windows.stops[window];
  if (start < 0 || stop > windows.num_sites) return;
  const PhiloxKey key =
      mask_key(rates.seed, windows.first_window + static_cast<std::uint64_t>(window));
  const std::int64_t first = blockIdx.x % blocks_per_window * kThreads + threadIdx.x;
  for (std::int64_t block = first; start + block * kDraws < stop;
       block += blocks_per_window * kThreads) {
    const PhiloxBlock counter = {{static_cast<std::uint64_t>(block) + 1, 0, 0, 0}};
    const PhiloxBlock draws = philox4x64(counter, key);
#pragma unroll
    for (int i = 0; i < kDraws; ++i) {
      const std::int64_t site = start + block * kDraws + i;
      if (site >= stop) break;
      mask[site] = is_hidden(unit_double(draws.word[i]), windows.af[site], rates);
    }
  }
}

constexpr int kState = 624;  // words of a Mersenne Twister
constexpr int kFar = 397;
constexpr int kTwisterThreads = 256;  // at least kState - kFar, which are twisted together

// Replaces words [first, last) of the state, at most kState - kFar of them. Each depends on two
// words of before and on one that is not among these; all are read before one is written.
__device__ void twist(std::uint32_t* state, int first, int last) {
  const int i = first + static_cast<int>(threadIdx.x);
  std::uint32_t word = 0;
  if (i < last) {
    const std::uint32_t bits =
        (state[i] & 0x80000000u) | (state[i + 1 < kState ? i + 1 : 0] & 0x7fffffffu);
    word = state[i < kState - kFar ? i + kFar : i - (kState - kFar)] ^ (bits >> 1) ^
           ((bits & 1) * 0x9908b0dfu);
  }
  __syncthreads();
  if (i < last) state[i] = word;
  __syncthreads();
}

__device__ std::uint32_t temper(std::uint32_t word) {
  word ^= word >> 11;
  word ^= (word << 7) & 0x9d2c5680u;
  word ^= (word << 15) & 0xefc60000u;
  return word ^ (word >> 18);
}

// A thread block draws a window from numpy.random.RandomState: MT19937 (Matsumoto and Nishimura,
// ACM TOMACS 8, 1998), seeded by its init_genrand, whose doubles take 27 and 26 bits of two words.
__global__ void __launch_bounds__(kTwisterThreads)
    twister_windows(MaskWindows windows, MaskRates rates, std::uint8_t* mask) {
  __shared__ std::uint32_t state[kState];
  const std::int64_t start = windows.starts[blockIdx.x], stop = windows.stops[blockIdx.x];
  if (start < 0 || stop > windows.num_sites) return;
  if (threadIdx.x == 0) {
    auto word = static_cast<std::uint32_t>(rates.seed * 10000u + windows.first_window + blockIdx.x);
    for (int i = 0; i < kState; ++i) {
      state[i] = word;
      word = 1812433253u * (word ^ (word >> 30)) + static_cast<std::uint32_t>(i + 1);
    }
  }
  __syncthreads();
  for (std::int64_t first = start; first < stop; first += kState / 2) {
    twist(state, 0, kState - kFar);
    twist(state, kState - kFar, 2 * (kState - kFar));
    twist(state, 2 * (kState - kFar), kState);
    for (int draw = static_cast<int>(threadIdx.x); draw < kState / 2; draw += kTwisterThreads) {
      const std::int64_t site = first + draw;
      if (site >= stop) break;
      const std::uint64_t high = temper(state[2 * draw]) >> 5;
      const std::uint64_t bits = (high << 26) | (temper(state[2 * draw + 1]) >> 6);
      mask[site] = is_hidden(unit_double(bits << 11), windows.af[site], rates);
    }
    __syncthreads();
  }
}

}  // namespace

std::vector<int> compiled_architectures() {
  std::vector<int> architectures;
  for (int architecture : {__CUDA_ARCH_LIST__}) architectures.push_back(architecture / 10);
  return architectures;
}

void af_guided_masks(const MaskWindows& windows, const MaskRates& rates, std::uint8_t* mask,
                     cudaStream_t stream) {
  if (windows.num_sites == 0) return;
  check(cudaMemsetAsync(mask, 0, static_cast<std::size_t>(windows.num_sites), stream),
        "af_guided_masks");
  if (windows.num_windows == 0) return;
  if (rates.mersenne_twister) {
    launch("af_guided_masks", twister_windows, windows.num_windows, kTwisterThreads, 0, stream,
           windows, rates, mask);
    return;
  }
  // Enough threads for windows of the average length, but not too many for few, long ones.
  const std::int64_t average = ceil_divide(windows.num_sites, windows.num_windows);
  const std::int64_t blocks_per_window =
      smaller<std::int64_t>(ceil_divide<std::int64_t>(average, kThreads * kDraws), 1024);
  launch("af_guided_masks", mask_windows, windows.num_windows * blocks_per_window, kThreads, 0,
         stream, windows, rates, blocks_per_window, mask);
}

}  // namespace snvrag::cuda
