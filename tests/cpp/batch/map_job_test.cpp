#include "batch/map_job.h"

#include <gtest/gtest.h>

#include <future>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>

namespace mcp::batch {
namespace {

// Counts how often each item is run; the body of an item can be given.
class Recorder : public MapWork {
 public:
  explicit Recorder(std::size_t items) : runs(items) {}

  void run(std::size_t begin, std::size_t end, const std::atomic<bool>& stopped,
           RunMeter& meter) override {
    meter.begin();
    std::size_t done = 0;
    for (std::size_t i = begin; i < end && done < most_a_run && !stopped; ++i, ++done) {
      if (body) body(i);
      runs[i].fetch_add(1);
    }
    meter.end(done);
  }

  void on_event() noexcept override {
    const MutexLock lock(mutex);
    ++events;
    changed.notify_all();
  }

  void wait_for_event(unsigned count) {
    const MutexLock lock(mutex);
    while (events < count) changed.wait(mutex);
  }

  std::size_t total() const {
    return std::accumulate(runs.begin(), runs.end(), std::size_t{0},
                           [](std::size_t sum, const auto& count) { return sum + count.load(); });
  }

  std::vector<std::atomic<unsigned>> runs;
  std::function<void(std::size_t)> body;
  std::size_t most_a_run = SIZE_MAX;
  Mutex mutex;
  CondVar changed;
  unsigned events = 0;
};

struct Fixture {
  explicit Fixture(std::size_t items, MapOptions options = {}, unsigned threads = 4)
      : pool(std::make_shared<BlockingPool>(threads)),
        work(std::make_shared<Recorder>(items)),
        job(std::make_shared<MapJob>(options, pool, nullptr, work)) {}

  void run(std::size_t items) {
    job->add(items);
    job->close_input();
    work->wait_for_event(1);
  }

  void expect_each_once() const {
    for (std::size_t i = 0; i < work->runs.size(); ++i) ASSERT_EQ(work->runs[i], 1U) << i;
  }

  std::shared_ptr<BlockingPool> pool;
  std::shared_ptr<Recorder> work;
  std::shared_ptr<MapJob> job;
};

MapOptions blocking(unsigned concurrency, std::size_t chunk_size = 0) {
  return {WorkKind::kBlocking, concurrency, chunk_size};
}

TEST(MapJob, RunsEveryItemOnce) {
  for (const WorkKind kind : {WorkKind::kMeasured, WorkKind::kCpu, WorkKind::kBlocking}) {
    Fixture fixture(20'000, {kind, 4, 0});
    fixture.run(20'000);
    fixture.expect_each_once();
    EXPECT_TRUE(fixture.job->ended());
    EXPECT_EQ(fixture.job->stats().finished, 20'000U);
  }
}

TEST(MapJob, EndsWithoutItems) {
  Fixture fixture(0);
  fixture.job->close_input();
  fixture.work->wait_for_event(1);
  EXPECT_TRUE(fixture.job->ended());
  EXPECT_EQ(fixture.pool->threads(), 0U);
}

TEST(MapJob, RunsAsManyBlockingItemsAtOnceAsItMay) {
  constexpr unsigned kWorkers = 4;
  std::atomic<unsigned> inside{0};
  std::promise<void> all_inside;
  std::shared_future<void> together = all_inside.get_future().share();
  Fixture fixture(kWorkers, blocking(kWorkers, 1), kWorkers);
  fixture.work->body = [&](std::size_t) {
    if (inside.fetch_add(1) + 1 == kWorkers) all_inside.set_value();
    together.wait();  // for ever, unless all four are inside
  };
  fixture.run(kWorkers);
  EXPECT_EQ(fixture.job->stats().most_workers, kWorkers);
}

TEST(MapJob, TellsThatTheFirstItemWaitsWhileItStillDoes) {
  std::promise<void> second_runs;
  std::shared_future<void> second = second_runs.get_future().share();
  Fixture fixture(2, {WorkKind::kMeasured, 2, 0}, 2);
  fixture.work->body = [&](std::size_t item) {
    if (item == 0) {
      second.wait();  // for ever, unless another thread is brought in meanwhile
    } else {
      second_runs.set_value();
    }
  };
  fixture.run(2);
  EXPECT_EQ(fixture.job->stats().kind, WorkKind::kBlocking);
}

TEST(MapJob, NeverRunsMoreThanItsConcurrency) {
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  Fixture fixture(500, blocking(2, 1), 8);
  fixture.work->body = [&](std::size_t) {
    const int now = ++inside;
    int seen = most.load();
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    std::this_thread::yield();
    --inside;
  };
  fixture.run(500);
  EXPECT_LE(most.load(), 2);
}

TEST(MapJob, TakesItemsThatComeLater) {
  Fixture fixture(3000);
  for (int i = 0; i < 300; ++i) fixture.job->add(10);
  EXPECT_FALSE(fixture.job->ended());
  fixture.job->close_input();
  fixture.work->wait_for_event(1);
  fixture.expect_each_once();
}

TEST(MapJob, HandsOutAgainWhatARunGaveBack) {
  Fixture fixture(1000, blocking(3, 100));
  fixture.work->most_a_run = 7;
  fixture.run(1000);
  fixture.expect_each_once();
}

TEST(MapJob, StopStartsNothingMore) {
  Fixture fixture(1000, blocking(1, 10), 1);
  std::atomic<std::size_t> ran{0};
  fixture.work->body = [&](std::size_t item) {
    ++ran;
    if (item == 4) fixture.job->stop();
  };
  fixture.run(1000);
  EXPECT_EQ(ran.load(), 5U);
  EXPECT_TRUE(fixture.job->ended());
  fixture.job->add(10);
  fixture.pool->close();
  EXPECT_EQ(fixture.work->total(), 5U);
  EXPECT_EQ(fixture.work->events, 1U);
}

TEST(MapJob, WorkThatRefusesEndsTheJob) {
  Fixture fixture(100, blocking(2));
  fixture.work->most_a_run = 0;
  fixture.run(100);
  EXPECT_TRUE(fixture.job->ended());
  EXPECT_EQ(fixture.work->total(), 0U);
}

TEST(MapJob, TellsOnceWhenTheMarkIsReached) {
  Fixture fixture(100, blocking(1), 1);
  fixture.job->add(10);
  fixture.job->notify_at(10);
  fixture.work->wait_for_event(1);
  EXPECT_EQ(fixture.job->stats().finished, 10U);
  fixture.job->notify_at(5);  // reached already
  fixture.work->wait_for_event(2);
  fixture.job->add(10);
  fixture.job->close_input();
  fixture.work->wait_for_event(3);
  EXPECT_TRUE(fixture.job->ended());
}

TEST(MapJob, AskingAJobThatEndedIsAnsweredAtOnce) {
  Fixture fixture(10);
  fixture.run(10);
  fixture.job->notify_at(1000);
  EXPECT_EQ(fixture.work->events, 2U);
}

TEST(MapJob, TwoJobsShareOneThread) {
  auto pool = std::make_shared<BlockingPool>(1);
  auto first = std::make_shared<Recorder>(2);
  auto second = std::make_shared<Recorder>(1);
  std::promise<void> second_ran;
  std::shared_future<void> ran = second_ran.get_future().share();
  const MapOptions options = blocking(1, 1);
  auto first_job = std::make_shared<MapJob>(options, pool, nullptr, first);
  auto second_job = std::make_shared<MapJob>(options, pool, nullptr, second);
  std::promise<void> both_added;
  first->body = [&](std::size_t item) {
    if (item == 0) both_added.get_future().wait();
    if (item == 1) {
      EXPECT_EQ(ran.wait_for(std::chrono::seconds(0)), std::future_status::ready);
    }
  };
  second->body = [&](std::size_t) { second_ran.set_value(); };
  first_job->add(2);
  second_job->add(1);
  both_added.set_value();
  first_job->close_input();
  second_job->close_input();
  first->wait_for_event(1);
  second->wait_for_event(1);
}

TEST(MapJob, CountsWhatTheWorkTook) {
  Fixture fixture(50, blocking(1));
  fixture.run(50);
  const MapStats stats = fixture.job->stats();
  EXPECT_GT(stats.work_ns, 0);
  EXPECT_GE(stats.wait_ns, 0);
  EXPECT_LE(stats.cpu_ns, stats.work_ns + kMillisecond);
}

// Hands every step to threads of its own. They keep the job, and that keeps the runner: join()
// them before the test lets go of it.
class PlainRunner final : public CpuRunner {
 public:
  void join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  void launch(unsigned workers, Step step) override {
    for (unsigned i = 0; i < workers; ++i) {
      threads_.emplace_back([step] {
        while (step()) {
        }
      });
      ++launched;
    }
  }
  [[nodiscard]] unsigned concurrency() const noexcept override { return 3; }

  std::atomic<unsigned> launched{0};

 private:
  std::vector<std::thread> threads_;
};

TEST(MapJob, GivesComputingToTheCpuRunner) {
  auto pool = std::make_shared<BlockingPool>(8);
  auto runner = std::make_shared<PlainRunner>();
  auto work = std::make_shared<Recorder>(1000);
  const MapOptions options{WorkKind::kCpu, 8, 0};
  auto job = std::make_shared<MapJob>(options, pool, runner, work);
  job->add(1000);
  job->close_input();
  work->wait_for_event(1);
  runner->join();
  EXPECT_EQ(runner->launched, 3U);
  EXPECT_EQ(pool->threads(), 0U);
  for (const auto& runs : work->runs) ASSERT_EQ(runs, 1U);
}

TEST(MapJob, MovesWorkThatTurnsOutToComputeToTheCpuRunner) {
  auto pool = std::make_shared<BlockingPool>(8);
  auto runner = std::make_shared<PlainRunner>();
  auto work = std::make_shared<Recorder>(64);
  const MapOptions options{WorkKind::kMeasured, 8, 1};
  auto job = std::make_shared<MapJob>(options, pool, runner, work);
  work->body = [](std::size_t) {
    const Instant until = detail::read_clock(CLOCK_THREAD_CPUTIME_ID) + kMillisecond;
    while (detail::read_clock(CLOCK_THREAD_CPUTIME_ID) < until) {
    }
  };
  job->add(64);
  job->close_input();
  work->wait_for_event(1);
  for (const auto& runs : work->runs) ASSERT_EQ(runs, 1U);
  pool->close();  // a scout may be about to launch
  runner->join();
  EXPECT_EQ(job->stats().kind == WorkKind::kCpu, runner->launched > 0);
}

TEST(MapJob, ScoutsOfManyJobsLeaveTheThreadsToTheirWorkers) {
  auto pool = std::make_shared<BlockingPool>(2);
  std::vector<std::shared_ptr<Recorder>> works;
  std::vector<std::shared_ptr<MapJob>> jobs;
  for (int i = 0; i < 30; ++i) {
    works.push_back(std::make_shared<Recorder>(200));
    jobs.push_back(std::make_shared<MapJob>(MapOptions{WorkKind::kMeasured, 2, 1}, pool, nullptr,
                                            works.back()));
    jobs.back()->add(200);
    jobs.back()->close_input();
  }
  for (const auto& work : works) work->wait_for_event(1);
  for (const auto& work : works) EXPECT_EQ(work->total(), 200U);
}

TEST(MapJob, ShortItemsDoNotWaitForALongOne) {
  std::promise<void> others_ran;
  std::shared_future<void> ran = others_ran.get_future().share();
  std::atomic<int> others{0};
  Fixture fixture(20, {WorkKind::kMeasured, 2, 1}, 2);
  fixture.work->body = [&](std::size_t item) {
    if (item == 5) ran.wait();  // for ever, unless another thread takes the rest
    if (item > 5 && ++others == 14) others_ran.set_value();
  };
  fixture.run(20);
  fixture.expect_each_once();
}

// Work that needs one lock, as Python code does: 20 us an item.
class LockedWork final : public Recorder {
 public:
  using Recorder::Recorder;
  void run(std::size_t begin, std::size_t end, const std::atomic<bool>& stopped,
           RunMeter& meter) override {
    const std::lock_guard<std::mutex> lock(held);
    if (meter.alone()) alone = true;
    Recorder::run(begin, end, stopped, meter);
  }
  static void compute() {
    const Instant until = thread_cpu_time() + 20 * kMicrosecond;
    while (thread_cpu_time() < until) {
    }
  }
  std::mutex held;
  std::atomic<bool> alone{false};
};

TEST(MapJob, LetsOneThreadWorkWhereThreadsOnlyTakeTurns) {
  constexpr std::size_t kItems = 20'000;
  for (const unsigned concurrency : {4U, 1U}) {
    auto pool = std::make_shared<BlockingPool>(concurrency);
    auto work = std::make_shared<LockedWork>(kItems);
    work->body = [](std::size_t) { LockedWork::compute(); };
    auto job = std::make_shared<MapJob>(blocking(concurrency), pool, nullptr, work);
    job->add(kItems);
    job->close_input();
    work->wait_for_event(1);
    EXPECT_EQ(work->alone, concurrency > 1);
    EXPECT_EQ(work->total(), kItems);
    pool->close();
  }
}

TEST(MapJob, OneThatWorksAloneAndGetsStuckIsJoinedByOthers) {
  constexpr std::size_t kItems = 20'000;
  auto pool = std::make_shared<BlockingPool>(3);
  auto work = std::make_shared<LockedWork>(kItems);
  std::promise<void> other_ran;
  std::shared_future<void> ran = other_ran.get_future().share();
  std::atomic<int> state{0};
  work->body = [&](std::size_t) {
    LockedWork::compute();
    int expected = 0;
    if (work->alone && state.compare_exchange_strong(expected, 1)) {
      work->held.unlock();
      ran.wait();  // for ever, unless another thread takes the rest
      work->held.lock();
    } else if (expected = 1; state.compare_exchange_strong(expected, 2)) {
      other_ran.set_value();
    }
  };
  auto job = std::make_shared<MapJob>(blocking(3), pool, nullptr, work);
  job->add(kItems);
  job->close_input();
  work->wait_for_event(1);
  EXPECT_EQ(state, 2);
  EXPECT_EQ(work->total(), kItems);
  pool->close();
}

TEST(MapJob, SurvivesManyShortJobs) {
  auto pool = std::make_shared<BlockingPool>(4);
  for (int round = 0; round < 500; ++round) {
    auto work = std::make_shared<Recorder>(20);
    auto job = std::make_shared<MapJob>(MapOptions{WorkKind::kMeasured, 4, 1}, pool, nullptr, work);
    job->add(20);
    job->close_input();
    work->wait_for_event(1);
    ASSERT_EQ(work->total(), 20U);
  }
}

}  // namespace
}  // namespace mcp::batch
