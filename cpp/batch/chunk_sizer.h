// chunk_sizer.h: how many items a worker takes at once, by what the last ones cost.
//
// A pure state machine: no clock, no lock. Thread-compatible.
// Short items are taken many at a time, so that the cost of taking them disappears; long ones one
// by one, so that the workers end together. A chunk lasts about kTarget_ns, or what was asked for.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/clock.h"

namespace mcp::batch {

class ChunkSizer {
 public:
  static constexpr Duration kTarget_ns = kMillisecond;
  static constexpr std::size_t kGrowth = 8;  // a chunk is at most this many times the last largest

  // `fixed` items a chunk; 0: by measurement.
  explicit ChunkSizer(std::size_t fixed = 0) : fixed_(fixed) {}

  // The size of the next chunk, at least 1. REQUIRES: remaining > 0, workers > 0.
  [[nodiscard]] std::size_t next(std::size_t remaining, unsigned workers,
                                 Duration target_ns = kTarget_ns) const {
    if (fixed_ > 0) return std::min(fixed_, remaining);
    if (largest_ == 0) return 1;
    std::size_t size = fitting(target_ns);
    // Towards the end the workers share what is left, unless one of them is through it in no time.
    const bool long_rest = mean_ns_ * static_cast<double>(remaining) > kTarget_ns;
    if (workers > 1 && long_rest) size = std::min(size, remaining / (2 * workers));
    return std::clamp<std::size_t>(size, 1, remaining);
  }

  // How many items last about this long, as far as can be told; at least 1.
  [[nodiscard]] std::size_t fitting(Duration target_ns) const {
    const double fitting = static_cast<double>(target_ns) / std::max(mean_ns_, 1.0);
    const std::size_t most = std::max<std::size_t>(largest_ * kGrowth, 1);
    if (fitting >= static_cast<double>(most)) return most;
    return std::max<std::size_t>(static_cast<std::size_t>(fitting), 1);
  }

  // `items` took `elapsed_ns` together.
  void record(std::size_t items, Duration elapsed_ns) {
    if (items == 0) return;
    const double mean = static_cast<double>(elapsed_ns) / static_cast<double>(items);
    // Half of the weight to the newest chunk: costs drift with the data.
    mean_ns_ = largest_ == 0 ? mean : (mean_ns_ + mean) / 2;
    largest_ = std::max(largest_, items);
  }

  // Nanoseconds an item, by the latest chunks; 0 before the first.
  [[nodiscard]] double mean_ns() const noexcept { return mean_ns_; }
  [[nodiscard]] bool measured() const noexcept { return largest_ > 0; }

 private:
  std::size_t fixed_;
  std::size_t largest_ = 0;
  double mean_ns_ = 0;
};

}  // namespace mcp::batch
