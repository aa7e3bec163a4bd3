// AF-guided masks: the device twin of the Philox kernel, equal to it bit for bit.
#include "cuda_api.hpp"
#include "launch.cuh"
#include "snvrag/philox.hpp"

namespace snvrag::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kDraws = 4;  // of a Philox block

// A window is shared by `blocks_per_window` thread blocks; a thread takes whole Philox blocks.
__global__ void __launch_bounds__(kThreads)
    mask_windows(const double* af, std::int64_t num_sites, const std::int64_t* starts,
                 const std::int64_t* stops, std::int64_t blocks_per_window, MaskRule rule,
                 std::uint8_t* mask) {
  const std::int64_t window = blockIdx.x / blocks_per_window;
  const std::int64_t start = starts[window], stop = stops[window];
  if (start < 0 || stop > num_sites) return;
  const PhiloxKey key = mask_key(rule.seed, rule.first_window + static_cast<std::uint64_t>(window));
  const std::int64_t first = blockIdx.x % blocks_per_window * kThreads + threadIdx.x;
  for (std::int64_t block = first; start + block * kDraws < stop;
       block += blocks_per_window * kThreads) {
    const PhiloxBlock counter = {{static_cast<std::uint64_t>(block) + 1, 0, 0, 0}};
    const PhiloxBlock draws = philox4x64(counter, key);
#pragma unroll
    for (int i = 0; i < kDraws; ++i) {
      const std::int64_t site = start + block * kDraws + i;
      if (site >= stop) break;
      // One comparison of two doubles and an exact scaling: nothing here can be contracted or
      // rounded otherwise than on the CPU. A frequency that is NaN counts as common there, too.
      const double hidden_share = af[site] < rule.rare_threshold ? rule.rare_rate : rule.rate;
      mask[site] = unit_double(draws.word[i]) < hidden_share;
    }
  }
}

}  // namespace

std::vector<int> compiled_architectures() {
  std::vector<int> architectures;
  for (int architecture : {__CUDA_ARCH_LIST__}) architectures.push_back(architecture / 10);
  return architectures;
}

void af_guided_masks(const double* af, std::int64_t num_sites, const std::int64_t* starts,
                     const std::int64_t* stops, std::int64_t num_windows, const MaskRule& rule,
                     std::uint8_t* mask, cudaStream_t stream) {
  if (num_sites == 0) return;
  check(cudaMemsetAsync(mask, 0, static_cast<std::size_t>(num_sites), stream), "af_guided_masks");
  if (num_windows == 0) return;
  // Enough threads for windows of the average length, and a limit for few, long ones.
  const std::int64_t sites_per_block = kThreads * kDraws;
  const std::int64_t blocks_per_window = smaller<std::int64_t>(
      ceil_divide(ceil_divide(num_sites, num_windows), sites_per_block), 1024);
  launch("af_guided_masks", mask_windows, num_windows * blocks_per_window, kThreads, 0, stream, af,
         num_sites, starts, stops, blocks_per_window, rule, mask);
}

}  // namespace snvrag::cuda
