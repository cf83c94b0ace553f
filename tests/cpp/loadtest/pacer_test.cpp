#include "loadtest/pacer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace mcp::loadtest {
namespace {

std::vector<Duration> all(Pacer pacer, std::size_t most = 1000) {
  std::vector<Duration> offsets;
  for (Duration due = pacer.next(); due != kNever && offsets.size() < most; due = pacer.next()) {
    offsets.push_back(due);
  }
  return offsets;
}

TEST(Pacer, SpacesAConstantRateEvenly) {
  Pacer pacer(Ramp(1000), Arrivals::kUniform, 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(pacer.next(), i * kMillisecond);
}

TEST(Pacer, DoesNotDriftOverAMillionRequests) {
  Pacer pacer(Ramp(3), Arrivals::kUniform, 0);
  Duration last = 0;
  for (int i = 0; i <= 1'000'000; ++i) last = pacer.next();
  EXPECT_NEAR(static_cast<double>(last), 1e6 / 3 * 1e9, 1000);
}

TEST(Pacer, SharesOfOneScheduleTogetherAreTheSchedule) {
  std::vector<Duration> merged(30);
  for (std::uint64_t share = 0; share < 3; ++share) {
    Pacer part(Ramp(70), Arrivals::kPoisson, 9, 3, share);
    for (std::size_t i = share; i < merged.size(); i += 3) merged[i] = part.next();
  }
  EXPECT_EQ(merged, all(Pacer(Ramp(70), Arrivals::kPoisson, 9), 30));
}

TEST(Pacer, PoissonGapsHaveTheRatesMeanAndSpread) {
  Pacer pacer(Ramp(100), Arrivals::kPoisson, 1);
  double sum = 0, squares = 0;
  Duration before = 0;
  constexpr int kSamples = 100'000;
  for (int i = 0; i < kSamples; ++i) {
    const Duration due = pacer.next();
    const double gap = static_cast<double>(due - before) / 1e9;
    before = due;
    sum += gap;
    squares += gap * gap;
  }
  const double mean = sum / kSamples;
  EXPECT_NEAR(mean, 0.01, 0.0002);
  EXPECT_NEAR(std::sqrt(squares / kSamples - mean * mean), 0.01, 0.0003);  // exponential: equal
}

TEST(Pacer, TheSameSeedGivesTheSameArrivals) {
  EXPECT_EQ(all(Pacer(Ramp(50), Arrivals::kPoisson, 4), 50),
            all(Pacer(Ramp(50), Arrivals::kPoisson, 4), 50));
  EXPECT_NE(all(Pacer(Ramp(50), Arrivals::kPoisson, 4), 50),
            all(Pacer(Ramp(50), Arrivals::kPoisson, 5), 50));
}

TEST(Pacer, ARampBringsAsManyRequestsAsItsArea) {
  // 0 to 100 a second within 2 s, then 1 s at 100: 100 + 100 requests.
  const Ramp ramp(0, {{2 * kSecond, 100}, {kSecond, 100}});
  const auto offsets = all(Pacer(ramp, Arrivals::kUniform, 0));
  EXPECT_EQ(offsets.size(), 200U);
  EXPECT_TRUE(std::is_sorted(offsets.begin(), offsets.end()));
  EXPECT_NEAR(static_cast<double>(offsets[25]), 1e9, 1e6);  // 25 = 50 t^2 / 2 at t = 1
  EXPECT_EQ(offsets[100], 2 * kSecond);
}

TEST(Pacer, AJumpChangesTheRateAtOnce) {
  const auto offsets =
      all(Pacer(Ramp(10, {{kSecond, 10}, {0, 1000}, {kSecond / 10, 1000}}), Arrivals::kUniform, 0));
  EXPECT_EQ(offsets.size(), 110U);
  EXPECT_EQ(offsets[10], kSecond);
  EXPECT_EQ(offsets[11], kSecond + kMillisecond);
}

TEST(Pacer, ASilentStageIsSkipped) {
  const auto offsets =
      all(Pacer(Ramp(0, {{kSecond, 0}, {0, 10}, {kSecond, 10}}), Arrivals::kUniform, 0));
  ASSERT_EQ(offsets.size(), 10U);
  EXPECT_GE(offsets[1], kSecond);
}

TEST(Ramp, LevelsAndAreasOfATrapezoid) {
  const Ramp ramp(0, {{kSecond, 10}, {kSecond, 10}, {kSecond, 0}});
  EXPECT_DOUBLE_EQ(ramp.level_at(0), 0);
  EXPECT_DOUBLE_EQ(ramp.level_at(kSecond / 2), 5);
  EXPECT_DOUBLE_EQ(ramp.level_at(3 * kSecond / 2), 10);
  EXPECT_DOUBLE_EQ(ramp.level_at(4 * kSecond), 0);
  EXPECT_DOUBLE_EQ(ramp.area_until(kSecond), 5);
  EXPECT_DOUBLE_EQ(ramp.area_until(9 * kSecond), 20);
  EXPECT_EQ(ramp.length(), 3 * kSecond);
  EXPECT_DOUBLE_EQ(ramp.highest(), 10);
}

TEST(Ramp, FindsWhenALevelIsReached) {
  const Ramp ramp(0, {{kSecond, 10}, {kSecond, 0}, {kSecond, 4}});
  EXPECT_EQ(ramp.time_of_level(5, 0), kSecond / 2);
  EXPECT_EQ(ramp.time_of_level(5, 5 * kSecond / 4),
            5 * kSecond / 4);  // still above on the way down
  EXPECT_EQ(ramp.time_of_level(3, 2 * kSecond), 2 * kSecond + 3 * kSecond / 4);
  EXPECT_EQ(ramp.time_of_level(5, 2 * kSecond), kNever);
  EXPECT_EQ(Ramp(3).time_of_level(2, 7), 7);
}

TEST(Ramp, AreaAndItsTimeAreInverse) {
  const Ramp ramp(2, {{kSecond, 20}, {3 * kSecond, 1}, {kSecond, 8}});
  for (double area = 0.5; area < ramp.area_until(ramp.length()); area += 1.7) {
    EXPECT_NEAR(ramp.area_until(ramp.time_of_area(area)), area, 1e-6);
  }
  EXPECT_EQ(ramp.time_of_area(1e9), kNever);
}

TEST(Ramp, RefusesWhatIsNoLevel) {
  EXPECT_THROW(Ramp(-1), Error);
  EXPECT_THROW(Ramp(std::nan("")), Error);
  EXPECT_THROW(Ramp(1, {}), Error);
  EXPECT_THROW(Ramp(1, {{-1, 1}}), Error);
  EXPECT_THROW(Ramp(1, {{0, 5}}), Error);  // jumps alone take no time
}

}  // namespace
}  // namespace mcp::loadtest
