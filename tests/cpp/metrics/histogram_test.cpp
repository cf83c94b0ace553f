#include "metrics/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/error.h"

namespace mcp::metrics {
namespace {

Duration exact_percentile(std::vector<Duration> values, double percent) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(
      std::ceil(percent / 100 * static_cast<double>(values.size()) - 1e-6));
  return values[std::max<std::size_t>(rank, 1) - 1];
}

TEST(Histogram, EveryFigureOfAnEmptyOneIsZero) {
  const Histogram empty;
  EXPECT_EQ(empty.count(), 0u);
  EXPECT_EQ(empty.percentile_ns(99), 0);
  EXPECT_EQ(empty.mean_ns(), 0.0);
  EXPECT_EQ(empty.stddev_ns(), 0.0);
  EXPECT_EQ(empty.min_ns(), 0);
  EXPECT_EQ(empty.max_ns(), 0);
}

TEST(Histogram, PercentilesAgreeWithSortedSamplesToThreeDigits) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> latency(13, 2);
  std::vector<Duration> values;
  Histogram histogram;
  for (int i = 0; i < 50'000; ++i) {
    const auto value = std::min<Duration>(static_cast<Duration>(latency(random)), 59 * kSecond);
    values.push_back(value);
    histogram.record(value);
  }
  for (const double percent : {0.0, 1.0, 25.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0}) {
    const auto exact = static_cast<double>(exact_percentile(values, percent));
    EXPECT_NEAR(static_cast<double>(histogram.percentile_ns(percent)), exact, exact / 1000 + 1)
        << percent;
  }
}

TEST(Histogram, EverySlotHoldsTheValuesThatItSays) {
  const Histogram histogram(2, 10 * kSecond);
  Duration next = 0;
  for (std::size_t slot = 0; slot < histogram.slots().size(); ++slot) {
    EXPECT_EQ(histogram.lowest_in(slot), next);
    EXPECT_EQ(histogram.slot_of(histogram.lowest_in(slot)), slot);
    EXPECT_EQ(histogram.slot_of(histogram.highest_in(slot)), slot);
    next = histogram.highest_in(slot) + 1;
  }
  EXPECT_GT(next, 10 * kSecond);
}

TEST(Histogram, ThreeDigitsUpToAMinuteFitIn216KiB) {
  EXPECT_LE(Histogram().slots().size() * sizeof(std::uint64_t), 216u * 1024);
}

TEST(Histogram, ValuesAboveTheHighestAreCountedAndTheMaximumIsKept) {
  Histogram histogram(3, kSecond);
  histogram.record(5 * kSecond);
  EXPECT_EQ(histogram.count(), 1u);
  EXPECT_EQ(histogram.max_ns(), 5 * kSecond);
  EXPECT_EQ(histogram.percentile_ns(50), 5 * kSecond);
}

TEST(Histogram, PercentilesNeverExceedTheMaximum) {
  Histogram histogram;
  histogram.record(1'000'001);
  EXPECT_EQ(histogram.percentile_ns(99), 1'000'001);
}

TEST(Histogram, MergingGivesTheHistogramOfAllSamples) {
  Histogram left, right, both;
  for (Duration value = 1; value < 2'000'000; value += 997) {
    (value % 2 == 0 ? left : right).record(value);
    both.record(value);
  }
  left.merge(right);
  EXPECT_TRUE(std::ranges::equal(left.slots(), both.slots()));
  EXPECT_EQ(left.count(), both.count());
  EXPECT_EQ(left.max_ns(), both.max_ns());
  EXPECT_EQ(left.min_ns(), both.min_ns());
}

TEST(Histogram, SubtractingAnEarlierCopyLeavesTheWindow) {
  Histogram histogram;
  histogram.record(5 * kMillisecond);
  const Histogram before = histogram;
  histogram.record(kMillisecond);
  histogram.subtract(before);
  EXPECT_EQ(histogram.count(), 1u);
  EXPECT_NEAR(static_cast<double>(histogram.percentile_ns(50)), kMillisecond, 1000);
  EXPECT_THROW(histogram.subtract(before), Error);
}

TEST(Histogram, LayoutsThatDifferDoNotMerge) {
  Histogram three(3), two(2);
  EXPECT_THROW(three.merge(two), Error);
}

TEST(Histogram, CorrectionFillsInTheSamplesThatAStallHid) {
  Histogram histogram;
  histogram.record_corrected(100 * kMillisecond, 10 * kMillisecond);
  EXPECT_EQ(histogram.count(), 10u);  // 100, 90, ... 10 ms
  EXPECT_NEAR(histogram.mean_ns(), 55.0 * kMillisecond, kMillisecond);
}

TEST(Histogram, CountsWhatDoesNotExceedAValue) {
  Histogram histogram;
  for (Duration ms = 1; ms <= 10; ++ms) histogram.record(ms * kMillisecond);
  EXPECT_EQ(histogram.count_at_most(5 * kMillisecond), 5u);
  EXPECT_EQ(histogram.count_at_most(-1), 0u);
  EXPECT_EQ(histogram.count_at_most(kSecond), 10u);
}

TEST(Histogram, RefusesABadLayoutByName) {
  EXPECT_THROW(Histogram(4), Error);
  EXPECT_THROW(Histogram(3, 0), Error);
}

TEST(Histogram, IsRestoredFromItsSlotsExactly) {
  Histogram original;
  for (Duration value = 1; value < 50 * kSecond; value = value * 3 / 2 + 1) original.record(value);
  std::vector<std::pair<std::size_t, std::uint64_t>> kept;
  for (std::size_t slot = 0; slot < original.slots().size(); ++slot) {
    if (original.slots()[slot] > 0) kept.emplace_back(slot, original.slots()[slot]);
  }
  const Histogram copy =
      Histogram::restore(original.digits(), original.highest_ns(), kept, original.sum_ns(),
                         original.min_ns(), original.max_ns());
  EXPECT_EQ(copy.count(), original.count());
  EXPECT_EQ(copy.mean_ns(), original.mean_ns());
  EXPECT_EQ(copy.min_ns(), original.min_ns());
  EXPECT_EQ(copy.max_ns(), original.max_ns());
  for (const double percent : {0.0, 50.0, 99.0, 100.0}) {
    EXPECT_EQ(copy.percentile_ns(percent), original.percentile_ns(percent));
  }
}

TEST(Histogram, IsNotRestoredFromWhatDoesNotFit) {
  const std::vector<std::pair<std::size_t, std::uint64_t>> outside{{1'000'000, 1}}, one{{5, 1}};
  EXPECT_THROW((void)Histogram::restore(3, kSecond, outside, 1, 1, 1), Error);
  EXPECT_THROW((void)Histogram::restore(3, kSecond, one, 1, 7, 5), Error);
  EXPECT_THROW((void)Histogram::restore(3, kSecond, one, -1, 5, 5), Error);
}

}  // namespace
}  // namespace mcp::metrics
