#include "redis/breaker.h"

#include <gtest/gtest.h>

namespace mcp::redis {
namespace {

TEST(Breaker, LetsEverybodyThroughWhileAllIsWell) {
  Breaker breaker(1);
  EXPECT_TRUE(breaker.admits(999));
  breaker.connected();
  EXPECT_EQ(breaker.state(), Breaker::State::kClosed);
}

TEST(Breaker, OpensAtAFailureAndLetsNobodyThrough) {
  Breaker breaker(1);
  static_cast<void>(breaker.failed());
  EXPECT_FALSE(breaker.admits(0));
}

TEST(Breaker, LetsOneCommandAtATimeThroughUntilOneIsAnswered) {
  Breaker breaker(1);
  static_cast<void>(breaker.failed());
  breaker.connected();
  EXPECT_TRUE(breaker.admits(0));
  EXPECT_FALSE(breaker.admits(1));
  breaker.succeeded();
  EXPECT_TRUE(breaker.admits(1));
}

TEST(Breaker, WaitsLongerEachTimeUpToASecondWithJitter) {
  Breaker breaker(7);
  Duration longest = Breaker::kFirstDelay;
  for (int i = 0; i < 100; ++i) {
    const Duration delay = breaker.failed();
    EXPECT_GE(delay, longest / 2);
    EXPECT_LE(delay, longest);
    longest = std::min(longest * 2, kSecond);
  }
}

TEST(Breaker, IsNotImpressedByConnectionsThatAnswerNothing) {
  Breaker breaker(7);
  for (int i = 0; i < 20; ++i) {
    static_cast<void>(breaker.failed());
    breaker.connected();
  }
  EXPECT_GE(breaker.failed(), kSecond / 2);
  EXPECT_FALSE(breaker.admits(0));
}

TEST(Breaker, TwoClientsDoNotRetryInStep) {
  Breaker one(1), other(2);
  bool differ = false;
  for (int i = 0; i < 10; ++i) differ = one.failed() != other.failed() || differ;
  EXPECT_TRUE(differ);
}

}  // namespace
}  // namespace mcp::redis
