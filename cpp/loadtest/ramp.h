// ramp.h: a level over time made of straight pieces: users of a closed model, or arrivals a second
// of an open one. Pure: no clock, no state; safe to share between threads.
// Invariants: levels are finite and not negative; time starts at 0.
#pragma once

#include <vector>

#include "base/clock.h"

namespace mcp::loadtest {

// One piece: the level moves in a straight line to `target` within `duration_ns`. A duration of 0
// is a jump.
struct Stage {
  Duration duration_ns;
  double target;
};

class Ramp {
 public:
  // The same level for ever.
  explicit Ramp(double level);
  // From `start` through `stages`; the level after the last stage is 0 for ever. Throws Error.
  Ramp(double start, const std::vector<Stage>& stages);

  [[nodiscard]] double level_at(Duration offset_ns) const noexcept;
  // The area under the level up to `offset_ns`, in level x seconds: how many requests an arrival
  // rate has brought by then.
  [[nodiscard]] double area_until(Duration offset_ns) const noexcept;
  // The first offset at which the area reaches `area`; kNever if it never does.
  [[nodiscard]] Duration time_of_area(double area) const noexcept;
  // The first offset, not before `from_ns`, at which the level is at least `level`; kNever if none.
  [[nodiscard]] Duration time_of_level(double level, Duration from_ns) const noexcept;
  // When the last stage ends; kNever for a constant level.
  [[nodiscard]] Duration length() const noexcept;
  [[nodiscard]] double highest() const noexcept;

 private:
  struct Piece {
    Duration start_ns;
    Duration duration_ns;  // kNever: the last piece of a constant level
    double from;
    double to;
    double area_before;
  };
  std::vector<Piece> pieces_;
};

}  // namespace mcp::loadtest
