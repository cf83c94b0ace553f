// countdown.h: what a thread waits for: that so many requests have ended. Safe from any thread.
#pragma once

#include <cstddef>

#include "base/mutex.h"

namespace mcp::redis {

class Countdown {
 public:
  explicit Countdown(std::size_t count) : left_(count) {}

  void count_down() {
    const MutexLock lock(mutex_);
    if (--left_ == 0) ended_.notify_all();
  }
  [[nodiscard]] bool has_ended() {
    const MutexLock lock(mutex_);
    return left_ == 0;
  }
  // True: it has ended.
  [[nodiscard]] bool wait_until(Instant end) {
    const MutexLock lock(mutex_);
    while (left_ != 0) {
      const Instant now = now_precise();
      if (now >= end) return false;
      if (end == kNever) {
        ended_.wait(mutex_);
      } else {
        ended_.wait_for(mutex_, end - now);
      }
    }
    return true;
  }

 private:
  Mutex mutex_;  // a leaf
  CondVar ended_;
  std::size_t left_ GUARDED_BY(mutex_);
};

}  // namespace mcp::redis
