// Fibers: stacks that are switched on one CPU thread.
#pragma once

#include <cstddef>
#include <memory>

namespace cuda_emulator {

class Fiber {
 public:
  Fiber();                          // the code that runs now, on its own stack
  explicit Fiber(void (*entry)());  // a fiber not started yet; entry must never return
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  // Continues `to`, until something switches back to `from`, which must be running now.
  static void switch_to(Fiber& from, Fiber& to);

 private:
  struct Context;
  static void begin();
  static void arrive(Fiber& self);

  std::unique_ptr<char[]> stack_;
  std::unique_ptr<Context> context_;
  void (*entry_)() = nullptr;
  const void* bottom_ = nullptr;  // of the stack; of the first fiber's, once it was left
  std::size_t size_ = 0;
  void* fake_stack_ = nullptr;  // the address sanitizer's
  void* tsan_fiber_ = nullptr;
};

}  // namespace cuda_emulator
