#include "sqlite/tracker.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "sqlite/profile.h"

namespace mcp::sqlite {
namespace {

TEST(Tracker, AddsUpByFingerprintAndKeepsTimesApart) {
  Tracker tracker(kSecond);
  Execution execution;
  execution.queue_ns = 10 * kMillisecond;
  execution.step_ns = 20 * kMillisecond;
  execution.rows = 3;
  execution.rows_scanned = 7;
  tracker.record(*tracker.figures_of("SELECT x FROM t WHERE x = 1"), execution);
  execution.failed = true;
  tracker.record(*tracker.figures_of("select x from t where x = 2"), execution);
  const auto totals = tracker.totals();
  ASSERT_EQ(totals.size(), 1u);
  EXPECT_EQ(totals[0].calls, 2u);
  EXPECT_EQ(totals[0].errors, 1u);
  EXPECT_EQ(totals[0].rows, 6u);
  EXPECT_EQ(totals[0].full_scans, 2u);
  EXPECT_NEAR(totals[0].queue_s, 0.02, 1e-9);
  EXPECT_NEAR(totals[0].step_s, 0.04, 1e-9);
  EXPECT_TRUE(tracker.slow().empty());
}

TEST(Tracker, KeepsTheLastSlowStatementsWithoutTheirValues) {
  Tracker tracker(kMillisecond);
  Execution slow;
  slow.step_ns = 2 * kMillisecond;
  const auto figures = tracker.figures_of("SELECT * FROM t WHERE secret = 'canary'");
  for (std::size_t i = 0; i < Tracker::kSlowCapacity + 10; ++i) tracker.record(*figures, slow);
  const auto kept = tracker.slow();
  EXPECT_EQ(kept.size(), Tracker::kSlowCapacity);
  EXPECT_EQ(kept.back().sample.find("canary"), std::string::npos);
  EXPECT_EQ(kept.back().fingerprint.find("canary"), std::string::npos);
}

TEST(Tracker, IsBoundedAndFoldsTheLeastUsedWithoutLosingACall) {
  Tracker tracker(kSecond);
  const auto first = tracker.figures_of("SELECT first FROM t");
  std::uint64_t calls = 0;
  const auto record = [&](Figures& figures) {
    tracker.record(figures, {.step_ns = kMillisecond, .rows = 1});
    ++calls;
  };
  record(*first);
  for (int i = 0; i < 10; ++i) record(*tracker.figures_of("SELECT early FROM t"));
  for (std::size_t i = 0; i < Tracker::kCapacity * 2; ++i) {
    record(*tracker.figures_of("SELECT c" + std::to_string(i) + " FROM t"));
    record(*tracker.figures_of("SELECT often FROM t"));
  }
  record(*first);  // a statement that is still held, after it was folded
  const auto totals = tracker.totals();
  EXPECT_LE(totals.size(), Tracker::kCapacity);
  std::uint64_t counted = 0;
  std::map<std::string, std::uint64_t> by_name;
  for (const auto& one : totals) {
    counted += one.calls;
    by_name[one.fingerprint] = one.calls;
  }
  EXPECT_EQ(counted, calls);
  EXPECT_EQ(by_name["SELECT often FROM t"], Tracker::kCapacity * 2);
  EXPECT_EQ(by_name["SELECT early FROM t"], 10u);  // of old, and used more than the others
  EXPECT_GT(by_name[std::string(Tracker::kRest)], Tracker::kCapacity);
  EXPECT_EQ(by_name.count("SELECT first FROM t"), 0u);
  std::size_t fingerprints = 0;
  EXPECT_EQ(tracker.overall(fingerprints).calls, calls);
}

TEST(Profile, RunsInlineOnceItsHistoryIsShortAndStaysAwayAfterAnOverrun) {
  Tracker tracker(kSecond);
  ProfileTable table(tracker);
  const ProfilePtr profile = table.find("SELECT 1");
  EXPECT_EQ(table.find("SELECT 1"), profile);
  constexpr Duration kBudget = 100 * kMicrosecond;
  EXPECT_FALSE(profile->fits_inline(kBudget));  // never seen
  profile->note_run(10 * kMicrosecond);
  EXPECT_TRUE(profile->fits_inline(kBudget));
  profile->note_run(10 * kMillisecond);
  EXPECT_FALSE(profile->fits_inline(kBudget));
  for (int i = 0; i < 100; ++i) profile->note_run(10 * kMicrosecond);
  EXPECT_TRUE(profile->fits_inline(kBudget));  // one slow run is forgotten
  profile->note_overrun();
  int refused = 0;
  while (!profile->fits_inline(kBudget)) ++refused;
  profile->note_overrun();
  int refused_again = 0;
  while (!profile->fits_inline(kBudget)) ++refused_again;
  EXPECT_GT(refused, 0);
  EXPECT_EQ(refused_again, 2 * refused);
}

TEST(ProfileTable, IsBounded) {
  Tracker tracker(kSecond);
  ProfileTable table(tracker);
  const std::uint64_t first = table.find("SELECT 0")->id;
  for (std::size_t i = 1; i <= ProfileTable::kCapacity; ++i) {
    static_cast<void>(table.find("SELECT " + std::to_string(i)));
  }
  EXPECT_NE(table.find("SELECT 0")->id, first);
}

}  // namespace
}  // namespace mcp::sqlite
