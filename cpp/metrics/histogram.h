// histogram.h: counts of durations in the layout of HdrHistogram (Gil Tene): buckets that double,
// each cut into equal slots, so that a recorded value is known to a fixed number of digits over
// the whole range and recording is a shift, an addition and an increment.
//
// Thread-compatible: one writer, or a lock around it. Memory is fixed at construction: 216 KiB for
// three digits up to a minute, 30 KiB for two.
// Invariants: count() is the sum of all slots; percentile_ns(q) never exceeds max_ns().
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace mcp::metrics {

class Histogram {
 public:
  static constexpr Duration kDefaultHighest = 60 * kSecond;

  // Values are kept to `digits` (1 to 3) significant digits. Above `highest_ns` they are counted as
  // `highest_ns`, while max_ns() keeps the value itself. Throws Error on a bad argument.
  explicit Histogram(int digits = 3, Duration highest_ns = kDefaultHighest);

  // About 2 ns. Negative values count as 0.
  void record(Duration value_ns) noexcept { record(value_ns, 1); }
  void record(Duration value_ns, std::uint64_t times) noexcept {
    if (times == 0) return;
    if (value_ns < 0) value_ns = 0;
    counts_[slot_of(std::min(value_ns, highest_ns_))] += times;
    count_ += times;
    sum_ns_ += static_cast<double>(value_ns) * static_cast<double>(times);
    min_ns_ = std::min(min_ns_, value_ns);
    max_ns_ = std::max(max_ns_, value_ns);
  }

  // Records `value_ns` and, where it is longer than the interval at which samples were due, the
  // samples that a closed loop could not take meanwhile (coordinated omission, Tene).
  void record_corrected(Duration value_ns, Duration expected_interval_ns) noexcept;

  // Adds the samples of `other`, exactly. Throws Error if the layouts differ.
  void merge(const Histogram& other);
  // What was kept of a histogram elsewhere: `counts` of (slot, samples), and the figures that slots
  // do not hold exactly. Throws Error if they do not fit the layout or each other.
  [[nodiscard]] static Histogram restore(
      int digits, Duration highest_ns,
      std::span<const std::pair<std::size_t, std::uint64_t>> counts, double sum_ns, Duration min_ns,
      Duration max_ns);
  // Takes the samples of an earlier copy of this histogram away, for a window between two looks.
  // min and max become those of the slots that are left. Throws Error if `earlier` has more.
  void subtract(const Histogram& earlier);
  void reset() noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] double sum_ns() const noexcept { return sum_ns_; }
  // 0 when nothing was recorded, like every figure below.
  [[nodiscard]] double mean_ns() const noexcept {
    return count_ == 0 ? 0.0 : sum_ns_ / static_cast<double>(count_);
  }
  [[nodiscard]] double stddev_ns() const noexcept;
  [[nodiscard]] Duration min_ns() const noexcept { return count_ == 0 ? 0 : min_ns_; }
  [[nodiscard]] Duration max_ns() const noexcept { return max_ns_; }
  // The value that `percent` (0 to 100) of the samples do not exceed, to the kept digits.
  [[nodiscard]] Duration percentile_ns(double percent) const noexcept;
  // How many samples are at most `value_ns`, to the kept digits.
  [[nodiscard]] std::uint64_t count_at_most(Duration value_ns) const noexcept;

  [[nodiscard]] int digits() const noexcept { return digits_; }
  [[nodiscard]] Duration highest_ns() const noexcept { return highest_ns_; }
  [[nodiscard]] std::span<const std::uint64_t> slots() const noexcept { return counts_; }
  [[nodiscard]] std::size_t slot_of(Duration value_ns) const noexcept {
    const auto value = static_cast<std::uint64_t>(value_ns);
    const int bucket = std::max(0, static_cast<int>(std::bit_width(value)) - sub_bits_);
    return (static_cast<std::size_t>(bucket) << (sub_bits_ - 1)) +
           static_cast<std::size_t>(value >> bucket);
  }
  // The smallest and the largest value that `slot` stands for.
  [[nodiscard]] Duration lowest_in(std::size_t slot) const noexcept;
  [[nodiscard]] Duration highest_in(std::size_t slot) const noexcept;

 private:
  void check_same_layout(const Histogram& other) const;

  int digits_;
  int sub_bits_;  // log2 of the slots of the first bucket
  Duration highest_ns_;
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  double sum_ns_ = 0;
  Duration min_ns_ = kNever;
  Duration max_ns_ = 0;
};

}  // namespace mcp::metrics
