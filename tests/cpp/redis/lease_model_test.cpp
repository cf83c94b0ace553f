#include "lease_model.h"

#include <gtest/gtest.h>

#include <random>

#include "test_rounds.h"

namespace mcp::redis {
namespace {

constexpr int kDepth = kSanitized ? 6 : 9;

// Takes every order of up to `left` further steps; the first that goes wrong.
std::string explore(const LeaseWorld& world, int left, std::size_t& schedules) {
  ++schedules;
  LeaseWorld ended = world;
  ended.finish();
  if (!ended.wrong().empty()) return ended.wrong();
  if (left == 0) return {};
  for (int step = 0; step < LeaseWorld::kCount; ++step) {
    if (!world.possible(step)) continue;
    LeaseWorld next = world;
    next.take(step);
    if (!next.wrong().empty()) return next.wrong() + " at step " + std::to_string(step);
    std::string wrong = explore(next, left - 1, schedules);
    if (!wrong.empty()) return wrong + " after step " + std::to_string(step);
  }
  return {};
}

TEST(LeaseModel, EveryOrderOfThreeProcessesAndTwoFaultsIsRight) {
  std::size_t schedules = 0;
  EXPECT_EQ(explore(LeaseWorld(LeaseFlaw::kNone), kDepth, schedules), "");
  EXPECT_GT(schedules, kSanitized ? 1'000U : 1'000'000U);
}

TEST(LeaseModel, LongRandomSchedulesAreRight) {
  std::mt19937_64 random(7);
  for (int round = 0; round < test_rounds(20'000); ++round) {
    LeaseWorld world(LeaseFlaw::kNone);
    for (int i = 0; i < 40; ++i) {
      std::vector<int> steps;
      for (int step = 0; step < LeaseWorld::kCount; ++step) {
        if (world.possible(step)) steps.push_back(step);
      }
      world.take(steps[random() % steps.size()]);
      ASSERT_EQ(world.wrong(), "") << "round " << round;
    }
    world.finish();
    ASSERT_EQ(world.wrong(), "") << "round " << round;
  }
}

class LeaseModelFlaw : public testing::TestWithParam<LeaseFlaw> {};

TEST_P(LeaseModelFlaw, IsFound) {
  std::size_t schedules = 0;
  EXPECT_NE(explore(LeaseWorld(GetParam()), kDepth, schedules), "");
}

INSTANTIATE_TEST_SUITE_P(Each, LeaseModelFlaw,
                         testing::Values(LeaseFlaw::kStoresWhatever, LeaseFlaw::kStampOfTheStore,
                                         LeaseFlaw::kOwedWithoutDate, LeaseFlaw::kOwedIsForgotten,
                                         LeaseFlaw::kWaitsForTheDead));

}  // namespace
}  // namespace mcp::redis
