#include "batch/chunk_sizer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "batch/work_kind.h"

namespace mcp::batch {
namespace {

TEST(ChunkSizer, StartsWithOneItem) { EXPECT_EQ(ChunkSizer().next(1000, 4), 1U); }

TEST(ChunkSizer, KeepsAFixedSize) {
  ChunkSizer sizer(25);
  EXPECT_EQ(sizer.next(1000, 4), 25U);
  sizer.record(25, kSecond);
  EXPECT_EQ(sizer.next(1000, 4), 25U);
  EXPECT_EQ(sizer.next(7, 4), 7U);
}

TEST(ChunkSizer, GrowsStepByStepToAMillisecondOfShortItems) {
  ChunkSizer sizer;
  std::size_t size = 1;
  for (int i = 0; i < 10; ++i) {
    size = sizer.next(1'000'000, 1);
    sizer.record(size, static_cast<Duration>(size) * 100);
    if (i == 2) {
      EXPECT_EQ(size, 64U);
    }
  }
  EXPECT_EQ(size, 10'000U);
}

TEST(ChunkSizer, TakesLongItemsOneByOne) {
  ChunkSizer sizer;
  sizer.record(1, 10 * kMillisecond);
  EXPECT_EQ(sizer.next(1000, 4), 1U);
}

TEST(ChunkSizer, SharesTheRestOfLongWork) {
  ChunkSizer sizer;
  sizer.record(1000, kMillisecond);
  EXPECT_EQ(sizer.next(3000, 4), 375U);
  EXPECT_EQ(sizer.next(500, 4), 500U);  // through in half a millisecond
}

TEST(ChunkSizer, FollowsCostsThatDrift) {
  ChunkSizer sizer;
  sizer.record(1000, 1000 * 100);
  for (int i = 0; i < 10; ++i) sizer.record(1, kMillisecond);
  EXPECT_EQ(sizer.next(1000, 1), 1U);
}

TEST(ChunkSizer, TakesItemsThatCostNothingMeasurable) {
  ChunkSizer sizer;
  sizer.record(10, 0);
  EXPECT_EQ(sizer.next(1'000'000, 1), 80U);
}

struct Bound {
  Duration item_ns;
  Duration target_ns;
};

class ChunkTime : public testing::TestWithParam<Bound> {};

TEST_P(ChunkTime, IsBoundedOnceItemsWereMeasured) {
  const auto [item_ns, target_ns] = GetParam();
  for (const unsigned workers : {1U, 4U}) {
    ChunkSizer sizer;
    std::size_t left = 1'000'000;
    for (int chunk = 0; left > 0 && chunk < 1000; ++chunk) {
      const std::size_t size = sizer.next(left, workers, target_ns);
      ASSERT_GE(size, 1U);
      ASSERT_LE(size, left);
      ASSERT_LE(static_cast<Duration>(size) * item_ns, std::max(target_ns, item_ns));
      if (chunk > 0) {
        ASSERT_LE(static_cast<Duration>(sizer.fitting(target_ns)) * item_ns,
                  std::max(target_ns, item_ns));
      }
      sizer.record(size, static_cast<Duration>(size) * item_ns);
      left -= size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Items, ChunkTime,
                         testing::Values(Bound{300, kMillisecond}, Bound{300, 2 * kMillisecond},
                                         Bound{1 * kMicrosecond, 8 * kMillisecond},
                                         Bound{50 * kMicrosecond, 2 * kMillisecond},
                                         Bound{kMillisecond, 2 * kMillisecond},
                                         Bound{kSecond, 2 * kMillisecond}));

TEST(ChunkSizer, TheTimeOfOneItemThatTurnsOutLongBoundsTheNextChunk) {
  ChunkSizer sizer;
  for (int i = 0; i < 10; ++i) sizer.record(1000, kMillisecond);
  sizer.record(1, 10 * kMillisecond);
  EXPECT_EQ(sizer.fitting(2 * kMillisecond), 1U);
}

TEST(KindProbe, NeedsEvidence) {
  KindProbe probe;
  probe.record(KindProbe::kEvidence_ns - 1, 0);
  EXPECT_EQ(probe.kind(), WorkKind::kMeasured);
}

TEST(KindProbe, TellsComputingFromWaiting) {
  KindProbe computing;
  computing.record(KindProbe::kEvidence_ns, KindProbe::kEvidence_ns * 9 / 10);
  EXPECT_EQ(computing.kind(), WorkKind::kCpu);
  KindProbe waiting;
  waiting.record(KindProbe::kEvidence_ns, KindProbe::kEvidence_ns / 10);
  EXPECT_EQ(waiting.kind(), WorkKind::kBlocking);
}

TEST(KindProbe, AddsUpShortChunks) {
  KindProbe probe;
  for (int i = 0; i < 4; ++i) probe.record(KindProbe::kEvidence_ns / 4, 0);
  EXPECT_EQ(probe.kind(), WorkKind::kBlocking);
}

TEST(KindProbe, DecidesByWorkThatStillRuns) {
  KindProbe probe;
  probe.observe(KindProbe::kEvidence_ns / 2, 0);
  EXPECT_EQ(probe.kind(), WorkKind::kMeasured);
  probe.observe(KindProbe::kEvidence_ns, 0);
  EXPECT_EQ(probe.kind(), WorkKind::kBlocking);
}

TEST(KindProbe, DoesNotTakeABusyMachineForWaiting) {
  KindProbe finished;
  for (int i = 0; i < 10; ++i) {
    finished.record(10 * KindProbe::kEvidence_ns, KindProbe::kEvidence_ns / 5, 0);
  }
  EXPECT_EQ(finished.kind(), WorkKind::kCpu);
  KindProbe running;
  running.observe(10 * KindProbe::kEvidence_ns, KindProbe::kEvidence_ns / 10, false);
  EXPECT_EQ(running.kind(), WorkKind::kMeasured);
  running.observe(10 * KindProbe::kEvidence_ns, KindProbe::kEvidence_ns / 10, true);
  EXPECT_EQ(running.kind(), WorkKind::kBlocking);
}

TEST(KindProbe, StaysWithWhatItWasTold) {
  KindProbe probe(WorkKind::kBlocking);
  probe.record(kSecond, kSecond);
  EXPECT_EQ(probe.kind(), WorkKind::kBlocking);
}

}  // namespace
}  // namespace mcp::batch
