// ramp.cpp: levels, and the integral that turns rates into arrivals.
#include "loadtest/ramp.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"

namespace mcp::loadtest {
namespace {

constexpr double kNsPerSecond = 1e9;

double seconds(Duration ns) noexcept { return static_cast<double>(ns) / kNsPerSecond; }

void check_level(const char* name, double level) {
  if (!std::isfinite(level) || level < 0) {
    throw invalid_argument(name, std::to_string(level), "a finite number, 0 or more");
  }
}

}  // namespace

Ramp::Ramp(double level) {
  check_level("level", level);
  pieces_.push_back({0, kNever, level, level, 0});
}

Ramp::Ramp(double start, const std::vector<Stage>& stages) {
  check_level("start", start);
  if (stages.empty()) throw invalid_argument("stages", "[]", "at least one stage");
  Duration at = 0;
  double level = start;
  double area = 0;
  for (const Stage& stage : stages) {
    check_level("target", stage.target);
    if (stage.duration_ns < 0) {
      throw invalid_argument("duration", std::to_string(seconds(stage.duration_ns)),
                             "0 seconds or more");
    }
    if (stage.duration_ns > 0) {
      pieces_.push_back({at, stage.duration_ns, level, stage.target, area});
      area += (level + stage.target) / 2 * seconds(stage.duration_ns);
      at += stage.duration_ns;
    }
    level = stage.target;
  }
  if (pieces_.empty()) throw invalid_argument("stages", "jumps only", "a stage that takes time");
}

double Ramp::level_at(Duration offset_ns) const noexcept {
  for (const Piece& piece : pieces_) {
    if (piece.duration_ns == kNever) return piece.from;
    if (offset_ns >= piece.start_ns + piece.duration_ns) continue;
    const double part = static_cast<double>(std::max<Duration>(offset_ns - piece.start_ns, 0)) /
                        static_cast<double>(piece.duration_ns);
    return piece.from + (piece.to - piece.from) * part;
  }
  return 0;
}

double Ramp::area_until(Duration offset_ns) const noexcept {
  double area = 0;
  for (const Piece& piece : pieces_) {
    if (offset_ns <= piece.start_ns) break;
    const Duration inside = piece.duration_ns == kNever
                                ? offset_ns - piece.start_ns
                                : std::min(offset_ns - piece.start_ns, piece.duration_ns);
    const double t = seconds(inside);
    const double slope =
        piece.duration_ns == kNever ? 0 : (piece.to - piece.from) / seconds(piece.duration_ns);
    area = piece.area_before + piece.from * t + slope * t * t / 2;
  }
  return area;
}

Duration Ramp::time_of_area(double area) const noexcept {
  for (const Piece& piece : pieces_) {
    const double missing = std::max(0.0, area - piece.area_before);
    double t;
    if (piece.duration_ns == kNever) {
      if (piece.from == 0) return missing == 0 ? piece.start_ns : kNever;
      t = missing / piece.from;
    } else {
      const double length_s = seconds(piece.duration_ns);
      const double whole = (piece.from + piece.to) / 2 * length_s;
      if (missing > whole * (1 + 1e-12)) continue;
      // from t + slope t^2 / 2 = missing, in the form that does not cancel for a small slope.
      const double slope = (piece.to - piece.from) / length_s;
      const double root = std::sqrt(std::max(0.0, piece.from * piece.from + 2 * slope * missing));
      t = piece.from + root == 0 ? 0 : 2 * missing / (piece.from + root);
      t = std::min(t, length_s);
    }
    const double offset = static_cast<double>(piece.start_ns) + t * kNsPerSecond;
    return offset >= static_cast<double>(kNever) ? kNever : std::llround(offset);
  }
  return kNever;
}

Duration Ramp::time_of_level(double level, Duration from_ns) const noexcept {
  for (const Piece& piece : pieces_) {
    const bool endless = piece.duration_ns == kNever;
    const Duration start = std::max(piece.start_ns, from_ns);
    if (!endless && start >= piece.start_ns + piece.duration_ns) continue;
    if (level_at(start) >= level) return start;
    if (endless || piece.to < level) continue;
    const double part = (level - piece.from) / (piece.to - piece.from);
    const auto at = static_cast<Duration>(std::ceil(part * static_cast<double>(piece.duration_ns)));
    return std::max(start, piece.start_ns + at);
  }
  return kNever;
}

Duration Ramp::length() const noexcept {
  const Piece& last = pieces_.back();
  return last.duration_ns == kNever ? kNever : last.start_ns + last.duration_ns;
}

double Ramp::highest() const noexcept {
  double level = 0;
  for (const Piece& piece : pieces_) level = std::max({level, piece.from, piece.to});
  return level;
}

}  // namespace mcp::loadtest
