#include "metrics/request_metrics.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace mcp::metrics {
namespace {

RequestLabels get(std::string_view route, int status = 200, std::string_view error_type = "") {
  return {"GET", route, "http", status, error_type};
}

constexpr RequestTimes kTwoMilliseconds{kMillisecond, 2 * kMillisecond, 3 * kMillisecond};

TEST(RequestMetrics, AskingForManyPathsNeverTakesMoreSeriesThanItsBound) {
  RequestMetrics metrics(0);
  for (std::size_t i = 0; i < 3 * RequestMetrics::kMaxSeries; ++i) {
    metrics.begin();
    metrics.end(get("/path/" + std::to_string(i)), kTwoMilliseconds, kSecond);
  }
  const auto snapshot = metrics.snapshot(kSecond);
  EXPECT_EQ(snapshot.series.size(), RequestMetrics::kMaxSeries);
  EXPECT_EQ(snapshot.total.count(), 3 * RequestMetrics::kMaxSeries);
  std::uint64_t counted = 0;
  for (const auto& series : snapshot.series) counted += series.last_byte.count();
  EXPECT_EQ(counted, snapshot.total.count());
}

TEST(RequestMetrics, FirstByteLastByteAndReturnAreKeptApart) {
  RequestMetrics metrics(0);
  metrics.begin();
  metrics.end(get("/"), kTwoMilliseconds, kSecond);
  const auto series = metrics.snapshot(kSecond).series.at(0);
  EXPECT_EQ(series.first_byte_total_ns, kMillisecond);
  EXPECT_EQ(series.last_byte.max_ns(), 2 * kMillisecond);
  EXPECT_EQ(series.returned_total_ns, 3 * kMillisecond);
}

TEST(RequestMetrics, TheLastMinuteForgetsWhatIsOlder) {
  RequestMetrics metrics(0);
  metrics.begin();
  metrics.end(get("/", 500), kTwoMilliseconds, 5 * kSecond);
  EXPECT_EQ(metrics.snapshot(6 * kSecond).last_minute.count(), 1u);
  EXPECT_EQ(metrics.snapshot(6 * kSecond).last_minute_errors, 1u);
  EXPECT_EQ(metrics.snapshot(6 * kSecond).last_minute_length_ns, 6 * kSecond);
  const auto later = metrics.snapshot(90 * kSecond);
  EXPECT_EQ(later.last_minute.count(), 0u);
  EXPECT_EQ(later.last_minute_errors, 0u);
  EXPECT_EQ(later.total.count(), 1u);
  EXPECT_EQ(later.errors, 1u);
}

TEST(RequestMetrics, WhatTheApplicationRaisedIsASeriesOfItsOwn) {
  RequestMetrics metrics(0);
  metrics.begin();
  metrics.end(get("/", 500), kTwoMilliseconds, kSecond);
  metrics.begin();
  metrics.end(get("/", 500, "KeyError"), kTwoMilliseconds, kSecond);
  const auto snapshot = metrics.snapshot(kSecond);
  ASSERT_EQ(snapshot.series.size(), 2u);
  EXPECT_NE(snapshot.series[0].error_type, snapshot.series[1].error_type);
}

TEST(RequestMetrics, LoopLagIsKeptForAMinute) {
  RequestMetrics metrics(0);
  metrics.record_lag(3 * kMillisecond, kSecond);
  EXPECT_EQ(metrics.snapshot(2 * kSecond).lag.max_ns(), 3 * kMillisecond);
  EXPECT_EQ(metrics.snapshot(2 * kSecond).last_minute.count(), 0u);
  EXPECT_EQ(metrics.snapshot(90 * kSecond).lag.count(), 0u);
}

TEST(RequestMetrics, ActiveIsWhatHasBegunAndNotEnded) {
  RequestMetrics metrics(0);
  metrics.begin();
  metrics.begin();
  metrics.end(get("/"), kTwoMilliseconds, 0);
  EXPECT_EQ(metrics.active(), 1);
}

TEST(RequestMetrics, ThreadsRecordWithoutLosingASample) {
  RequestMetrics metrics(0);
  const auto record = [&] {
    for (int i = 0; i < 5'000; ++i) {
      metrics.begin();
      metrics.end(get("/shared"), kTwoMilliseconds, kSecond);
    }
  };
  std::thread other(record);
  record();
  other.join();
  EXPECT_EQ(metrics.snapshot(kSecond).total.count(), 10'000u);
  EXPECT_EQ(metrics.active(), 0);
}

TEST(RequestMetrics, SnapshotsMayBeTakenWhileRequestsEnd) {
  RequestMetrics metrics(0);
  std::thread requests([&] {
    for (int i = 0; i < 2'000; ++i) {
      metrics.begin();
      metrics.end(get("/" + std::to_string(i % 50)), kTwoMilliseconds, kSecond);
      metrics.record_lag(kMillisecond, kSecond);
    }
  });
  std::uint64_t before = 0;
  for (int i = 0; i < 50; ++i) {
    const auto snapshot = metrics.snapshot(kSecond);
    EXPECT_LE(before, snapshot.total.count());
    before = snapshot.total.count();
  }
  requests.join();
  EXPECT_EQ(metrics.snapshot(kSecond).series.size(), 50u);
}

}  // namespace
}  // namespace mcp::metrics
