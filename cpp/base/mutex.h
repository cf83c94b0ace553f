// mutex.h: std::mutex and std::condition_variable with the annotations that clang's
// -Wthread-safety checks. A member says what guards it (GUARDED_BY), a function what it needs
// (REQUIRES); ARCHITECTURE.md has the order in which locks are taken.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/clock.h"

#if defined(__clang__)
#define MCP_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define MCP_THREAD_ANNOTATION(x)
#endif

#define CAPABILITY(x) MCP_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY MCP_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) MCP_THREAD_ANNOTATION(guarded_by(x))
#define PT_GUARDED_BY(x) MCP_THREAD_ANNOTATION(pt_guarded_by(x))
#define REQUIRES(...) MCP_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) MCP_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) MCP_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) MCP_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) MCP_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS MCP_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace mcp {

class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  [[nodiscard]] bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Never make one static: destroying it while a thread waits hangs the process at exit.
class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // False when `timeout` nanoseconds passed without a wake-up.
  bool wait_for(Mutex& mutex, Duration timeout) REQUIRES(mutex) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const auto status = condition_.wait_for(lock, std::chrono::nanoseconds(timeout));
    lock.release();
    return status == std::cv_status::no_timeout;
  }
  void notify_one() noexcept { condition_.notify_one(); }
  void notify_all() noexcept { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace mcp
