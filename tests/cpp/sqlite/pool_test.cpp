#include "sqlite/pool.h"

#include <sqlite3.h>

#include <atomic>
#include <thread>

#include "fixture.h"

namespace mcp::sqlite {
namespace {

const char* const kEndless =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

bool is(std::exception_ptr failure, ErrorKind kind) {
  try {
    if (failure) std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.kind() == kind;
  } catch (...) {
  }
  return false;
}

TEST_F(PoolTest, EveryJobFinishesOnceWhateverItsThread) {
  Pool pool(options(4));
  run(pool, "CREATE TABLE t (x)");
  constexpr int kJobs = 400;
  Latch done(kJobs);
  std::atomic<int> failures{0};
  for (int i = 0; i < kJobs; ++i) {
    const bool writes = i % 10 == 0;
    pool.submit(std::make_unique<TestJob>(
        writes ? Access::kWrite : Access::kRead, operation(),
        [&pool, writes](Slot& slot) {
          Request one =
              request(pool, writes ? "INSERT INTO t VALUES (1)" : "SELECT count(*) FROM t");
          const Operation unlimited;
          static_cast<void>(pool.execute(slot, one, unlimited, 0, nullptr));
          return Job::After::kRelease;
        },
        [&](std::exception_ptr failure) {
          failures += failure ? 1 : 0;
          done.count_down();
        }));
  }
  done.wait();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(count(pool, "SELECT count(*) FROM t"), kJobs / 10);
  pool.terminate();
}

TEST_F(PoolTest, WritersTakeTurnsInTheOrderOfTheirCalls) {
  Pool pool(options(2));
  const Operation unlimited;
  Slot& writer = pool.take(Access::kWrite, unlimited);
  std::vector<int> order;
  Latch done(20);
  for (int i = 0; i < 20; ++i) {
    pool.submit(std::make_unique<TestJob>(
        Access::kWrite, operation(),
        [&order, i](Slot&) {
          order.push_back(i);  // one writer: no lock needed
          return Job::After::kRelease;
        },
        [&](std::exception_ptr) { done.count_down(); }));
  }
  pool.give_back(writer);
  done.wait();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  pool.terminate();
}

TEST_F(PoolTest, ACancelledJobThatWaitsIsDroppedAndOneThatRunsIsStopped) {
  Pool pool(options(2));
  const Operation unlimited;
  Slot& reader = pool.take(Access::kRead, unlimited);
  const OperationPtr waiting = operation();
  Latch dropped(1);
  bool ran = false;
  pool.submit(std::make_unique<TestJob>(
      Access::kRead, waiting,
      [&ran](Slot&) {
        ran = true;
        return Job::After::kRelease;
      },
      [&](std::exception_ptr failure) {
        EXPECT_TRUE(failure);
        dropped.count_down();
      }));
  pool.cancel(waiting);
  dropped.wait();
  EXPECT_FALSE(ran);
  pool.give_back(reader);

  const OperationPtr running = operation();
  Latch started(1);
  Latch stopped(1);
  pool.submit(std::make_unique<TestJob>(
      Access::kRead, running,
      [&](Slot& slot) {
        started.count_down();
        Request one = request(pool, kEndless);
        static_cast<void>(pool.execute(slot, one, *running, 0, nullptr));
        return Job::After::kRelease;
      },
      [&](std::exception_ptr failure) {
        EXPECT_TRUE(failure);
        stopped.count_down();
      }));
  started.wait();
  pool.cancel(running);
  stopped.wait();
  EXPECT_EQ(count(pool, "SELECT 7"), 7);  // the connection is as good as before
  EXPECT_EQ(pool.counts().reconnects, 0u);
  pool.terminate();
}

TEST_F(PoolTest, ADeadlineEndsAStatementAndAWait) {
  Pool pool(options(2));
  Latch ended(1);
  const OperationPtr soon = operation(now_precise() + 20 * kMillisecond);
  pool.submit(std::make_unique<TestJob>(
      Access::kRead, soon,
      [&](Slot& slot) {
        Request one = request(pool, kEndless);
        static_cast<void>(pool.execute(slot, one, *soon, 0, nullptr));
        return Job::After::kRelease;
      },
      [&](std::exception_ptr failure) {
        EXPECT_TRUE(is(failure, ErrorKind::kPoolTimeout));
        ended.count_down();
      }));
  ended.wait();

  const Operation unlimited;
  Slot& writer = pool.take(Access::kWrite, unlimited);
  Latch expired(1);
  pool.submit(std::make_unique<TestJob>(
      Access::kWrite, operation(now_precise() + 20 * kMillisecond),
      [](Slot&) { return Job::After::kRelease; },
      [&](std::exception_ptr failure) {
        EXPECT_TRUE(is(failure, ErrorKind::kPoolTimeout));
        expired.count_down();
      }));
  expired.wait();
  const Operation brief(now_precise() + 20 * kMillisecond);
  EXPECT_THROW(static_cast<void>(pool.take(Access::kWrite, brief)), Error);
  pool.give_back(writer);
  EXPECT_EQ(pool.counts().timeouts, 3u);
  pool.terminate();
}

TEST_F(PoolTest, AStatementThatWritesGoesToTheWriter) {
  Pool pool(options(3));
  run(pool, "CREATE TABLE t (x)");
  Latch done(1);
  pool.submit(std::make_unique<TestJob>(
      Access::kRead, operation(),
      [&](Slot& slot) {
        Request one = request(pool, "INSERT INTO t VALUES (1) RETURNING x");
        const Operation unlimited;
        static_cast<void>(pool.execute(slot, one, unlimited, 0, nullptr));
        EXPECT_EQ(slot.role, Role::kWriter);
        return Job::After::kRelease;
      },
      [&](std::exception_ptr failure) {
        EXPECT_FALSE(failure);
        done.count_down();
      }));
  done.wait();
  EXPECT_EQ(count(pool, "SELECT count(*) FROM t"), 1);
  pool.terminate();
}

TEST_F(PoolTest, ALeaseRunsItsJobsInOrderAndIsRolledBackAtItsEnd) {
  Pool pool(options(2));
  run(pool, "CREATE TABLE t (x)");
  const Operation unlimited;
  Slot& slot = pool.take(Access::kWrite, unlimited);
  pool.connect(slot, unlimited);
  begin_transaction(*slot.connection, pool.services());
  pool.lease(slot);
  Latch done(50);
  std::vector<int> order;
  for (int i = 0; i < 50; ++i) {
    std::unique_ptr<Job> job = std::make_unique<TestJob>(
        Access::kAny, operation(),
        [&, i](Slot& same) {
          order.push_back(i);
          Request one = request(pool, "INSERT INTO t VALUES (1)");
          const Operation no_limit;
          static_cast<void>(pool.execute(same, one, no_limit, 0, nullptr));
          return Job::After::kLease;
        },
        [&](std::exception_ptr) { done.count_down(); });
    ASSERT_TRUE(pool.queue_leased(slot, job));
  }
  pool.end_lease(slot);
  done.wait();
  for (int i = 0; i < 50; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  EXPECT_EQ(count(pool, "SELECT count(*) FROM t"), 0);
  pool.terminate();
}

TEST_F(PoolTest, AnInlineRunStopsAtItsBudgetAndIsNotTriedAgainSoon) {
  Pool pool(options(2));
  static_cast<void>(count(pool, "SELECT 1"));  // opens a reader
  Slot* slot = pool.try_take_reader();
  ASSERT_NE(slot, nullptr);
  Request endless = request(pool, kEndless);
  const Operation unlimited;
  EXPECT_THROW(static_cast<void>(pool.execute(*slot, endless, unlimited, kMillisecond, nullptr)),
               Stopped);
  pool.give_back(*slot);
  EXPECT_EQ(pool.counts().inline_overruns, 1u);
  EXPECT_FALSE(endless.profile->fits_inline(kMillisecond));
  pool.terminate();
}

TEST_F(PoolTest, CloseWaitsForWhatRunsAndTerminateStopsIt) {
  for (const bool at_once : {false, true}) {
    Pool pool(options(2));
    Latch started(1);
    Latch go(1);
    Latch finished(1);
    Latch closed(1);
    const OperationPtr running = operation();
    pool.submit(std::make_unique<TestJob>(
        Access::kRead, running,
        [&](Slot& slot) {
          started.count_down();
          if (at_once) {
            Request one = request(pool, kEndless);
            static_cast<void>(pool.execute(slot, one, *running, 0, nullptr));
          } else {
            go.wait();
          }
          return Job::After::kRelease;
        },
        [&](std::exception_ptr failure) {
          EXPECT_EQ(static_cast<bool>(failure), at_once);
          finished.count_down();
        }));
    started.wait();
    if (at_once) {
      pool.terminate();
    } else {
      pool.close([&] { closed.count_down(); });
      go.count_down();
      closed.wait();
    }
    finished.wait();
    pool.submit(std::make_unique<TestJob>(
        Access::kRead, operation(), [](Slot&) { return Job::After::kRelease; },
        [&](std::exception_ptr failure) { EXPECT_TRUE(is(failure, ErrorKind::kPoolClosed)); }));
    pool.terminate();
  }
}

TEST_F(PoolTest, ManyThreadsTakeAndGiveBackWithoutLosingAConnection) {
  Pool pool(options(3));
  run(pool, "CREATE TABLE t (x)");
  std::vector<std::thread> threads;
  for (int n = 0; n < 6; ++n) {
    threads.emplace_back([&pool, n] {
      for (int i = 0; i < 100; ++i) {
        if ((i + n) % 7 == 0)
          run(pool, "INSERT INTO t VALUES (1)");
        else
          static_cast<void>(count(pool, "SELECT count(*) FROM t"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const PoolCounts counts = pool.counts();
  EXPECT_EQ(counts.in_use, 0);
  EXPECT_EQ(counts.waiting, 0);
  EXPECT_EQ(counts.idle, 3);
  pool.terminate();
}

}  // namespace
}  // namespace mcp::sqlite
