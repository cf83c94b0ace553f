#include "loadtest/call_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <queue>
#include <set>

#include "base/error.h"
#include "loadtest/scenario.h"

namespace mcp::loadtest {
namespace {

using Action = CallSchedule::Action;

constexpr Duration kMs = kMillisecond;

// A simulated target: every request takes `service`, on a clock of its own.
class Simulation {
 public:
  explicit Simulation(CallOptions options)
      : totals_(std::make_shared<Totals>(
            RecorderOptions{
                {"x"}, metrics::Histogram::kDefaultHighest, options.rate.has_value(), false},
            1)),
        schedule_(options, 0),
        recorder_(totals_, 0, schedule_.measure_from(), schedule_.issue_until()) {}

  template <class Service>
  Report run(Service service) {
    using Event = std::pair<Instant, std::uint32_t>;
    std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
    std::vector<std::optional<Sample>> running(schedule_.lanes());
    std::vector<std::uint32_t> blocked;
    for (std::uint32_t lane = 0; lane < schedule_.lanes(); ++lane) events.push({0, lane});
    while (!events.empty()) {
      const auto [now, lane] = events.top();
      events.pop();
      if (running[lane]) {
        recorder_.roll(now);
        recorder_.success(*running[lane]);
        running[lane].reset();
        schedule_.ended(lane, now, recorder_);
        for (const std::uint32_t other : blocked) events.push({now, other});
        blocked.clear();
      }
      const auto decision = schedule_.next(lane, now, recorder_);
      if (decision.action == Action::kStart) {
        numbers.insert(decision.number);
        most_at_once = std::max(most_at_once, ++count_running(running));
        running[lane] = Sample{0, decision.at, now, now + service(now), -1, 0};
        events.push({running[lane]->done, lane});
      } else if (decision.action == Action::kWait) {
        EXPECT_GT(decision.at, now);
        events.push({decision.at, lane});
      } else if (decision.action == Action::kBlocked) {
        blocked.push_back(lane);
      } else {
        for (const std::uint32_t other : blocked) events.push({now, other});
        blocked.clear();
      }
    }
    recorder_.finish(0);
    return totals_->report();
  }

  std::set<std::uint64_t> numbers;
  int most_at_once = 0;

 private:
  int& count_running(const std::vector<std::optional<Sample>>& running) {
    at_once_ = static_cast<int>(
        std::count_if(running.begin(), running.end(), [](auto& s) { return s.has_value(); }));
    return at_once_;
  }

  std::shared_ptr<Totals> totals_;
  CallSchedule schedule_;
  Recorder recorder_;
  int at_once_ = 0;
};

TEST(CallSchedule, AClosedModelKeepsEveryUserBusyAndSendsEachRequestOnce) {
  CallOptions options;
  options.users = 4;
  options.requests = 100;
  Simulation simulation(options);
  const Report report = simulation.run([](Instant) { return 10 * kMs; });
  EXPECT_EQ(report.successful, 100U);
  EXPECT_EQ(simulation.numbers.size(), 100U);
  EXPECT_EQ(*simulation.numbers.rbegin(), 99U);
  EXPECT_EQ(simulation.most_at_once, 4);
  EXPECT_EQ(report.elapsed_ns, 250 * kMs);
}

TEST(CallSchedule, AStallShowsInTheResponseTimesOfAnOpenModelAlone) {
  CallOptions options;
  options.users = 1000;
  options.duration_ns = 10 * kSecond;
  options.rate = Ramp(100);
  const auto stalls = [](Instant now) {  // stands still from second 5 to second 6
    return now >= 5 * kSecond && now < 6 * kSecond ? 6 * kSecond - now + kMs : kMs;
  };
  const Report open = Simulation(options).run(stalls);
  EXPECT_EQ(open.successful, 1000U);
  EXPECT_GT(open.response.percentile_ns(95), 400 * kMs);
  options.rate.reset();
  options.users = 1;
  options.think_low_ns = options.think_high_ns = 9 * kMs;
  const Report closed = Simulation(options).run(stalls);
  EXPECT_LT(closed.response.percentile_ns(99), 2 * kMs);  // hidden: one slow sample in 900
}

TEST(CallSchedule, WaitingForAFreeUserIsResponseTimeAndNotLateness) {
  CallOptions options;
  options.users = 1;
  options.requests = 10;
  options.rate = Ramp(1000);  // due every 1 ms, served in 10 ms
  const Report report = Simulation(options).run([](Instant) { return 10 * kMs; });
  EXPECT_EQ(report.successful, 10U);
  EXPECT_EQ(report.waited_for_user, 9U);
  EXPECT_EQ(report.response.max_ns(), 100 * kMs - 9 * kMs);
  EXPECT_EQ(report.service.max_ns(), 10 * kMs);
  EXPECT_EQ(report.send_lag.max_ns(), 0);
}

TEST(CallSchedule, CountsWhatWasDueAndNotSentByTheEnd) {
  CallOptions options;
  options.users = 1;
  options.duration_ns = kSecond;
  options.rate = Ramp(10);
  const Report report = Simulation(options).run([](Instant) { return 3 * kSecond; });
  EXPECT_EQ(report.successful, 1U);
  EXPECT_EQ(report.in_time, 0U);
  EXPECT_EQ(report.not_sent, 9U);
}

TEST(CallSchedule, ABatchGoesTogetherAndTheNextOneWaitsForAllOfIt) {
  CallOptions options;
  options.users = 2;
  options.batch_size = 3;
  options.requests = 20;
  Simulation simulation(options);
  int count = 0;
  const Report report = simulation.run([&](Instant) { return (++count % 3 + 1) * kMs; });
  EXPECT_EQ(report.successful, 20U);
  EXPECT_EQ(simulation.most_at_once, 6);
  // 20 requests in 4 rounds of 6, each as long as its slowest request.
  EXPECT_GE(report.elapsed_ns, 10 * kMs);
}

TEST(CallSchedule, UsersComeAndGoWithTheStages) {
  CallOptions options;
  options.users = 10;
  options.user_ramp = Ramp(0, {{kSecond, 10}, {kSecond, 10}, {kSecond, 0}});
  Simulation simulation(options);
  const Report report = simulation.run([](Instant) { return 10 * kMs; });
  EXPECT_EQ(simulation.most_at_once, 10);
  ASSERT_EQ(report.seconds.size(), 3U);
  // User-seconds of each second over the service time, with a little for starts between ticks.
  EXPECT_NEAR(static_cast<double>(report.seconds[0].successful), 500, 20);
  EXPECT_NEAR(static_cast<double>(report.seconds[1].successful), 1000, 20);
  EXPECT_NEAR(static_cast<double>(report.seconds[2].successful), 500, 20);
}

TEST(CallSchedule, TheWarmupIsNotInTheBudget) {
  CallOptions options;
  options.users = 1;
  options.requests = 10;
  options.warmup_ns = 50 * kMs;
  const Report report = Simulation(options).run([](Instant) { return 10 * kMs; });
  EXPECT_EQ(report.warmup, 5U);
  EXPECT_EQ(report.successful, 10U);
}

TEST(CallSchedule, ThinkTimeIsCountedApart) {
  CallOptions options;
  options.users = 1;
  options.requests = 10;
  options.think_low_ns = options.think_high_ns = 90 * kMs;
  const Report report = Simulation(options).run([](Instant) { return 10 * kMs; });
  EXPECT_EQ(report.elapsed_ns, 10 * kMs + 9 * 100 * kMs);
  EXPECT_EQ(report.busy_ns, 100 * kMs);
}

TEST(CallSchedule, RefusesBadOptionsByName) {
  const auto message = [](CallOptions options) -> std::string {
    try {
      const CallSchedule schedule(options, 0);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CallOptions endless;
  EXPECT_NE(message(endless).find("num_requests=None"), std::string::npos);
  CallOptions nobody;
  nobody.users = 0;
  EXPECT_NE(message(nobody).find("concurrent_users=0"), std::string::npos);
}

}  // namespace
}  // namespace mcp::loadtest
