// fibers.h: actors on one thread that take turns where they say so, in an order that a seed
// decides. So every interleaving of a protocol's steps can be run, and run again. Under
// ThreadSanitizer the actors count as threads that nothing synchronises but what they do
// themselves.
#pragma once

#include <ucontext.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "base/mutex.h"

#if defined(__SANITIZE_THREAD__)
#define MCP_UNOBSERVED __attribute__((no_sanitize("thread"), noinline))
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
}
#else
#define MCP_UNOBSERVED
#endif
#if defined(__SANITIZE_ADDRESS__)
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, std::size_t* size);
}
#endif

namespace mcp::testing {

class Fibers {
 public:
  static constexpr std::size_t kMost = 4;

  explicit Fibers(std::uint64_t seed) : random_(seed * 2 + 1) {}
  ~Fibers() { active_ = nullptr; }
  Fibers(const Fibers&) = delete;
  Fibers& operator=(const Fibers&) = delete;

  void add(std::function<void()> body) { bodies_.push_back(std::move(body)); }

  // Runs all to their end; throws if they do not end within `most_turns`.
  void run(int most_turns = 100'000) {
    active_ = this;
    for (std::size_t n = 0; n < bodies_.size(); ++n) prepare(n);
    while (take_turn()) {
      if (most_turns-- == 0) throw std::logic_error("the actors do not come to an end");
    }
    for (std::size_t n = 0; n < bodies_.size(); ++n) release(fibers_[n]);
    active_ = nullptr;
  }

  // Gives the turn away. Does nothing outside an actor.
  MCP_UNOBSERVED static void yield() {
    if (active_ == nullptr || active_->current_ == kMost) return;
    active_->switch_to(active_->main_, active_->fibers_[active_->current_]);
  }
  // The same, half of the time.
  MCP_UNOBSERVED static void maybe_yield() {
    if (active_ != nullptr && active_->draw(2) == 1) yield();
  }
  // The actor's number; kMost outside.
  MCP_UNOBSERVED static unsigned current() {
    return active_ == nullptr ? kMost : static_cast<unsigned>(active_->current_);
  }

 private:
  static constexpr std::size_t kStackBytes = 256 << 10;

  struct Fiber {
    ucontext_t context;
    const void* stack = nullptr;
    std::size_t stack_bytes = 0;
    void* sanitizer = nullptr;  // TSan's fiber, or ASan's fake stack
    bool started = false;
    bool done = false;
  };

  static std::byte* stack(std::size_t n) {
    static std::array<std::unique_ptr<std::byte[]>, kMost> stacks;
    if (!stacks[n]) stacks[n] = std::make_unique<std::byte[]>(kStackBytes);
    return stacks[n].get();
  }

  void prepare(std::size_t n) {
    Fiber& fiber = fibers_[n];
    getcontext(&fiber.context);
    fiber.stack = fiber.context.uc_stack.ss_sp = stack(n);
    fiber.stack_bytes = fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    fiber.started = fiber.done = false;
    makecontext(&fiber.context, &Fibers::enter, 0);
#if defined(__SANITIZE_THREAD__)
    main_.started = true;
    main_.sanitizer = __tsan_get_current_fiber();
    fiber.sanitizer = __tsan_create_fiber(0);
#endif
  }

  static void release([[maybe_unused]] Fiber& fiber) {
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(fiber.sanitizer);
#endif
  }

  // False when all have ended.
  MCP_UNOBSERVED bool take_turn() {
    const std::size_t count = bodies_.size();
    std::size_t n = draw(count);
    for (std::size_t tried = 0; fibers_[n].done; ++tried) {
      if (tried == count) return false;
      n = (n + 1) % count;
    }
    current_ = n;
    switch_to(fibers_[n], main_);
    current_ = kMost;
    return true;
  }

  MCP_UNOBSERVED std::size_t draw(std::size_t below) {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return (random_ >> 33) % below;
  }

  MCP_UNOBSERVED static void enter() {
    Fibers& self = *active_;
    const std::size_t n = self.current_;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &self.main_.stack, &self.main_.stack_bytes);
#endif
    self.bodies_[n]();
    self.fibers_[n].done = true;
    self.switch_to(self.main_, self.fibers_[n]);
  }

  MCP_UNOBSERVED void switch_to(Fiber& to, Fiber& from) {
#if defined(__SANITIZE_THREAD__)
    // An actor sees what came before it began, and is seen after it ended; no turn orders anything.
    const bool orders = !to.started || from.done;
    to.started = true;
    __tsan_switch_to_fiber(to.sanitizer, orders ? 0 : 1);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(from.done ? nullptr : &from.sanitizer, to.stack, to.stack_bytes);
#endif
    swapcontext(&from.context, &to.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from.sanitizer, nullptr, nullptr);
#endif
  }

  static inline Fibers* active_ = nullptr;
  std::uint64_t random_;
  std::vector<std::function<void()>> bodies_;
  std::array<Fiber, kMost> fibers_;
  Fiber main_;
  std::size_t current_ = kMost;
};

class CAPABILITY("mutex") FiberMutex {
 public:
  void lock() ACQUIRE() NO_THREAD_SAFETY_ANALYSIS {
    while (!try_lock()) Fibers::yield();
  }
  [[nodiscard]] bool try_lock() TRY_ACQUIRE(true) NO_THREAD_SAFETY_ANALYSIS {
    return !taken_.exchange(true, std::memory_order_acquire);
  }
  void unlock() RELEASE() NO_THREAD_SAFETY_ANALYSIS {
    taken_.store(false, std::memory_order_release);
  }

 private:
  std::atomic<bool> taken_{false};
};

class FiberCondVar {
 public:
  void wait(FiberMutex& mutex) NO_THREAD_SAFETY_ANALYSIS {
    mutex.unlock();
    Fibers::yield();
    mutex.lock();
  }
  void notify_all() noexcept {}
};

// A Platform of the concurrent cache.
struct FiberPlatform {
  using Mutex = FiberMutex;
  using CondVar = FiberCondVar;
  [[nodiscard]] static unsigned thread() noexcept { return Fibers::current(); }
  static void pause(unsigned) noexcept { Fibers::yield(); }
  static void step() noexcept { Fibers::maybe_yield(); }
};

}  // namespace mcp::testing
