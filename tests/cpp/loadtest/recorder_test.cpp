#include "loadtest/recorder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

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

// What one generator thread does in a run of 3 s, some of it as fast as it can.
void work(Recorder& recorder, int number) {
  const Duration step = (number + 2) * kMillisecond;
  for (Instant at = number * kMillisecond; at < 3 * kSecond; at += step) {
    if (at >= kSecond && at < kSecond + 700 * kMillisecond) continue;  // nothing is answered
    recorder.roll(at);
    recorder.started(at);
    if (at % 7 == 0) {
      recorder.failure(sample(at, step / 2), "status 500", false);
    } else {
      recorder.success(sample(at, step / 2 + at % 1000));
    }
  }
}

TEST(Recorder, ProcessesThatRelayAreWhatThreadsAre) {
  constexpr int kRecorders = 3;
  const auto expected = totals(kRecorders);
  RecorderOptions options{{"a", "b"}, metrics::Histogram::kDefaultHighest, false, true, true};
  options.apart = true;
  Totals whole(options, kRecorders);
  options.relays = true;
  for (int number = 0; number < kRecorders; ++number) {
    Recorder here(expected, number, 0, 3 * kSecond);
    work(here, number);
    here.finish(3 * kSecond);

    const auto relay = std::make_shared<Totals>(options, 1);
    Recorder apart(relay, 0, 0, 3 * kSecond);
    work(apart, number);
    std::int64_t second = 0;
    for (const Slice& slice : relay->take().slices) whole.pour(number, second++, slice);
    EXPECT_EQ(second, 2);  // those that are complete
    apart.finish(3 * kSecond);
    for (const Slice& slice : relay->take().slices) whole.pour(number, second++, slice);
    EXPECT_TRUE(relay->take().slices.empty());
    const Silence silence = relay->silence();
    whole.finish(number, relay->report(), silence.quiets, silence.measure_from, silence.closed_at);
  }
  const Report one = expected->report();
  const Report other = whole.report();
  EXPECT_TRUE(std::ranges::equal(one.response.slots(), other.response.slots()));
  EXPECT_EQ(one.successful, other.successful);
  EXPECT_EQ(one.failed, other.failed);
  EXPECT_EQ(one.errors, other.errors);
  ASSERT_EQ(one.seconds.size(), other.seconds.size());
  for (std::size_t i = 0; i < one.seconds.size(); ++i) {
    EXPECT_EQ(one.seconds[i].successful, other.seconds[i].successful);
    EXPECT_EQ(one.seconds[i].p99_ns, other.seconds[i].p99_ns);
  }
  EXPECT_EQ(one.elapsed_ns, other.elapsed_ns);
  ASSERT_EQ(one.gaps.size(), other.gaps.size());
  for (std::size_t i = 0; i < one.gaps.size(); ++i) {
    EXPECT_EQ(one.gaps[i].start_ns, other.gaps[i].start_ns);
    EXPECT_EQ(one.gaps[i].length_ns, other.gaps[i].length_ns);
  }
}

TEST(Recorder, WhatIsRelayedHasTheErrorsSoFar) {
  RecorderOptions options{{"a"}, metrics::Histogram::kDefaultHighest, false, true, true};
  options.relays = true;
  const auto relay = std::make_shared<Totals>(options, 1);
  Recorder recorder(relay, 0, 0, kNever);
  recorder.failure(sample(0, kMillisecond), "status 500", false);
  EXPECT_TRUE(relay->take().errors.empty());
  recorder.roll(kSecond);
  EXPECT_EQ(relay->take().errors.at("status 500"), 1U);
  recorder.failure(sample(kSecond, kMillisecond), "status 500", false);
  recorder.finish(kSecond);
  EXPECT_EQ(relay->take().errors.at("status 500"), 2U);  // nothing counts twice
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

TEST(Recorder, APlannedRunHasAsManySecondsAsItIsLong) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, 3 * kSecond);
  for (Instant at = 0; at < 3 * kSecond; at += 500 * kMillisecond) {
    recorder.roll(at);
    recorder.success(sample(at, kMillisecond));
  }
  recorder.roll(3 * kSecond);
  recorder.success(sample(3 * kSecond - kMillisecond, 2 * kMillisecond));
  EXPECT_EQ(recorder.next_roll(), kNever);
  recorder.finish(5 * kSecond);
  const Report report = shared->report();
  ASSERT_EQ(report.seconds.size(), 3U);
  EXPECT_EQ(report.seconds[0].successful, 2U);
  EXPECT_EQ(report.seconds[2].successful, 3U);
  EXPECT_EQ(report.in_time, 6U);
}

TEST(Recorder, APlannedRunLastsUntilItsEndThoughNothingElseComes) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, 3 * kSecond);
  recorder.success(sample(0, kMillisecond));
  recorder.finish(3 * kSecond);
  EXPECT_EQ(shared->report().elapsed_ns, 3 * kSecond);
  EXPECT_EQ(shared->report().seconds.size(), 3U);
}

TEST(Recorder, KeepsTheFirstExampleOfAnError) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, kNever);
  recorder.failure(sample(0, kMillisecond), "status 500", false);
  recorder.failure(sample(0, kMillisecond), "status 500", false, "no such table");
  recorder.failure(sample(0, kMillisecond), "status 500", false, "another");
  recorder.finish(0);
  EXPECT_EQ(shared->report().examples.at("status 500"), "no such table");
}

constexpr int kPausedMs = 300;

// What one thread sees, in ms: when requests start, and how they end.
enum class What { kStart, kAnswer, kTimeout, kPause, kRetire };
struct Event {
  int at;
  What what;
};
struct GapCase {
  const char* name;
  std::vector<std::vector<Event>> threads;
  int planned_end;
  int finished_at;
  std::vector<std::pair<int, int>> gaps;  // start and length
};

void replay(Recorder& recorder, const std::vector<Event>& events) {
  std::deque<Instant> sent;
  for (const auto& [ms, what] : events) {
    const Instant at = ms * kMillisecond;
    if (what == What::kStart) {
      recorder.started(at);
      sent.push_back(at);
    } else if (what == What::kPause) {
      recorder.paused(kPausedMs * kMillisecond);
    } else if (what == What::kRetire) {
      recorder.retired(at);
    } else {
      const Sample ended = sample(sent.front(), at - sent.front());
      sent.pop_front();
      if (what == What::kAnswer) {
        recorder.success(ended);
      } else {
        recorder.failure(ended, "timeout", true);
      }
    }
  }
}

// One request every 10 ms, each of 10 ms, from `from` up to `to`.
std::vector<Event> steady(int from, int to) {
  std::vector<Event> events;
  for (int at = from; at < to; at += 10) {
    events.push_back({at, What::kStart});
    events.push_back({at + 10, What::kAnswer});
  }
  return events;
}

std::vector<Event> then(std::vector<Event> first, const std::vector<Event>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

class Gaps : public testing::TestWithParam<GapCase> {};

TEST_P(Gaps, AreTimesInWhichNobodyGotAnAnswerThoughSomebodyWaited) {
  const GapCase& given = GetParam();
  const auto shared = totals(static_cast<int>(given.threads.size()));
  const Instant end = given.planned_end == 0 ? kNever : given.planned_end * kMillisecond;
  int number = 0;
  for (const std::vector<Event>& events : given.threads) {
    Recorder recorder(shared, number++, 0, end);
    replay(recorder, events);
    recorder.finish(given.finished_at * kMillisecond);
  }
  std::vector<std::pair<int, int>> found;
  for (const Gap& gap : shared->report().gaps) {
    found.emplace_back(static_cast<int>(gap.start_ns / kMillisecond),
                       static_cast<int>(gap.length_ns / kMillisecond));
  }
  EXPECT_EQ(found, given.gaps);
}

constexpr What kStart = What::kStart;
constexpr What kAnswer = What::kAnswer;
constexpr What kTimeout = What::kTimeout;

INSTANTIATE_TEST_SUITE_P(
    Recorder, Gaps,
    testing::Values(
        GapCase{"None", {steady(0, 1000)}, 1000, 1000, {}},
        GapCase{"Start",
                {then({{0, kStart}, {400, kAnswer}}, steady(400, 1000))},
                1000,
                1000,
                {{0, 400}}},
        GapCase{"Middle",
                {then(then(steady(0, 300), {{300, kStart}, {700, kAnswer}}), steady(700, 1000))},
                1000,
                1000,
                {{300, 400}}},
        GapCase{"ForGood", {then(steady(0, 300), {{300, kStart}})}, 1000, 6000, {{300, 700}}},
        GapCase{"Throughout", {{{0, kStart}}}, 1000, 6000, {{0, 1000}}},
        GapCase{"Twice",
                {{{0, kStart},
                  {150, kAnswer},
                  {150, kStart},
                  {160, kAnswer},
                  {160, kStart},
                  {400, kAnswer}}},
                400,
                400,
                {{0, 150}, {160, 240}}},
        GapCase{"TimeoutsEndNone",
                {then(steady(0, 100), {{100, kStart},
                                       {300, kTimeout},
                                       {300, kStart},
                                       {500, kTimeout},
                                       {500, kStart},
                                       {600, kAnswer}})},
                600,
                600,
                {{100, 500}}},
        GapCase{"ThinkingIsNone", {then(steady(0, 100), steady(900, 1000))}, 1000, 1000, {}},
        GapCase{
            "ThinkingAfterATimeoutIsNone",
            {then(steady(0, 100), {{100, kStart}, {300, kTimeout}, {900, kStart}, {905, kAnswer}})},
            1000,
            1000,
            {{100, 200}}},
        GapCase{"WaitingAfterThinking",
                {then(steady(0, 100), {{500, kStart}, {800, kAnswer}})},
                1000,
                1000,
                {{500, 300}}},
        GapCase{"OneOfTwoThreadsGoesOn",
                {then(steady(0, 300), {{300, kStart}}), steady(0, 1000)},
                1000,
                1000,
                {}},
        GapCase{"BothThreads",
                {then(steady(0, 300), {{300, kStart}, {800, kAnswer}}),
                 then(steady(0, 500), {{500, kStart}, {700, kAnswer}})},
                1000,
                1000,
                {{500, 200}, {700, 100}}},
        GapCase{"TheOtherThreadIsDone",
                {steady(0, 200), then(steady(0, 500), {{500, kStart}, {900, kAnswer}})},
                1000,
                1000,
                {{500, 400}}},
        GapCase{"TheLastOfABudgetIsNoStall",
                {{{0, kStart}, {0, kStart}, {10, kAnswer}, {10, What::kRetire}, {900, kAnswer}}},
                0,
                900,
                {}},
        GapCase{"ThatThePausedGeneratorMade",
                {{{0, kStart}, {400, What::kPause}, {401, kAnswer}}},
                1000,
                1000,
                {}},
        GapCase{"LongerThanThePauseOfTheGenerator",
                {{{0, kStart}, {400, What::kPause}, {900, kAnswer}, {900, kStart}, {910, kAnswer}}},
                1000,
                1000,
                {{0, 900}}}),
    [](const auto& each) { return each.param.name; });

TEST(Recorder, GapsBeforeTheMeasurementAreCutAtItsStart) {
  const auto shared = totals();
  Recorder recorder(shared, 0, kSecond, 3 * kSecond);
  recorder.started(500 * kMillisecond);
  recorder.success(sample(500 * kMillisecond, 800 * kMillisecond));
  recorder.finish(3 * kSecond);
  const Report report = shared->report();
  ASSERT_EQ(report.gaps.size(), 1U);
  EXPECT_EQ(report.gaps[0].start_ns, 0);
  EXPECT_EQ(report.gaps[0].length_ns, 300 * kMillisecond);
  EXPECT_EQ(report.gaps[0].caught, 1U);
}

TEST(Recorder, KeepsTheLongestOfManyGaps) {
  const auto shared = totals();
  Recorder recorder(shared, 0, 0, kNever);
  Instant at = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Duration took = i % 1000 == 500 ? kSecond : 100 * kMillisecond;
    recorder.started(at);
    recorder.success(sample(at, took));
    at += took;
  }
  recorder.finish(at);
  const auto& gaps = shared->report().gaps;
  EXPECT_LE(gaps.size(), 4097U);
  EXPECT_EQ(std::count_if(gaps.begin(), gaps.end(),
                          [](const Gap& gap) { return gap.length_ns == kSecond; }),
            20);
  EXPECT_TRUE(std::is_sorted(gaps.begin(), gaps.end(),
                             [](const Gap& a, const Gap& b) { return a.start_ns < b.start_ns; }));
}

}  // namespace
}  // namespace mcp::loadtest
