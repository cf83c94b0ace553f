// clock.h: time as a count of nanoseconds on the monotonic clock. What decides by the time takes
// it as an argument, so that tests can turn it.
#pragma once

#include <time.h>

#include <cstdint>

namespace mcp {

using Instant = std::int64_t;   // nanoseconds on CLOCK_MONOTONIC
using Duration = std::int64_t;  // nanoseconds

inline constexpr Duration kMicrosecond = 1'000;
inline constexpr Duration kMillisecond = 1'000'000;
inline constexpr Duration kSecond = 1'000'000'000;
inline constexpr Instant kNever = INT64_MAX;

// `by` after `at`; never where that is beyond the clock.
[[nodiscard]] constexpr Instant later(Instant at, Duration by) noexcept {
  return by >= kNever - at ? kNever : at + by;
}

// To the nearest nanosecond. kNever for what is beyond the clock, and for what is no number.
[[nodiscard]] constexpr Duration from_seconds(double seconds) noexcept {
  const double ns = seconds * 1e9;
  if (!(ns < 9.2e18)) return kNever;
  if (ns < -9.2e18) return -kNever;
  return static_cast<Duration>(ns < 0 ? ns - 0.5 : ns + 0.5);
}
[[nodiscard]] constexpr double to_seconds(Duration duration) noexcept {
  return static_cast<double>(duration) / 1e9;
}

namespace detail {
inline Instant read_clock(clockid_t id) noexcept {
  timespec t;
  clock_gettime(id, &t);
  return static_cast<Instant>(t.tv_sec) * kSecond + t.tv_nsec;
}
}  // namespace detail

// About 23 ns a call.
[[nodiscard]] inline Instant now_precise() noexcept { return detail::read_clock(CLOCK_MONOTONIC); }

// About 5 ns a call; advances in steps of the kernel's tick (4 ms on most builds).
[[nodiscard]] inline Instant now_coarse() noexcept {
  return detail::read_clock(CLOCK_MONOTONIC_COARSE);
}

// What the calling thread has run on a processor: a busy machine does not add to it. About 200 ns.
[[nodiscard]] inline Duration thread_cpu_time() noexcept {
  return detail::read_clock(CLOCK_THREAD_CPUTIME_ID);
}

}  // namespace mcp
