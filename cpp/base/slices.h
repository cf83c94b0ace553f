// slices.h: how large the pieces are in which long work is done, for every room.
//
// One place, so that a test can make each piece as small as it goes (a part of one row, a deadline
// that has always passed) and look whether the answer is still the whole answer. Safe from any
// thread; nothing outside tests changes them.
#pragma once

#include <atomic>
#include <cstddef>

#include "base/clock.h"

namespace mcp {

struct Slices {
  // How long an event loop is held in one tick: by conversions, by answers given inline, by waking
  // waiters. 0: a deadline that has passed as soon as it is made.
  std::atomic<Duration> tick_ns{kMillisecond};
  // Rows reach a waiting consumer in parts of this size; 0: each row is a part.
  std::atomic<std::size_t> part_bytes{256 * 1024};
  // A stream's consumer gets portions of this size: large enough that a row costs no hop of its
  // own, small enough to bound memory.
  std::atomic<std::size_t> portion_bytes{64 * 1024};
  // Between two looks at the clock, this much is made into objects at most, and one row at least.
  std::atomic<std::size_t> look_bytes{16 * 1024};
};

inline Slices& slices() noexcept {
  static Slices instance;
  return instance;
}

// When a tick that begins now has to end.
[[nodiscard]] inline Instant end_of_tick() noexcept {
  return now_precise() + slices().tick_ns.load(std::memory_order_relaxed);
}

}  // namespace mcp
