// Stacks of their own that take turns on one thread of the CPU.
#pragma once

#include <cstddef>
#include <memory>

namespace cuda_emulator {

class Fiber {
 public:
  Fiber();                          // what runs now, on the stack that it has
  explicit Fiber(void (*entry)());  // a fiber that has not begun; entry must never return
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  // Goes on with `to`, until something switches back to `from`, which must be what runs now.
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
