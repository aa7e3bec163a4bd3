// AF-guided masks: the device twin of the Philox kernel, equal to it bit for bit.
#include "cuda_api.hpp"
#include "launch.cuh"
#include "snvrag/philox.hpp"

namespace snvrag::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kDraws = 4;  // words of a Philox block

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
      // Comparisons of doubles and an exact scaling: the compiler has nothing to contract, and the
      // result is the CPU's. A frequency of NaN counts as common.
      const double rate = windows.af[site] < rates.rare_threshold ? rates.rare_rate : rates.rate;
      mask[site] = unit_double(draws.word[i]) < rate;
    }
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
  // Enough threads for windows of the average length, but not too many for few, long ones.
  const std::int64_t average = ceil_divide(windows.num_sites, windows.num_windows);
  const std::int64_t blocks_per_window =
      smaller<std::int64_t>(ceil_divide<std::int64_t>(average, kThreads * kDraws), 1024);
  launch("af_guided_masks", mask_windows, windows.num_windows * blocks_per_window, kThreads, 0,
         stream, windows, rates, blocks_per_window, mask);
}

}  // namespace snvrag::cuda
