#include "base/log.h"

#include <gtest/gtest.h>

#include <thread>

namespace mcp {
namespace {

TEST(Log, RecordsArriveInOrderWithTheirRoom) {
  logger("sqlite").warn("first {}", 1);
  logger("redis").error("second");
  const LogBatch batch = wait_for_log(0);
  ASSERT_EQ(batch.records.size(), 2u);
  EXPECT_EQ(batch.records[0].room, "sqlite");
  EXPECT_EQ(batch.records[0].message, "first 1");
  EXPECT_EQ(batch.records[1].level, spdlog::level::err);
}

TEST(Log, IsQuietBelowWarningUntilAsked) {
  logger("sqlite").info("unheard");
  EXPECT_TRUE(wait_for_log(0).records.empty());
  set_log_level(spdlog::level::info);
  logger("sqlite").info("heard");
  EXPECT_EQ(wait_for_log(0).records.size(), 1u);
  set_log_level(spdlog::level::warn);
}

TEST(Log, AFullQueueDropsTheOldestAndCountsIt) {
  for (std::size_t i = 0; i < kLogCapacity + 3; ++i) logger("base").warn("{}", i);
  const LogBatch batch = wait_for_log(0);
  EXPECT_EQ(batch.records.size(), kLogCapacity);
  EXPECT_EQ(batch.dropped, 3u);
  EXPECT_EQ(batch.records.front().message, "3");
}

TEST(Log, ClosingWakesTheReader) {
  LogBatch batch;
  std::thread reader([&] { batch = wait_for_log(3600 * kSecond); });
  close_log();
  reader.join();
  EXPECT_TRUE(batch.closed);
  reopen_log();
  EXPECT_FALSE(wait_for_log(0).closed);
}

}  // namespace
}  // namespace mcp
