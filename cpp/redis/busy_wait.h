// busy_wait.h: whether whoever waits for a reply asks again and again before it sleeps.
//
// Putting a thread to sleep and waking it costs tens of microseconds on an idle virtual machine,
// which is as long as a server on the same machine takes; on a busy one it costs nothing, and a
// thread that does not sleep keeps others from their work. So both are tried now and then, and
// replies are waited for without sleeping only where they come clearly sooner for it.
//
// Thread-compatible; pure. For commands that are in flight alone: others say nothing.
#pragma once

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace mcp::redis {

class BusyWait {
 public:
  static constexpr Duration kLongest = 150 * kMicrosecond;

  // `processors`: with one of them the server could not run meanwhile.
  explicit BusyWait(int processors) noexcept : possible_(processors > 1) {}

  // For how long to ask before sleeping, for the command that is in flight now.
  [[nodiscard]] Duration begin() noexcept {
    measures_ = true;
    const bool tries_other = turn_++ % kTurns < kTries;
    const bool is_sooner = awake_ < kLongest && awake_ * 5 < asleep_ * 4;
    is_awake_ = possible_ && is_sooner != tries_other;
    return is_awake_ ? std::min(kLongest, 2 * awake_) : 0;
  }
  // Its reply came so long after it was sent.
  void came_after(Duration time) noexcept {
    if (!std::exchange(measures_, false)) return;
    Duration& usual = is_awake_ ? awake_ : asleep_;
    usual += (std::min(time, kMost) - usual) / kWeight;
  }
  // Others came in between.
  void disturbed() noexcept { measures_ = false; }

 private:
  static constexpr Duration kWeight = 8;
  static constexpr Duration kMost = 8 * kLongest;  // that one reply counts for: being put off by
                                                   // others weighs, if it happens often
  static constexpr unsigned kTurns = 256;
  static constexpr unsigned kTries = 8;  // of kTurns

  const bool possible_;
  bool measures_ = false;
  bool is_awake_ = false;
  unsigned turn_ = 0;
  Duration awake_ = kLongest / 2;  // moving averages
  Duration asleep_ = 0;            // what is not known is no reason to stay awake
};

}  // namespace mcp::redis
