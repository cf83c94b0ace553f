#include "redis/lease.h"

#include <gtest/gtest.h>

#include "redis/server_clock.h"

namespace mcp::redis {
namespace {

using Commands = std::vector<std::string>;

TEST(HeldLeases, AreRenewedOnceAnInterval) {
  HeldLeases leases(10);
  EXPECT_EQ(leases.next(), kNever);
  leases.hold("a", "renew a", 100);
  leases.hold("b", "renew b", 105);
  EXPECT_EQ(leases.next(), 110);
  EXPECT_EQ(leases.due(109), Commands{});
  EXPECT_EQ(leases.due(110), Commands{"renew a"});
  EXPECT_EQ(leases.next(), 115);
  EXPECT_EQ(leases.due(119), Commands{"renew b"});
  EXPECT_EQ(leases.due(120), Commands{"renew a"});
}

TEST(HeldLeases, ThatWereLetGoAreNeverDue) {
  HeldLeases leases(10);
  leases.hold("a", "renew a", 100);
  EXPECT_TRUE(leases.let_go("a"));
  EXPECT_FALSE(leases.let_go("a"));
  EXPECT_EQ(leases.next(), kNever);
  EXPECT_EQ(leases.due(1000), Commands{});
}

TEST(ServerClock, NeverShowsMoreThanItsLatest) {
  ServerClock clock;
  EXPECT_EQ(clock.latest(0), std::nullopt);
  // The server is 1000 us ahead; it showed the time somewhere in between.
  const auto us = [](std::int64_t time) { return time * kMicrosecond; };
  clock.saw(1'150, us(100), us(200));
  EXPECT_GE(*clock.latest(us(500)), 1'500);
  EXPECT_LE(*clock.latest(us(500)), 1'552);
  clock.saw(2'001, us(1'000), us(1'002));  // a closer look
  EXPECT_GE(*clock.latest(us(1'010)), 2'010);
  EXPECT_LE(*clock.latest(us(1'010)), 2'012);
  clock.saw(3'090, us(2'000), us(2'100));  // a worse one changes nothing
  EXPECT_LE(*clock.latest(us(2'100)), 3'103);
}

TEST(ServerClock, FollowsOneThatWasSet) {
  ServerClock clock;
  const auto us = [](std::int64_t time) { return time * kMicrosecond; };
  clock.saw(1'000, us(100), us(102));
  clock.saw(9'000, us(200), us(202));  // forward
  EXPECT_GE(*clock.latest(us(202)), 9'000);
  clock.saw(500, us(300), us(302));  // and back
  EXPECT_LE(*clock.latest(us(302)), 503);
}

}  // namespace
}  // namespace mcp::redis
