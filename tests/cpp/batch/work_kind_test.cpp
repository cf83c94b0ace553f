#include "batch/work_kind.h"

#include <gtest/gtest.h>

namespace mcp::batch {
namespace {

TEST(KindProbe, TellsComputingFromWaitingByWhatWasUsedOfTheTime) {
  KindProbe computes;
  computes.record(300 * kMicrosecond, 290 * kMicrosecond);
  EXPECT_EQ(computes.kind(), WorkKind::kCpu);
  KindProbe waits;
  waits.record(300 * kMicrosecond, 20 * kMicrosecond);
  EXPECT_EQ(waits.kind(), WorkKind::kBlocking);
}

TEST(KindProbe, DoesNotDecideByAMoment) {
  KindProbe probe;
  probe.record(150 * kMicrosecond, 1 * kMicrosecond);
  EXPECT_EQ(probe.kind(), WorkKind::kMeasured);
  probe.observe(40 * kMicrosecond, 0);
  EXPECT_EQ(probe.kind(), WorkKind::kMeasured);
  probe.record(50 * kMicrosecond, 50 * kMicrosecond);
  EXPECT_EQ(probe.kind(), WorkKind::kBlocking);
}

TEST(KindProbe, SeesWaitingInACallThatIsNotFinished) {
  KindProbe probe;
  probe.observe(250 * kMicrosecond, 30 * kMicrosecond);
  EXPECT_EQ(probe.kind(), WorkKind::kBlocking);
}

TEST(KindProbe, LetsACallBeginWithComputing) {
  KindProbe probe;
  probe.observe(250 * kMicrosecond, 240 * kMicrosecond);
  EXPECT_EQ(probe.kind(), WorkKind::kMeasured);
  probe.observe(600 * kMicrosecond, 250 * kMicrosecond);
  EXPECT_EQ(probe.kind(), WorkKind::kBlocking);
}

TEST(KindProbe, SeesComputingInACallThatGoesOnAndOn) {
  KindProbe probe;
  probe.observe(1 * kMillisecond, 1 * kMillisecond);
  EXPECT_EQ(probe.kind(), WorkKind::kMeasured);
  probe.observe(3 * kMillisecond, 2 * kMillisecond);
  EXPECT_EQ(probe.kind(), WorkKind::kCpu);
}

TEST(KindProbe, KeepsWhatItKnowsOrHasDecided) {
  KindProbe told(WorkKind::kBlocking);
  told.record(kSecond, kSecond);
  EXPECT_EQ(told.kind(), WorkKind::kBlocking);
  KindProbe decided;
  decided.record(kMillisecond, kMillisecond);
  decided.record(kSecond, 0);
  EXPECT_EQ(decided.kind(), WorkKind::kCpu);
}

}  // namespace
}  // namespace mcp::batch
