// The emulator itself: the properties that tests of kernels rely on.
#include <cstdint>
#include <string>
#include <vector>

#include "launch.cuh"
#include "testing.hpp"

namespace {

using namespace snvrag::testing;
using cuda_emulator::Fault;
using cuda_emulator::Order;
using snvrag::cuda::launch;

// Each thread passes its number to the preceding one; without the barrier, some orders fail.
__global__ void hand_on(unsigned* out, bool with_barrier) {
  auto* hands = snvrag::cuda::dynamic_shared<unsigned>();
  hands[threadIdx.x] = blockIdx.x * blockDim.x + threadIdx.x;
  if (with_barrier) __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = hands[(threadIdx.x + 1) % blockDim.x];
}

bool handed_on(bool with_barrier) {
  Buffer<unsigned> out(3 * 96);
  launch("hand_on", hand_on, 3, 96, 96 * sizeof(unsigned), nullptr, out.data(), with_barrier);
  bool right = true;
  for (unsigned i = 0; i < 3 * 96; ++i) right &= out[i] == i / 96 * 96 + (i % 96 + 1) % 96;
  return right;
}

__global__ void reverse_warps(std::uint64_t* values) {
  std::uint64_t value = values[threadIdx.x];
  for (int step = 16; step > 0; step /= 2) value = __shfl_xor_sync(0xffffffffu, value, step);
  values[threadIdx.x] = value;
}

__global__ void count_blocks(unsigned* count) {
  __shared__ unsigned mine;
  if (threadIdx.x == 0) mine = atomicAdd(count, 1u);
  __syncthreads();
  if (mine >= gridDim.x) count[1 + threadIdx.x] = 1;  // out of bounds, if it ever were
}

enum class Mistake { none, early_end, two_places, half_a_warp };

__global__ void make_mistake(Mistake mistake) {
  if (mistake == Mistake::early_end && threadIdx.x == 40) return;
  if (mistake == Mistake::half_a_warp && threadIdx.x % 32 < 16) __syncwarp();
  if (mistake == Mistake::two_places && threadIdx.x >= 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

std::string fault_of(Mistake mistake) {
  try {
    launch("make_mistake", make_mistake, 1, 64, 0, nullptr, mistake);
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}

bool refuses(std::int64_t num_blocks, int num_threads, std::size_t shared_bytes) {
  try {
    launch("make_mistake", make_mistake, num_blocks, num_threads, shared_bytes, nullptr,
           Mistake::none);
  } catch (const snvrag::cuda::CudaError&) {
    return true;
  }
  return false;
}

}  // namespace

void test_cuda_emulator() {
  for (Order order : {Order::ascending, Order::descending, Order::mixed}) {
    cuda_emulator::set_order(order);
    CHECK(handed_on(true));
#if !defined(__SANITIZE_THREAD__)  // which would report it
    CHECK(!handed_on(false));
#endif
    Buffer<std::uint64_t> values(64);
    for (std::int64_t i = 0; i < 64; ++i) values[i] = static_cast<std::uint64_t>(i) << 40;
    launch("reverse_warps", reverse_warps, 1, 64, 0, nullptr, values.data());
    for (std::int64_t i = 0; i < 64; ++i) {
      CHECK(values[i] == static_cast<std::uint64_t>(i / 32 * 32 + 31 - i % 32) << 40);
    }
    Buffer<unsigned> count(1);
    launch("count_blocks", count_blocks, 7, 32, 0, nullptr, count.data());
    CHECK(count[0] == 7);

    CHECK(fault_of(Mistake::none).empty());
    CHECK(fault_of(Mistake::early_end).find("thread 40 has ended") != std::string::npos);
    CHECK(fault_of(Mistake::two_places).find("but thread 32 waits at") != std::string::npos);
    CHECK(fault_of(Mistake::half_a_warp).find("lanes of its warp") != std::string::npos);
    CHECK(fault_of(Mistake::none).empty());
  }
  CHECK(refuses(1, 1025, 0) && refuses(1, 32, (48 << 10) + 1) &&
        refuses(std::int64_t{1} << 31, 1, 0));

  cuda_emulator::Stream stream;
  Buffer<unsigned> count(1);
  launch("count_blocks", count_blocks, 7, 32, 0, stream.handle(), count.data());
  CHECK(stream.size() == 1 && count[0] == 0);
  stream.run();
  CHECK(count[0] == 7);
}
