#include "loadtest/recorder.h"

#include <gtest/gtest.h>

#include <thread>

namespace mcp::loadtest {
namespace {

std::shared_ptr<Totals> totals(int threads = 1, bool open_model = false) {
  return std::make_shared<Totals>(
      RecorderOptions{{"a", "b"}, metrics::Histogram::kDefaultHighest, open_model, true, false},
      threads);
}

Sample sample(Instant sent, Duration took, std::uint32_t kind = 0) {
  return {kind, sent, sent, sent + took, took / 2, 100};
}

TEST(Recorder, CountsSuccessesAndFailuresApart) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, kNever);
  recorder.success(sample(0, 10 * kMillisecond));
  recorder.success(sample(0, 20 * kMillisecond, 1));
  recorder.failure(sample(0, 5 * kMillisecond), "status 500", false);
  recorder.finish(0);
  const Report report = shared->report();
  EXPECT_EQ(report.successful, 2U);
  EXPECT_EQ(report.failed, 1U);
  EXPECT_EQ(report.errors.at("status 500"), 1U);
  EXPECT_EQ(report.response.count(), 2U);  // a failure has no part in response times
  EXPECT_EQ(report.kinds[0].successful, 1U);
  EXPECT_EQ(report.kinds[0].failed, 1U);
  EXPECT_EQ(report.kinds[1].successful, 1U);
  EXPECT_EQ(report.elapsed_ns, 5 * kMillisecond);
  EXPECT_EQ(report.first_byte.count(), 2U);
}

TEST(Recorder, ATimeoutIsASampleAtTheTimeout) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, kNever);
  recorder.failure(sample(0, kSecond), "timeout", true);
  recorder.finish(0);
  EXPECT_EQ(shared->report().response.max_ns(), kSecond);
  EXPECT_EQ(shared->report().successful, 0U);
}

TEST(Recorder, KeepsResponseAndServiceTimeApartInAnOpenModel) {
  const auto shared = totals(1, true);
  Recorder recorder(shared, 0, 0, kNever);
  recorder.success({0, 0, 400 * kMillisecond, 500 * kMillisecond, -1, 0});
  recorder.finish(0);
  const Report report = shared->report();
  EXPECT_EQ(report.response.max_ns(), 500 * kMillisecond);
  EXPECT_EQ(report.service.max_ns(), 100 * kMillisecond);
  EXPECT_EQ(report.busy_ns, 100 * kMillisecond);
}

TEST(Recorder, ShowsKindsAndErrorsOfWholeSecondsWhenAsked) {
  const auto shared = std::make_shared<Totals>(
      RecorderOptions{{"a", "b"}, metrics::Histogram::kDefaultHighest, false, true, true}, 2);
  Recorder one(shared, 0, 0, kNever);
  Recorder other(shared, 1, 0, kNever);
  one.success(sample(0, 10 * kMillisecond));
  one.failure(sample(0, 10 * kMillisecond, 1), "status 500", false);
  EXPECT_EQ(shared->report().kinds[0].successful, 0U);
  one.roll(kSecond);
  EXPECT_EQ(shared->report().kinds[0].successful, 1U);
  EXPECT_EQ(shared->report().kinds[0].response.count(), 1U);
  EXPECT_EQ(shared->report().errors.at("status 500"), 1U);
  one.success(sample(kSecond, 10 * kMillisecond));
  one.finish(kSecond);
  other.success(sample(0, 20 * kMillisecond));
  other.finish(kSecond);
  const Report report = shared->report();  // nothing counts twice
  EXPECT_EQ(report.kinds[0].successful, 3U);
  EXPECT_EQ(report.kinds[0].response.count(), 3U);
  EXPECT_EQ(report.kinds[1].failed, 1U);
  EXPECT_EQ(report.errors.at("status 500"), 1U);
}

TEST(Recorder, LeavesTheWarmupOutOfEverything) {
  const auto shared = totals();
  Recorder recorder(shared, 0, kSecond, kNever);
  recorder.success(sample(kSecond - 1, 10 * kMillisecond));
  recorder.failure(sample(0, 10 * kMillisecond), "timeout", true);
  recorder.success(sample(kSecond, 10 * kMillisecond));
  recorder.finish(0);
  const Report report = shared->report();
  EXPECT_EQ(report.warmup, 2U);
  EXPECT_EQ(report.successful, 1U);
  EXPECT_EQ(report.failed, 0U);
  EXPECT_EQ(report.response.count(), 1U);
}

TEST(Recorder, WhatEndsAfterThePlannedEndIsNoThroughput) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, kSecond);
  recorder.success(sample(kSecond - 10, 10));
  recorder.success(sample(kSecond - 10, 11));
  recorder.finish(0);
  EXPECT_EQ(shared->report().in_time, 1U);
  EXPECT_EQ(shared->report().successful, 2U);
}

TEST(Recorder, CutsTheRunIntoSeconds) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, kNever);
  recorder.success(sample(0, 10 * kMillisecond));
  recorder.roll(kSecond);
  EXPECT_EQ(shared->report().seconds.size(), 1U);  // visible while the run goes on
  recorder.success(sample(kSecond, 30 * kMillisecond));
  recorder.success(sample(kSecond, 50 * kMillisecond));
  recorder.roll(3 * kSecond);
  recorder.success(sample(3 * kSecond, 70 * kMillisecond));
  recorder.finish(0);
  const Report report = shared->report();
  ASSERT_EQ(report.seconds.size(), 4U);
  EXPECT_EQ(report.seconds[0].successful, 1U);
  EXPECT_EQ(report.seconds[1].successful, 2U);
  EXPECT_EQ(report.seconds[1].max_ns, 50 * kMillisecond);
  EXPECT_EQ(report.seconds[2].successful, 0U);
  EXPECT_EQ(report.seconds[3].bytes, 100U);
}

TEST(Recorder, ASecondOfSeveralThreadsIsThatOfAllTogether) {
  const auto shared = totals(3);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      Recorder recorder(shared, thread, 0, kNever);
      // Thread 0 ends in the first second, the others go on.
      for (Instant at = 0; at < (thread == 0 ? 1 : 5) * kSecond; at += 100 * kMillisecond) {
        recorder.roll(at);
        recorder.success(sample(at, (thread + 1) * kMillisecond));
      }
      recorder.finish(0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Report report = shared->report();
  ASSERT_EQ(report.seconds.size(), 5U);
  EXPECT_EQ(report.seconds[0].successful, 30U);
  for (std::size_t i = 1; i < 5; ++i) EXPECT_EQ(report.seconds[i].successful, 20U);
  EXPECT_NEAR(static_cast<double>(report.seconds[0].p50_ns), 2 * kMillisecond, kMillisecond / 100);
  EXPECT_EQ(report.successful, 110U);
  EXPECT_EQ(report.response.count(), 110U);
}

TEST(Recorder, KindsOfErrorsAreBounded) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, kNever);
  for (int i = 0; i < 10'000; ++i) {
    recorder.failure(sample(0, 1), "error " + std::to_string(i), false);
  }
  recorder.finish(0);
  const Report report = shared->report();
  EXPECT_LE(report.errors.size(), 101U);
  EXPECT_EQ(report.errors.at("other errors"), 9'900U);
  EXPECT_EQ(report.failed, 10'000U);
}

TEST(Recorder, AStoppedRunLastsUntilItWasStopped) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, kNever);
  recorder.success(sample(0, kMillisecond));
  recorder.own().abandoned = 1;
  recorder.finish(4 * kSecond);
  EXPECT_EQ(shared->report().elapsed_ns, 4 * kSecond);
}

}  // namespace
}  // namespace mcp::loadtest
