#include "fiber.hpp"

#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(SNVRAG_THREAD_SANITIZER)
#include <sanitizer/tsan_interface.h>
#endif

// ucontext is portable, but makes a system call at each switch, and a block of 512 threads switches
// a thousand times for each barrier: saving six registers instead makes the tests several times as
// fast.
#if defined(__x86_64__) && defined(__ELF__)
#define SNVRAG_FAST_SWITCH
extern "C" void snvrag_switch_stacks(void** from, void* to);
asm(R"(
.text
.type snvrag_switch_stacks, @function
snvrag_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size snvrag_switch_stacks, .-snvrag_switch_stacks
)");
#else
#include <ucontext.h>
#endif

namespace cuda_emulator {
namespace {

constexpr std::size_t kStackBytes = 256 << 10;  // sanitizers make frames large; touched when used

Fiber* leaving = nullptr;
Fiber* arriving = nullptr;

}  // namespace

struct Fiber::Context {
#if defined(SNVRAG_FAST_SWITCH)
  void* stack_pointer = nullptr;
#else
  ucontext_t context = {};
#endif
};

Fiber::Fiber() : context_(new Context) {
#if defined(SNVRAG_THREAD_SANITIZER)
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

Fiber::Fiber(void (*entry)())
    : stack_(new char[kStackBytes]),
      context_(new Context),
      entry_(entry),
      bottom_(stack_.get()),
      size_(kStackBytes) {
#if defined(SNVRAG_THREAD_SANITIZER)
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
#if defined(SNVRAG_FAST_SWITCH)
  // As if begin() had been called and its six registers been saved: a function finds the stack 8
  // bytes off a multiple of 16, past its return address.
  const auto end = reinterpret_cast<std::uintptr_t>(stack_.get() + kStackBytes) / 16 * 16;
  auto* top = reinterpret_cast<std::uintptr_t*>(end);
  *--top = 0;
  *--top = reinterpret_cast<std::uintptr_t>(&Fiber::begin);
  for (int i = 0; i < 6; ++i) *--top = 0;
  context_->stack_pointer = top;
#else
  getcontext(&context_->context);
  context_->context.uc_stack.ss_sp = stack_.get();
  context_->context.uc_stack.ss_size = kStackBytes;
  makecontext(&context_->context, &Fiber::begin, 0);
#endif
}

Fiber::~Fiber() {
#if defined(SNVRAG_THREAD_SANITIZER)
  if (entry_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
#endif
}

void Fiber::begin() {
  arrive(*arriving);
  arriving->entry_();
}

void Fiber::arrive([[maybe_unused]] Fiber& self) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(self.fake_stack_, &leaving->bottom_, &leaving->size_);
#endif
}

void Fiber::switch_to(Fiber& from, Fiber& to) {
  leaving = &from;
  arriving = &to;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
#if defined(SNVRAG_THREAD_SANITIZER)
  __tsan_switch_to_fiber(to.tsan_fiber_, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(SNVRAG_FAST_SWITCH)
  snvrag_switch_stacks(&from.context_->stack_pointer, to.context_->stack_pointer);
#else
  swapcontext(&from.context_->context, &to.context_->context);
#endif
  arrive(from);
}

}  // namespace cuda_emulator
