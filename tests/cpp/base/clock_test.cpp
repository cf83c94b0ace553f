#include "base/clock.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace mcp {
namespace {

TEST(Seconds, AreTheNearestNanosecondAndNeverBeyondTheClock) {
  EXPECT_EQ(from_seconds(0), 0);
  EXPECT_EQ(from_seconds(0.29), 290 * kMillisecond);
  EXPECT_EQ(from_seconds(-0.29), -290 * kMillisecond);
  EXPECT_EQ(from_seconds(1e-9), 1);
  EXPECT_EQ(from_seconds(1e9), 1'000'000'000 * kSecond);
  for (const double beyond : {1e10, 1e300, std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_EQ(from_seconds(beyond), kNever);
  }
  EXPECT_EQ(from_seconds(-1e300), -kNever);
  EXPECT_DOUBLE_EQ(to_seconds(1'500'000'000), 1.5);
  EXPECT_EQ(from_seconds(to_seconds(123'456'789)), 123'456'789);
}

TEST(Seconds, AddedToATimeStayWithinTheClock) {
  EXPECT_EQ(later(5, 6), 11);
  EXPECT_EQ(later(5, from_seconds(1e300)), kNever);
}

}  // namespace
}  // namespace mcp
