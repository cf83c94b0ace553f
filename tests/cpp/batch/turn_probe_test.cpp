#include "batch/turn_probe.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "batch/turns.h"

namespace mcp::batch {
namespace {

struct Case {
  const char* what;
  Duration cpu_ns, wait_ns;
  std::uint64_t sleeps;
  bool alone;
};

class TurnProbeTable : public testing::TestWithParam<Case> {};

TEST_P(TurnProbeTable, TellsByTheChunksThatRanBesideOthers) {
  const Case& chunk = GetParam();
  TurnProbe probe;
  for (int i = 0; i < 100; ++i) probe.record(chunk.cpu_ns, chunk.wait_ns, chunk.sleeps);
  EXPECT_EQ(probe.alone(), chunk.alone) << chunk.what;
}

INSTANTIATE_TEST_SUITE_P(
    Work, TurnProbeTable,
    testing::Values(
        Case{"takes turns", kMillisecond, kMillisecond, 0, true},
        Case{"takes turns among many", kMillisecond, 5 * kMillisecond, 0, true},
        Case{"works at the same time", kMillisecond, 10 * kMicrosecond, 0, false},
        Case{"waits now and then", kMillisecond, 300 * kMicrosecond, 0, false},
        Case{"sleeps, and waits for the lock after", 100 * kMicrosecond, kMillisecond, 1, false},
        Case{"many items a chunk, each sleeps", kMillisecond, kMillisecond, 20, false}));

TEST(TurnProbe, NeedsEvidence) {
  TurnProbe probe;
  probe.record(TurnProbe::kEvidence_ns / 2, TurnProbe::kEvidence_ns / 2 - 1, 0);
  EXPECT_FALSE(probe.alone());
  probe.record(0, 1, 0);
  EXPECT_TRUE(probe.alone());
}

TEST(TurnProbe, LooksAnewOnceThreadsShare) {
  TurnProbe probe;
  probe.record(5 * kMillisecond, 5 * kMillisecond, 0);
  EXPECT_TRUE(probe.alone());
  probe.share();
  EXPECT_FALSE(probe.alone());
  probe.record(10 * kMillisecond, 0, 0);
  EXPECT_FALSE(probe.alone());
}

TEST(TurnProbe, OldEvidenceDoesNotSpeakForNewWork) {
  TurnProbe probe;
  for (int i = 0; i < 100; ++i) probe.record(kMillisecond, 0, 0);
  for (int i = 0; i < 10; ++i) probe.record(kMillisecond, kMillisecond, 0);
  EXPECT_TRUE(probe.alone());
}

TEST(Turns, AreTakenOneAfterTheOther) {
  Turns turns;
  const std::uint64_t first = turns.enter();
  std::future<std::uint64_t> second = std::async(std::launch::async, [&] { return turns.enter(); });
  turns.leave(first);
  EXPECT_NE(second.get(), first);
}

TEST(Turns, AreNoLock) {
  Turns turns;
  const std::uint64_t stuck = turns.enter();
  const std::uint64_t next = turns.enter();  // for ever, if the first one had to leave
  turns.leave(stuck);                        // no longer its own
  std::future<std::uint64_t> third = std::async(std::launch::async, [&] { return turns.enter(); });
  turns.leave(next);
  EXPECT_GT(third.get(), next);
}

}  // namespace
}  // namespace mcp::batch
