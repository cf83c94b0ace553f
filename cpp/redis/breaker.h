// breaker.h: when to try a server that failed, and whom to let through meanwhile.
//
// Closed: everybody. Open: nobody, until a connection stands again; attempts follow each other at
// jittered, doubling distances of at most 1 s. Half-open, once it stands: one command at a time,
// until one is answered. A failure opens it again, and the distances go on growing, so a server
// that takes connections but answers nothing does not close it.
//
// Thread-compatible; no clock of its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>

#include "base/clock.h"

namespace mcp::redis {

class Breaker {
 public:
  enum class State { kClosed, kOpen, kHalfOpen };

  static constexpr Duration kFirstDelay = 10 * kMillisecond;
  static constexpr Duration kLongestDelay = kSecond;

  explicit Breaker(std::uint64_t seed) : random_(seed) {}

  // A connection could not be made, or was lost with commands on it. How long to wait before the
  // next attempt: between half of the distance and all of it.
  [[nodiscard]] Duration failed() {
    state_ = State::kOpen;
    const Duration distance =
        std::min(kLongestDelay, kFirstDelay << std::min<std::uint32_t>(failures_, 16));
    ++failures_;
    return std::uniform_int_distribution<Duration>(distance / 2, distance)(random_);
  }
  void connected() noexcept { state_ = failures_ == 0 ? State::kClosed : State::kHalfOpen; }
  // A command was answered.
  void succeeded() noexcept {
    failures_ = 0;
    state_ = State::kClosed;
  }

  [[nodiscard]] bool admits(std::size_t in_flight) const noexcept {
    return state_ == State::kClosed || (state_ == State::kHalfOpen && in_flight == 0);
  }
  [[nodiscard]] State state() const noexcept { return state_; }

 private:
  State state_ = State::kClosed;
  std::uint32_t failures_ = 0;  // since the last answer
  std::mt19937_64 random_;
};

}  // namespace mcp::redis
