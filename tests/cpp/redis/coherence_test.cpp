#include "redis/coherence.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "redis/coherence_model.h"

namespace mcp::redis {
namespace {

TEST(Coherence, KeepsAFillThatNothingDisturbed) {
  Coherence machine;
  machine.connected(true);
  EXPECT_TRUE(machine.keep(machine.begin("k")));
  EXPECT_EQ(machine.placeholders(), 0U);
}

TEST(Coherence, RefusesAFillThatAnInvalidationOvertook) {
  Coherence machine;
  machine.connected(true);
  const FillId fill = machine.begin("k");
  machine.invalidated("k");
  EXPECT_FALSE(machine.keep(fill));
}

TEST(Coherence, LeavesFillsOfOtherKeysAlone) {
  Coherence machine;
  machine.connected(true);
  const FillId fill = machine.begin("k");
  machine.invalidated("other");
  EXPECT_TRUE(machine.keep(fill));
}

TEST(Coherence, ForgetsEveryFillWhenEverythingIsInvalidated) {
  Coherence machine;
  machine.connected(true);
  const FillId one = machine.begin("a"), other = machine.begin("b");
  machine.invalidated_all();
  EXPECT_FALSE(machine.keep(one));
  EXPECT_FALSE(machine.keep(other));
}

TEST(Coherence, AFillBegunAfterTheInvalidationIsANewOne) {
  Coherence machine;
  machine.connected(true);
  const FillId before = machine.begin("k");
  machine.invalidated("k");
  const FillId after = machine.begin("k");
  EXPECT_FALSE(machine.keep(before));
  EXPECT_TRUE(machine.keep(after));
}

TEST(Coherence, TheLastOfTwoFillsOfAKeyIsTheOneToKeep) {
  Coherence machine;
  machine.connected(true);
  const FillId first = machine.begin("k"), last = machine.begin("k");
  EXPECT_FALSE(machine.keep(first));
  EXPECT_TRUE(machine.keep(last));
}

TEST(Coherence, AFillIsKeptOnce) {
  Coherence machine;
  machine.connected(true);
  const FillId fill = machine.begin("k");
  EXPECT_TRUE(machine.keep(fill));
  EXPECT_FALSE(machine.keep(fill));
}

TEST(Coherence, NoFillLivesThroughALossOrAReconnect) {
  Coherence machine;
  machine.connected(true);
  const FillId before = machine.begin("k");
  machine.lost();
  EXPECT_FALSE(machine.keep(before));
  const FillId away = machine.begin("k");
  machine.connected(true);
  EXPECT_FALSE(machine.keep(away));
}

TEST(Coherence, KeepsLoadedValuesWhileRedisIsAway) {
  Coherence machine;
  EXPECT_TRUE(machine.keep(machine.begin("k")));
}

TEST(Coherence, KeepsNothingOfAServerThatCannotTrack) {
  Coherence machine;
  machine.connected(false);
  EXPECT_EQ(machine.begin("k"), kNoFill);
  EXPECT_FALSE(machine.keep(kNoFill));
}

TEST(Coherence, AbandonedFillsLeaveNothingBehind) {
  Coherence machine;
  machine.connected(true);
  for (int i = 0; i < 1000; ++i) machine.abandon(machine.begin(std::to_string(i)));
  EXPECT_EQ(machine.placeholders(), 0U);
}

TEST(Coherence, ASilentPeerIsLostAtTheSecondBeat) {
  Coherence machine;
  machine.connected(true);
  EXPECT_TRUE(machine.beat());
  EXPECT_FALSE(machine.beat());
}

TEST(Coherence, APeerThatIsHeardStaysAlive) {
  Coherence machine;
  machine.connected(true);
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(machine.beat());
    machine.heard();
  }
}

TEST(Coherence, ANewConnectionOwesNoPong) {
  Coherence machine;
  machine.connected(true);
  EXPECT_TRUE(machine.beat());
  machine.lost();
  machine.connected(true);
  EXPECT_TRUE(machine.beat());
}

// -- Every order of events

using Step = World::Step;

struct Search {
  std::uint64_t schedules = 0;
  std::uint64_t kept = 0;
  std::uint64_t refused = 0;
  std::string broken;
  std::vector<int> path;

  // Every schedule of `depth` more steps from `world`; stops at the first broken rule.
  bool run(const World& world, int depth) {
    if (depth == 0) {
      ++schedules;
      kept += world.kept;
      refused += world.refused;
      return true;
    }
    for (int step = 0; step < static_cast<int>(Step::kCount); ++step) {
      if (!world.possible(static_cast<Step>(step))) continue;
      World next = world;
      next.take(static_cast<Step>(step));
      path.push_back(step);
      broken = next.broken_rule();
      if (!broken.empty() || !run(next, depth - 1)) return false;
      path.pop_back();
    }
    return true;
  }
};

std::string steps(const std::vector<int>& path) {
  std::string text;
  for (const int step : path) text += std::to_string(step) + " ";
  return text;
}

// The start is one fill away from nothing, so that short schedules reach deep.
World after_a_read(Flaw flaw) {
  World world(flaw);
  for (const Step step : {Step::kBeginGet0, Step::kServerRuns}) world.take(step);
  return world;
}

TEST(CoherenceModel, HoldsInEveryShortSchedule) {
  Search search;
  EXPECT_TRUE(search.run(after_a_read(Flaw::kNone), 6))
      << search.broken << " after " << steps(search.path);
  EXPECT_GT(search.schedules, 10'000U);
  EXPECT_GT(search.kept, 100U);
  EXPECT_GT(search.refused, 100U);
}

// One random schedule; the step at which a rule broke, or -1. Connections break once in a while.
int break_at(Flaw flaw, std::uint64_t seed, int length, std::string& broken) {
  std::mt19937_64 random(seed);
  World world(flaw);
  for (int turn = 0; turn < length; ++turn) {
    const auto step = static_cast<Step>(random() % static_cast<unsigned>(Step::kCount));
    const bool breaks = step == Step::kDataBreaks || step == Step::kNewsBreaks;
    if (!world.possible(step) || (breaks && random() % 16 != 0)) continue;
    world.take(step);
    broken = world.broken_rule();
    if (!broken.empty()) return turn;
  }
  return -1;
}

TEST(CoherenceModel, HoldsInLongRandomSchedules) {
  for (std::uint64_t seed = 0; seed < 5000; ++seed) {
    std::string broken;
    EXPECT_EQ(break_at(Flaw::kNone, seed, 200, broken), -1) << broken << ", seed " << seed;
  }
}

class CoherenceModelFlaw : public testing::TestWithParam<Flaw> {};

TEST_P(CoherenceModelFlaw, IsFound) {
  bool found = false;
  std::string broken;
  for (std::uint64_t seed = 0; seed < 5000 && !found; ++seed) {
    found = break_at(GetParam(), seed, 200, broken) >= 0;
  }
  EXPECT_TRUE(found);
}

INSTANTIATE_TEST_SUITE_P(Each, CoherenceModelFlaw,
                         testing::Values(Flaw::kKeepsWhatever, Flaw::kBeginsAtTheReply,
                                         Flaw::kKeepsAcrossALoss, Flaw::kNoFlushAtALoss,
                                         Flaw::kNoFlushAtAReconnect, Flaw::kIgnoresNullMessages));

}  // namespace
}  // namespace mcp::redis
