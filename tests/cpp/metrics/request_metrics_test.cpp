#include "metrics/request_metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace mcp::metrics {
namespace {

RequestLabels get(std::string_view route, int status = 200, std::string_view error_type = "") {
  return {"GET", route, "http", status, error_type};
}

constexpr RequestTimes kTwoMilliseconds{kMillisecond, 2 * kMillisecond, 3 * kMillisecond};

void request(RequestMetrics& metrics, const RequestLabels& labels) {
  metrics.begin();
  metrics.end(labels, kTwoMilliseconds, kSecond);
}

std::uint64_t counted(const std::vector<RequestMetrics::Series>& series, std::string_view route) {
  std::uint64_t sum = 0;
  for (const auto& one : series) {
    if (one.route == route) sum += one.last_byte.count();
  }
  return sum;
}

TEST(RequestMetrics, AskingForManyPathsNeverTakesMoreSeriesThanItsBound) {
  RequestMetrics metrics(0);
  for (std::size_t i = 0; i < 3 * RequestMetrics::kMaxSeries; ++i) {
    request(metrics, get("/path/" + std::to_string(i)));
  }
  const auto snapshot = metrics.snapshot(kSecond);
  EXPECT_LE(snapshot.series.size(), RequestMetrics::kMaxSeries);
  EXPECT_EQ(snapshot.total.count(), 3 * RequestMetrics::kMaxSeries);
  EXPECT_EQ(snapshot.folded, 3 * RequestMetrics::kMaxSeries - Slot::kDeclared);
  EXPECT_EQ(counted(snapshot.series, RequestMetrics::kOther), snapshot.folded);
}

// A flood of whatever comes from outside, and then the first request of a route that fails.
TEST(RequestMetrics, StrayRequestsNeverTakeThePlaceOfADeclaredRoute) {
  const std::vector<RequestLabels> kinds{
      {"GET", RequestMetrics::kUnmatched, "http", 404, "flood"},
      {RequestMetrics::kOther, "/declared", "http", 405, "flood"},
      {"GET", RequestMetrics::kOther, "http", 500, "flood"},
  };
  for (RequestLabels labels : kinds) {
    RequestMetrics metrics(0);
    for (std::size_t i = 0; i + 1 < Slot::kDeclared; ++i) {
      request(metrics, get("/route/" + std::to_string(i)));
    }
    for (int i = 0; i < 5'000; ++i) {
      const std::string error = "flood" + std::to_string(i);
      labels.error_type = error;
      request(metrics, labels);
    }
    request(metrics, get("/fails", 500));
    const auto snapshot = metrics.snapshot(kSecond);
    EXPECT_EQ(counted(snapshot.series, "/fails"), 1u);
    EXPECT_EQ(counted(snapshot.series, "/route/0"), 1u);
    EXPECT_EQ(snapshot.total.count(), Slot::kDeclared + 5'000);
    EXPECT_LE(snapshot.series.size(), RequestMetrics::kMaxSeries);
  }
}

TEST(RequestMetrics, TheLeastUsedSeriesIsFoldedFirstAndKeepsItsClassOfStatus) {
  RequestMetrics metrics(0);
  request(metrics, get("/rare", 503));
  for (std::size_t i = 1; i < Slot::kDeclared; ++i) {
    for (int times = 0; times < 2; ++times) request(metrics, get("/often/" + std::to_string(i)));
  }
  request(metrics, get("/new"));
  const auto snapshot = metrics.snapshot(kSecond);
  EXPECT_EQ(snapshot.folded, 1u);
  EXPECT_EQ(counted(snapshot.series, "/rare"), 0u);
  EXPECT_EQ(counted(snapshot.series, "/new"), 1u);
  EXPECT_EQ(snapshot.errors, 1u);
}

TEST(RequestMetrics, ManyTimesOfManyRoutesFitIntoTheMemoryThereIs) {
  RequestMetrics metrics(0);
  std::uint64_t sent = 0;
  for (int route = 0; route < 200; ++route) {
    for (Duration time = 1; time < 100 * kSecond; time *= 2) {
      metrics.begin();
      metrics.end(get("/" + std::to_string(route)), {time, time, time}, kSecond);
      ++sent;
    }
  }
  EXPECT_EQ(metrics.snapshot(kSecond).total.count(), sent);
}

TEST(RequestMetrics, LongLabelsStayApartAndEndInAWholeCharacter) {
  RequestMetrics metrics(0);
  std::string longer = "/";
  for (int i = 0; i < 300; ++i) longer += "\xc3\xa4";
  request(metrics, get(longer + "1"));
  request(metrics, get(longer + "2"));
  request(metrics, get(longer + "2"));
  const auto snapshot = metrics.snapshot(kSecond);
  ASSERT_EQ(snapshot.series.size(), 2u);
  for (const auto& series : snapshot.series) {
    const std::size_t cut = series.route.find('~');
    ASSERT_NE(cut, std::string::npos);
    EXPECT_EQ((cut - 1) % 2, 0u);  // after the slash, characters of two bytes
  }
}

TEST(RequestMetrics, OperationsAreKeptApartFromRequests) {
  RequestMetrics metrics(0);
  for (int i = 0; i < 1'000; ++i) {
    const std::string name = "tool" + std::to_string(i);
    metrics.end({"tools/call", name, "mcp", 0, "", SeriesKind::kOperation}, kTwoMilliseconds, 0);
  }
  request(metrics, get("/"));
  const auto snapshot = metrics.snapshot(kSecond);
  EXPECT_EQ(snapshot.total.count(), 1u);
  EXPECT_EQ(snapshot.active, 0);
  EXPECT_LE(snapshot.operations.size(), RequestMetrics::kMaxOperations);
  std::uint64_t calls = 0;
  for (const auto& one : snapshot.operations) calls += one.last_byte.count();
  EXPECT_EQ(calls, 1'000u);
}

TEST(RequestMetrics, AFloodOfStatementsPushesOutNoToolAndStaysOfItsSystem) {
  RequestMetrics metrics(0);
  const auto ran = [&](std::string_view method, std::string_view name, std::string_view system) {
    metrics.end({method, name, system, 0, "", SeriesKind::kOperation}, kTwoMilliseconds, 0);
  };
  ran("tools/call", "rare", "mcp");
  for (int i = 0; i < 1'000; ++i) {
    const std::string name = "SELECT " + std::to_string(i);
    for (int j = 0; j < 3; ++j) ran("sqlite", name, "db");
  }
  const auto snapshot = metrics.snapshot(kSecond);
  std::map<std::string, std::uint64_t> calls;
  for (const auto& one : snapshot.operations) calls[one.scheme] += one.last_byte.count();
  EXPECT_EQ(calls, (std::map<std::string, std::uint64_t>{{"db", 3'000}, {"mcp", 1}}));
  EXPECT_LE(snapshot.operations.size(), RequestMetrics::kMaxStatements + 1);
  EXPECT_GT(snapshot.folded, 800u);
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
