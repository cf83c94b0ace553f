// time_limit.h: when advising has to stop.
//
// What counts is the processor time of the calling thread, so that a busy machine does not change
// what is found. Only reading the database can wait, for its locks and its disk, and that is ended
// by the clock. Whoever waits for the advice may end it earlier, as Ctrl-C does: the time has then
// passed.
#pragma once

#include <functional>
#include <utility>

#include "base/clock.h"

namespace mcp::query {

// Asks now and then, by the thread that works, whether to end; never again once the answer was yes.
// What it calls must not throw: SQLite may be in between.
class EarlyEnd {
 public:
  static constexpr Duration kPause = 20 * kMillisecond;

  explicit EarlyEnd(std::function<bool()> wanted) : ask_(std::move(wanted)) {}

  [[nodiscard]] bool wanted() {
    if (wanted_ || !ask_) return wanted_;
    const Instant now = now_precise();
    if (now < next_) return false;
    wanted_ = ask_();
    next_ = now + kPause;
    return wanted_;
  }

 private:
  std::function<bool()> ask_;
  Instant next_ = 0;
  bool wanted_ = false;
};

class TimeLimit {
 public:
  static constexpr Duration kClock_share = 4;  // of the clock, for one of the processor

  // Counted from now, by the thread that asks whether it passed.
  [[nodiscard]] static TimeLimit after(Duration processor, EarlyEnd* early = nullptr) noexcept {
    const Duration clock = processor > kNever / kClock_share ? kNever : processor * kClock_share;
    return {later(thread_cpu_time(), processor), later(now_precise(), clock), early};
  }

  [[nodiscard]] bool passed() const {
    return thread_cpu_time() > processor_ || (early_ != nullptr && early_->wanted());
  }
  // For what may wait.
  [[nodiscard]] bool passed_waiting() const { return passed() || now_precise() > clock_; }

 private:
  TimeLimit(Instant processor, Instant clock, EarlyEnd* early) noexcept
      : processor_(processor), clock_(clock), early_(early) {}

  Instant processor_;
  Instant clock_;
  EarlyEnd* early_;
};

}  // namespace mcp::query
