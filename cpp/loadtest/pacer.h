// pacer.h: when. The intended start of each request of an open model, as an offset from the start
// of the run. Never looks at a clock: how late the system answers cannot move the schedule, and
// that is what keeps response times free of coordinated omission.
// Thread-compatible. Invariant: offsets never decrease.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "loadtest/ramp.h"
#include "loadtest/random.h"

namespace mcp::loadtest {

enum class Arrivals {
  kUniform,  // evenly spaced: request i of a constant rate R is due at i / R
  kPoisson,  // independent users: exponential gaps
};

class Pacer {
 public:
  // `rate` in requests a second over time. Of `shares` pacers with the same arguments, number
  // `share` (from 0) gives every `shares`-th request, so that several generators hold one schedule
  // together.
  Pacer(Ramp rate, Arrivals arrivals, std::uint64_t seed, std::uint64_t shares = 1,
        std::uint64_t share = 0);

  // The offset at which the next request is due; kNever when the schedule has ended.
  [[nodiscard]] Duration next() noexcept;

 private:
  [[nodiscard]] double next_arrival() noexcept;

  Ramp rate_;
  Arrivals arrivals_;
  Random random_;
  std::uint64_t shares_;
  std::uint64_t skip_;         // arrivals of the others before the next one of ours
  std::uint64_t arrived_ = 0;  // arrivals so far, of all shares
  double area_ = 0;
  Duration last_ = 0;
};

}  // namespace mcp::loadtest
