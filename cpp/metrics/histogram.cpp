// histogram.cpp: buckets, percentiles and the sum of histograms.
#include "metrics/histogram.h"

#include <string>

#include "base/error.h"

namespace mcp::metrics {
namespace {

int sub_bits_for(int digits) {
  if (digits < 1 || digits > 3)
    throw invalid_argument("digits", std::to_string(digits), "1, 2 or 3");
  // The first bucket has to tell 2 * 10^digits values apart.
  return static_cast<int>(std::ceil(std::log2(2 * std::pow(10.0, digits))));
}

}  // namespace

Histogram::Histogram(int digits, Duration highest_ns)
    : digits_(digits), sub_bits_(sub_bits_for(digits)), highest_ns_(highest_ns) {
  if (highest_ns < 1) {
    throw invalid_argument("highest_ns", std::to_string(highest_ns), "1 or more");
  }
  counts_.assign(slot_of(highest_ns) + 1, 0);
}

void Histogram::record_corrected(Duration value_ns, Duration expected_interval_ns) noexcept {
  record(value_ns);
  if (expected_interval_ns <= 0) return;
  for (Duration missing = value_ns - expected_interval_ns; missing >= expected_interval_ns;
       missing -= expected_interval_ns) {
    record(missing);
  }
}

void Histogram::check_same_layout(const Histogram& other) const {
  if (digits_ != other.digits_ || highest_ns_ != other.highest_ns_) {
    throw Error(ErrorKind::kConfiguration,
                "histograms differ in layout: digits " + std::to_string(digits_) + " and " +
                    std::to_string(other.digits_) + ", highest " + std::to_string(highest_ns_) +
                    " and " + std::to_string(other.highest_ns_) + " ns");
  }
}

void Histogram::merge(const Histogram& other) {
  check_same_layout(other);
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ns_ += other.sum_ns_;
  min_ns_ = std::min(min_ns_, other.min_ns_);
  max_ns_ = std::max(max_ns_, other.max_ns_);
}

Histogram Histogram::restore(int digits, Duration highest_ns,
                             std::span<const std::pair<std::size_t, std::uint64_t>> counts,
                             double sum_ns, Duration min_ns, Duration max_ns) {
  Histogram result(digits, highest_ns);
  for (const auto& [slot, samples] : counts) {
    if (slot >= result.counts_.size()) {
      throw invalid_argument("slot", std::to_string(slot), "a slot of the layout");
    }
    result.counts_[slot] += samples;
    result.count_ += samples;
  }
  if (result.count_ == 0) return result;
  if (min_ns < 0 || max_ns < min_ns || !(sum_ns >= 0)) {
    throw invalid_argument("min_ns", std::to_string(min_ns), "0 to max_ns, and a sum of 0 or more");
  }
  result.sum_ns_ = sum_ns;
  result.min_ns_ = min_ns;
  result.max_ns_ = max_ns;
  return result;
}

void Histogram::subtract(const Histogram& earlier) {
  check_same_layout(earlier);
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] < earlier.counts_[i]) {
      throw Error(ErrorKind::kConfiguration, "earlier has samples that this histogram has not");
    }
  }
  const Duration max_before = max_ns_;
  min_ns_ = kNever;
  max_ns_ = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    counts_[i] -= earlier.counts_[i];
    if (counts_[i] == 0) continue;
    min_ns_ = std::min(min_ns_, lowest_in(i));
    max_ns_ = i + 1 == counts_.size() ? max_before : std::min(max_before, highest_in(i));
  }
  count_ -= earlier.count_;
  sum_ns_ = count_ == 0 ? 0.0 : sum_ns_ - earlier.sum_ns_;
}

void Histogram::reset() noexcept {
  std::fill(counts_.begin(), counts_.end(), 0);
  count_ = 0;
  sum_ns_ = 0;
  min_ns_ = kNever;
  max_ns_ = 0;
}

double Histogram::stddev_ns() const noexcept {
  if (count_ == 0) return 0.0;
  const double mean = mean_ns();
  double squares = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    const double middle = static_cast<double>(lowest_in(i) + highest_in(i)) / 2;
    squares += static_cast<double>(counts_[i]) * (middle - mean) * (middle - mean);
  }
  return std::sqrt(squares / static_cast<double>(count_));
}

Duration Histogram::percentile_ns(double percent) const noexcept {
  if (count_ == 0) return 0;
  const double wanted = std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(count_);
  const auto rank =
      std::clamp<std::uint64_t>(static_cast<std::uint64_t>(std::ceil(wanted - 1e-9)), 1, count_);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen < rank) continue;
    // The last slot also holds everything above `highest_ns_`.
    return i + 1 == counts_.size() ? max_ns_ : std::clamp(highest_in(i), min_ns_, max_ns_);
  }
  return max_ns_;
}

std::uint64_t Histogram::count_at_most(Duration value_ns) const noexcept {
  if (value_ns < 0) return 0;
  if (value_ns >= max_ns_) return count_;
  const std::size_t last = slot_of(std::min(value_ns, highest_ns_));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i <= last; ++i) seen += counts_[i];
  return seen;
}

Duration Histogram::lowest_in(std::size_t slot) const noexcept {
  const std::size_t half = std::size_t{1} << (sub_bits_ - 1);
  if (slot < 2 * half) return static_cast<Duration>(slot);
  const std::size_t bucket = slot / half - 1;
  return static_cast<Duration>((slot - bucket * half) << bucket);
}

Duration Histogram::highest_in(std::size_t slot) const noexcept { return lowest_in(slot + 1) - 1; }

}  // namespace mcp::metrics
