// Runs CUDA kernels on the CPU, so that tests and sanitizers can check them without a GPU.
//
// The threads of a block are fibers of one CPU thread: each runs until a barrier, which opens when
// all have reached it. This is deterministic, as fast as switching stacks, and knows where each
// thread waits, so that a barrier which some threads never reach is reported. The effect of a
// missing barrier depends on the order of the threads between two barriers; the order can be
// chosen, and `mixed` changes it at each barrier. Under the thread sanitizer, each fiber is a
// thread and only barriers order them: it reports every race within a block.
//
// Not emulated: memory spaces (any host pointer may be used; allocate buffers of exact size for the
// address sanitizer), the memory model between blocks, and time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "cuda_runtime_api.h"

namespace cuda_emulator {

// Undefined behaviour in CUDA: a barrier that not all threads reach, or at different places.
class Fault : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

enum class Order { ascending, descending, mixed };

// The order of the threads of a block between two barriers, and of the blocks of a launch.
void set_order(Order order);

// Defers the work until run(), which may be repeated, like a CUDA graph: this detects an entry
// point that waits for its own results or keeps state on the host. The null stream works
// immediately.
class Stream {
 public:
  Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  cudaStream_t handle() const { return stream_; }
  std::size_t size() const;  // pieces of work
  void run();

 private:
  cudaStream_t stream_;
};

// --- the interface of kernels
// ----------------------------------------------------------------------------

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

// Exactly the bytes of the launch, 16-byte aligned; every block finds arbitrary values in them.
void* dynamic_shared_memory();

void wait_for_block(const char* file, int line);
void wait_for_warp(unsigned lanes);

// A collective is bring(), wait_for_warp(), brought_by() for the lanes wanted, and wait_for_warp()
// again: no lane brings its next value before all have taken this one.
void bring(std::uint64_t value);
std::uint64_t brought_by(unsigned lane);
unsigned own_lane();

// Checks the configuration against the limits of all devices.
cudaError_t launch(const cudaLaunchConfig_t& config, const std::function<void()>& kernel);

}  // namespace cuda_emulator
