// time_limit.h: when advising has to stop.
//
// What counts is the processor time of the calling thread, so that a busy machine does not change
// what is found. Only reading the database can wait, for its locks and its disk, and that is ended
// by the clock.
#pragma once

#include "base/clock.h"

namespace mcp::query {

class TimeLimit {
 public:
  static constexpr Duration kClock_share = 4;  // of the clock, for one of the processor

  // Counted from now, by the thread that asks whether it passed.
  [[nodiscard]] static TimeLimit after(Duration processor) noexcept {
    const Duration clock = processor > kNever / kClock_share ? kNever : processor * kClock_share;
    return {later(thread_cpu_time(), processor), later(now_precise(), clock)};
  }

  [[nodiscard]] bool passed() const noexcept { return thread_cpu_time() > processor_; }
  // For what may wait.
  [[nodiscard]] bool passed_waiting() const noexcept { return passed() || now_precise() > clock_; }

 private:
  TimeLimit(Instant processor, Instant clock) noexcept : processor_(processor), clock_(clock) {}

  Instant processor_;
  Instant clock_;
};

}  // namespace mcp::query
