// Runs CUDA kernels on the CPU, so that tests and sanitizers see them where there is no GPU.
//
// The threads of a block are fibers of one thread of the CPU: each runs until a barrier, and a
// barrier opens when all have come. That is deterministic, as fast as switching stacks is, and
// knows who waits where, so a barrier that some threads never reach is reported instead of awaited.
// What a missing barrier would do depends on the order of the threads between two barriers; an
// order can be chosen, and `mixed` changes it at each. Built for the thread sanitizer, each fiber
// is a thread to it, and barriers alone order them: it then reports every race within a block.
//
// Not emulated: memory spaces (any pointer of the host may be used; give buffers of their exact
// size to the address sanitizer), the memory model between blocks, and time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "cuda_runtime_api.h"

namespace cuda_emulator {

// What CUDA calls undefined: a barrier that not all threads reach, or at different places.
class Fault : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

enum class Order { ascending, descending, mixed };

// Of the threads of a block between two barriers, and of the blocks of a launch.
void set_order(Order order);

// Puts off the work until run(), and can do it again, as a CUDA graph would: an entry point that
// waits for its own results, or that keeps state on the host, is found out. The null stream works
// at once.
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

// --- what kernels see ----------------------------------------------------------------------------

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

// Exactly the bytes of the launch, 16-byte aligned; every block finds garbage in them.
void* dynamic_shared_memory();

void wait_for_block(const char* file, int line);
void wait_for_warp(unsigned lanes);

// A collective is bring(), wait_for_warp(), brought_by() for the lanes wanted, and wait_for_warp()
// again: nobody brings the next value before all have taken this one.
void bring(std::uint64_t value);
std::uint64_t brought_by(unsigned lane);
unsigned own_lane();

// Checks the configuration against the limits of all devices.
cudaError_t launch(const cudaLaunchConfig_t& config, const std::function<void()>& kernel);

}  // namespace cuda_emulator
