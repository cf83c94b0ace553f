#include "sqlite/tracker.h"

#include <gtest/gtest.h>

#include <string>

namespace mcp::sqlite {
namespace {

Execution taking(Duration step_ns, std::uint64_t rows) {
  Execution execution;
  execution.step_ns = step_ns;
  execution.rows = rows;
  return execution;
}

TEST(Tracker, CountsByFingerprint) {
  Tracker tracker(kSecond);
  tracker.record(*tracker.figures_of("select 'canary'"), taking(kMillisecond, 1));
  tracker.record(*tracker.figures_of("SELECT 2"), taking(3 * kMillisecond, 1));
  const auto totals = tracker.totals();
  ASSERT_EQ(totals.size(), 1U);
  EXPECT_EQ(totals[0].fingerprint, "SELECT ?");
  EXPECT_EQ(totals[0].sample, "SELECT ?");
  EXPECT_EQ(totals[0].calls, 2U);
  EXPECT_DOUBLE_EQ(totals[0].total_s, 0.004);
}

TEST(Tracker, TakesAllStatementsTogether) {
  Tracker tracker(kSecond);
  for (int i = 0; i < 99; ++i)
    tracker.record(*tracker.figures_of("SELECT a"), taking(kMillisecond, 2));
  tracker.record(*tracker.figures_of("SELECT b"), taking(kSecond, 1));
  std::size_t count = 0;
  const FigureTotals all = tracker.overall(count);
  EXPECT_EQ(count, 2U);
  EXPECT_EQ(all.calls, 100U);
  EXPECT_EQ(all.rows, 199U);
  EXPECT_NEAR(all.p95_s, 0.001, 0.0001);
  EXPECT_NEAR(all.p99_s, 0.001, 0.0001);
  EXPECT_NEAR(all.max_s, 1.0, 0.01);
  EXPECT_NEAR(all.step_s, 1.099, 0.001);
}

TEST(Tracker, NothingCountedIsAllZero) {
  std::size_t count = 1;
  const FigureTotals all = Tracker(kSecond).overall(count);
  EXPECT_EQ(count, 0U);
  EXPECT_EQ(all.calls, 0U);
  EXPECT_EQ(all.p99_s, 0.0);
}

TEST(Tracker, ForgetsWhatWasSeenLongestAgo) {
  Tracker tracker(kSecond);
  for (std::size_t i = 0; i < Tracker::kCapacity + 5; ++i) {
    tracker.record(*tracker.figures_of("SELECT c" + std::to_string(i)), taking(1, 0));
  }
  const auto totals = tracker.totals();
  EXPECT_EQ(totals.size(), Tracker::kCapacity);
  EXPECT_EQ(totals.back().fingerprint, "SELECT c5");
}

TEST(Tracker, KeepsABoundedLogOfSlowStatements) {
  Tracker tracker(kMillisecond);
  for (std::size_t i = 0; i < Tracker::kSlowCapacity + 5; ++i) {
    tracker.record(*tracker.figures_of("SELECT 1"), taking(kMillisecond, 0));  // not over
    tracker.record(*tracker.figures_of("SELECT 1"), taking(kMillisecond + 1, i));
  }
  const auto slow = tracker.slow();
  ASSERT_EQ(slow.size(), Tracker::kSlowCapacity);
  EXPECT_EQ(slow.front().execution.rows, 5U);
}

}  // namespace
}  // namespace mcp::sqlite
