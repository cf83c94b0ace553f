// server_clock.h: the latest that a server's clock can show, by what it showed and our own clock.
//
// A deletion that the server could not be told of is dated by it: the date must not lie before
// anything that was written before, and should lie before what is written after.
//
// Thread-compatible; no clock of its own. Invariant: while the server's clock is neither set nor
// runs faster than ours by more than kDrift, it never shows more than latest().
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/clock.h"

namespace mcp::redis {

class ServerClock {
 public:
  // The server showed `microseconds` at some moment between `asked` and `answered`.
  void saw(std::int64_t microseconds, Instant asked, Instant answered) noexcept {
    const Duration shown = microseconds * kMicrosecond;
    const Duration most = shown - asked;
    const Duration least = shown - answered;
    // Less than the least: the clock was set forward, or is another server's.
    if (!ahead_ || most < bound(answered) || least > bound(answered)) {
      ahead_ = most;
      since_ = answered;
    }
  }

  // Microseconds; nothing if the clock was never seen.
  [[nodiscard]] std::optional<std::int64_t> latest(Instant now) const noexcept {
    if (!ahead_) return std::nullopt;
    return (now + bound(now)) / kMicrosecond + 1;
  }

 private:
  static constexpr Duration kDrift = 2000;  // one part in so many

  [[nodiscard]] Duration bound(Instant now) const noexcept {
    return *ahead_ + (now - since_) / kDrift;
  }

  std::optional<Duration> ahead_;  // of the server's clock over ours, at most
  Instant since_ = 0;
};

}  // namespace mcp::redis
