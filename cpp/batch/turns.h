// turns.h: one thread at a time, for a while.
//
// Safe from any thread. A turn that lasts too long is the next one's all the same: who has it may
// run code that never ends, or that waits for the one behind. So it is a courtesy, and no lock.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/mutex.h"

namespace mcp::batch {

class Turns {
 public:
  // After this long, whoever waits goes.
  static constexpr Duration kLongest_ns = 20 * kMillisecond;

  // Waits for the turn, for kLongest_ns after the one before began at most.
  [[nodiscard]] std::uint64_t enter() {
    const MutexLock lock(mutex_);
    for (;;) {
      const Instant now = now_precise();
      const Duration left = began_at_ + kLongest_ns - now;
      if (holder_ == 0 || left <= 0) {
        began_at_ = now;
        return holder_ = ++last_;
      }
      free_.wait_for(mutex_, left);
    }
  }

  void leave(std::uint64_t turn) {
    const MutexLock lock(mutex_);
    if (holder_ != turn) return;  // it was taken over
    holder_ = 0;
    free_.notify_one();
  }

 private:
  Mutex mutex_;
  CondVar free_;
  std::uint64_t holder_ GUARDED_BY(mutex_) = 0;
  std::uint64_t last_ GUARDED_BY(mutex_) = 0;
  Instant began_at_ GUARDED_BY(mutex_) = 0;
};

}  // namespace mcp::batch
