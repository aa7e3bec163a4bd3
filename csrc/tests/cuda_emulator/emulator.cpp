#include "emulator.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>

#include "fiber.hpp"

#if defined(SNVRAG_THREAD_SANITIZER)
#include <sanitizer/tsan_interface.h>
#endif

struct CUstream_st {
  std::vector<std::function<void()>> work;
};

namespace cuda_emulator {

dim3 threadIdx(0), blockIdx(0), blockDim, gridDim;

namespace {

constexpr unsigned kWarpSize = 32;
constexpr unsigned kMostThreads = 1024;             // of a block
constexpr unsigned kMostBlocks = 0x7fffffff;        // along x
constexpr std::size_t kMostSharedBytes = 48 << 10;  // without asking for more
constexpr unsigned char kGarbage = 0xa5;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Thread {
  explicit Thread(void (*entry)()) : fiber(entry) {}
  Fiber fiber;
  State state = State::done;
  const char* file = nullptr;  // where the thread waits
  int line = 0;
  unsigned lanes = 0;         // the lanes it waits for
  std::uint64_t brought = 0;  // to its warp
};

Order order = Order::ascending;
unsigned num_orders = 0;  // made since the launch

std::unique_ptr<Fiber> scheduler;
std::vector<std::unique_ptr<Thread>> threads;  // kept from block to block
const std::function<void()>* body = nullptr;
char* dynamic_shared = nullptr;

// Synchronisation as the thread sanitizer sees it: waiting threads release to the scheduler, and
// acquire from it when they continue. Two objects, because one would also order a thread that
// continues before another that has already reached the next barrier.
char waiting, going_on;
void release([[maybe_unused]] char& place) {
#if defined(SNVRAG_THREAD_SANITIZER)
  __tsan_release(&place);
#endif
}
void acquire([[maybe_unused]] char& place) {
#if defined(SNVRAG_THREAD_SANITIZER)
  __tsan_acquire(&place);
#endif
}

Thread& current() { return *threads[threadIdx.x]; }

// To the scheduler and back.
void suspend(State state) {
  Thread& thread = current();
  thread.state = state;
  release(waiting);
  Fiber::switch_to(thread.fiber, *scheduler);
  acquire(going_on);
}

void run_threads() {
  acquire(going_on);
  for (;;) {
    (*body)();
    suspend(State::done);
  }
}

// Calls visit(0), ..., visit(n - 1) in the chosen order.
template <class Visit>
void in_order(unsigned n, Visit visit) {
  if (order == Order::mixed) {
    // A start, and a step coprime to n, which differ each time.
    ++num_orders;
    const std::uint64_t start = num_orders * 0x9E3779B9u % n;
    std::uint64_t step = num_orders * 0x85EBCA6Bu % n;
    while (std::gcd<std::uint64_t>(step, n) != 1) ++step;
    for (unsigned i = 0; i < n; ++i) visit(static_cast<unsigned>((start + i * step) % n));
  } else {
    for (unsigned i = 0; i < n; ++i) visit(order == Order::ascending ? i : n - 1 - i);
  }
}

// Continues the warps whose lanes have all arrived; returns whether there was one.
bool open_warp_barriers(unsigned num_threads) {
  bool opened = false;
  for (unsigned first = 0; first < num_threads; first += kWarpSize) {
    const unsigned last = std::min(first + kWarpSize, num_threads);
    for (unsigned i = first; i < last; ++i) {
      if (threads[i]->state != State::at_warp_barrier) continue;
      const unsigned lanes = threads[i]->lanes;
      bool complete = (lanes >> (i - first) & 1) != 0;
      for (unsigned lane = 0; lane < kWarpSize && complete; ++lane) {
        if ((lanes >> lane & 1) == 0) continue;
        complete = first + lane < last && threads[first + lane]->state == State::at_warp_barrier &&
                   threads[first + lane]->lanes == lanes;
      }
      if (!complete) continue;
      for (unsigned lane = 0; lane < kWarpSize; ++lane) {
        if ((lanes >> lane & 1) != 0) threads[first + lane]->state = State::ready;
      }
      opened = true;
    }
  }
  return opened;
}

std::string describe(unsigned i) {
  const Thread& thread = *threads[i];
  const std::string name = "thread " + std::to_string(i);
  switch (thread.state) {
    case State::at_block_barrier:
      return name + " waits at " + thread.file + ":" + std::to_string(thread.line);
    case State::at_warp_barrier:
      return name + " waits for lanes of its warp";
    default:
      return name + " has ended";
  }
}

// Fails unless all threads wait for the block at one place.
void open_block_barrier(unsigned num_threads) {
  const Thread& first = *threads[0];
  for (unsigned i = 0; i < num_threads; ++i) {
    const Thread& thread = *threads[i];
    if (thread.state == State::at_block_barrier && thread.state == first.state &&
        thread.line == first.line && std::strcmp(thread.file, first.file) == 0) {
      continue;
    }
    const std::string what = "block " + std::to_string(blockIdx.x) + ": " + describe(0) +
                             (i == 0 ? "" : ", but " + describe(i));
    threads.clear();  // suspended for ever
    throw Fault(what);
  }
  for (unsigned i = 0; i < num_threads; ++i) threads[i]->state = State::ready;
}

void run_block(unsigned num_threads) {
  for (unsigned i = 0; i < num_threads; ++i) threads[i]->state = State::ready;
  for (;;) {
    release(going_on);
    in_order(num_threads, [](unsigned i) {
      if (threads[i]->state != State::ready) return;
      threadIdx.x = i;
      Fiber::switch_to(*scheduler, threads[i]->fiber);
    });
    acquire(waiting);
    if (open_warp_barriers(num_threads)) continue;
    const bool done = std::all_of(threads.begin(), threads.begin() + num_threads,
                                  [](const auto& thread) { return thread->state == State::done; });
    if (done) return;
    open_block_barrier(num_threads);
  }
}

void run_grid(const cudaLaunchConfig_t& config, const std::function<void()>& kernel) {
  if (scheduler == nullptr) scheduler = std::make_unique<Fiber>();
  const unsigned num_threads = config.blockDim.x;
  while (threads.size() < num_threads) threads.push_back(std::make_unique<Thread>(run_threads));
  const std::unique_ptr<char[]> shared(new char[config.dynamicSmemBytes]);
  dynamic_shared = shared.get();
  body = &kernel;
  blockDim = config.blockDim;
  gridDim = config.gridDim;
  num_orders = 0;
  in_order(gridDim.x, [&](unsigned block) {
    std::memset(dynamic_shared, kGarbage, config.dynamicSmemBytes);
    blockIdx.x = block;
    run_block(num_threads);
  });
}

void put(cudaStream_t stream, std::function<void()> work) {
  if (stream == nullptr) {
    work();
  } else {
    stream->work.push_back(std::move(work));
  }
}

}  // namespace

void set_order(Order chosen) { order = chosen; }

Stream::Stream() : stream_(new CUstream_st) {}
Stream::~Stream() { delete stream_; }
std::size_t Stream::size() const { return stream_->work.size(); }
void Stream::run() {
  for (const std::function<void()>& work : stream_->work) work();
}

void* dynamic_shared_memory() { return dynamic_shared; }

void wait_for_block(const char* file, int line) {
  current().file = file;
  current().line = line;
  suspend(State::at_block_barrier);
}

void wait_for_warp(unsigned lanes) {
  current().lanes = lanes;
  suspend(State::at_warp_barrier);
}

void bring(std::uint64_t value) { current().brought = value; }

std::uint64_t brought_by(unsigned lane) {
  return threads[threadIdx.x / kWarpSize * kWarpSize + lane]->brought;
}

unsigned own_lane() { return threadIdx.x % kWarpSize; }

cudaError_t launch(const cudaLaunchConfig_t& config, const std::function<void()>& kernel) {
  const bool flat = config.gridDim.y == 1 && config.gridDim.z == 1 && config.blockDim.y == 1 &&
                    config.blockDim.z == 1;  // the kernels here are
  if (!flat || config.gridDim.x - 1 >= kMostBlocks || config.blockDim.x - 1 >= kMostThreads) {
    return cudaErrorInvalidConfiguration;
  }
  if (config.dynamicSmemBytes > kMostSharedBytes) return cudaErrorInvalidValue;
  put(config.stream, [config, kernel] { run_grid(config, kernel); });
  return cudaSuccess;
}

}  // namespace cuda_emulator

// --- the runtime ---------------------------------------------------------------------------------

const char* cudaGetErrorName(cudaError_t status) {
  switch (status) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
  }
  return "unknown";
}

const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaSuccess ? "no error" : "refused by the emulator";
}

cudaError_t cudaMemsetAsync(void* memory, int byte, std::size_t size, cudaStream_t stream) {
  cuda_emulator::put(stream, [=] { std::memset(memory, byte, size); });
  return cudaSuccess;
}
