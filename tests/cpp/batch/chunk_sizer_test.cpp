#include "batch/chunk_sizer.h"

#include <gtest/gtest.h>

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

TEST(KindProbe, StaysWithWhatItWasTold) {
  KindProbe probe(WorkKind::kBlocking);
  probe.record(kSecond, kSecond);
  EXPECT_EQ(probe.kind(), WorkKind::kBlocking);
}

}  // namespace
}  // namespace mcp::batch
