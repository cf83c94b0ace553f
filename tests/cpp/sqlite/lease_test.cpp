// Leases that several threads use at once, while they move and end.
#include "sqlite/lease.h"

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "ways.h"

namespace mcp::sqlite {
namespace {

using LeaseTest = WaysTest;

// Runs `bodies` at the same time, one thread each.
void run_together(const std::vector<std::function<void()>>& bodies) {
  Latch all(static_cast<int>(bodies.size()));
  std::vector<std::thread> threads;
  for (const auto& body : bodies) {
    threads.emplace_back([&all, &body] {
      all.count_down();
      all.wait();
      body();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(LeaseTest, OneThreadAtATimeRunsOnTheConnection) {
  const auto pool = make_pool(options(2));
  const auto lease = begin(Way::kHere, pool, Block::kWriteTransaction);
  const Operation unlimited;
  Slot& slot = lease->take(unlimited);
  EXPECT_EQ(statement(Way::kHere, pool, "SELECT 1", lease, true, false).told, "in use");
  EXPECT_EQ(lease->try_take(), nullptr);
  lease->put_back(slot);
  EXPECT_EQ(statement(Way::kHere, pool, "SELECT 1", lease, true, false).told, "ok");
  pool->terminate();
}

TEST_F(LeaseTest, AJobWaitsForTheThreadThatIsThere) {
  const auto pool = make_pool(options(2));
  const auto lease = begin(Way::kHere, pool, Block::kWriteTransaction);
  Slot& slot = lease->take(Operation());
  Loop loop;
  std::vector<std::uint64_t> ids;
  for (int i = 0; i < 3; ++i) {
    Request one = request(*pool, "INSERT INTO t SELECT count(*) FROM t");
    one.want_rows = false;
    const Route route = route_of(one, lease->standing(), 2, false);
    submit_statement(*pool, lease, route, operation(), std::move(one), loop.reply_to());
  }
  PoolTask::end(lease, true).submit(pool, operation(), loop.reply_to());
  EXPECT_FALSE(lease->open());  // from the end's turn in the queue on
  lease->put_back(slot);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(told(loop.wait()->failure), "ok");
  EXPECT_EQ(count(*pool, "SELECT count(*) FROM t"), 3);
  pool->terminate();
}

TEST_F(LeaseTest, AnEndWhileAnotherThreadIsThereUndoesTheTransactionAfterIt) {
  const auto pool = make_pool(options(2));
  const auto lease = begin(Way::kHere, pool, Block::kWriteTransaction);
  EXPECT_EQ(statement(Way::kHere, pool, "INSERT INTO t VALUES (1)", lease, false, false).told,
            "ok");
  Slot& slot = lease->take(Operation());
  EXPECT_EQ(end(Way::kHere, lease, true), "in use");
  EXPECT_FALSE(lease->open());
  lease->put_back(slot);
  expect_idle(*pool);
  EXPECT_EQ(count(*pool, "SELECT count(*) FROM t"), 0);
  pool->terminate();
}

TEST_F(LeaseTest, TerminateStopsAStatementOnALease) {
  const auto pool = make_pool(options(2));
  const auto lease = begin(Way::kHere, pool, Block::kWriteTransaction);
  const char* endless =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
  std::string outcome;
  std::thread runs(
      [&] { outcome = statement(Way::kHere, pool, endless, lease, true, false).told; });
  while (pool->held_for() != std::vector<std::string>{endless}) std::this_thread::yield();
  pool->terminate();
  runs.join();
  EXPECT_EQ(outcome, "cancelled");
}

TEST_F(LeaseTest, AStatementThatMeetsAForkWaitsForItsEnd) {
  const auto pool = make_pool(options(2));
  const auto lease = begin(Way::kHere, pool, Block::kWriteTransaction);
  static_cast<void>(pool->pause_for_fork(now_precise()));
  std::string outcome;
  Latch asked(1);
  std::thread runs([&] {
    asked.count_down();
    outcome = statement(Way::kHere, pool, "SELECT 1", lease, true, false).told;
  });
  asked.wait();
  EXPECT_EQ(lease->try_take(), nullptr);
  pool->resume_after_fork();
  runs.join();
  EXPECT_EQ(outcome, "ok");
  pool->terminate();
}

// Whatever order the threads come in, each statement is answered or told why not, nothing runs on a
// connection that was given back, and every connection comes back.
TEST_F(LeaseTest, ThreadsThatShareALeaseWhileItMovesAndEnds) {
  const auto pool = make_pool(options(3));
  for (int round = 0; round < 60; ++round) {
    const Block block = round % 3 == 0 ? Block::kWriteTransaction : Block::kConnection;
    const Way way = round % 2 == 0 ? Way::kHere : Way::kOnWorker;
    const auto lease = begin(way, pool, block);
    std::mutex mutex;
    std::map<std::string, int> outcomes;
    const auto uses = [&](Way how, const char* sql) {
      return [&, how, sql] {
        for (int i = 0; i < 5; ++i) {
          const Outcome one = statement(how, pool, sql, lease, true, false);
          const std::lock_guard lock(mutex);
          ++outcomes[one.told];
        }
      };
    };
    const auto elsewhere = [&] {
      for (int i = 0; i < 5; ++i) static_cast<void>(count(*pool, "SELECT count(*) FROM t"));
    };
    const auto ends = [&] {
      if (block == Block::kConnection)
        lease->end();
      else
        static_cast<void>(end(way, lease, round % 4 == 0));
    };
    run_together({uses(Way::kHere, "SELECT count(*) FROM t"),
                  uses(Way::kHere, "INSERT INTO t VALUES (NULL) RETURNING 1"),
                  uses(Way::kOnWorker, "INSERT INTO t VALUES (NULL) RETURNING 1"), elsewhere,
                  ends});
    for (const auto& [told, times] : outcomes) {
      EXPECT_TRUE(told == "ok" || told == "in use" || told == "given back") << told;
    }
    lease->end();
    expect_idle(*pool);
  }
  pool->terminate();
}

TEST_F(LeaseTest, LeasesThatEndWhileThePoolDoes) {
  for (int round = 0; round < 20; ++round) {
    const auto pool = make_pool(options(3));
    const auto first = begin(Way::kHere, pool, Block::kWriteTransaction);
    const auto second = begin(Way::kOnWorker, pool, Block::kReadTransaction);
    run_together({[&] { static_cast<void>(end(Way::kHere, first, true)); },
                  [&] { static_cast<void>(end(Way::kOnWorker, second, false)); },
                  [&] {
                    static_cast<void>(first->in_transaction());
                    static_cast<void>(second->in_transaction());
                  },
                  [&] { pool->terminate(); }});
    EXPECT_FALSE(first->open());
    EXPECT_FALSE(second->open());
    EXPECT_EQ(pool->counts().in_use, 0);
  }
}

TEST_F(LeaseTest, CloseWaitsForLeasesAsLongAsItsCallerDoes) {
  const auto pool = make_pool(options(2));
  const auto lease = begin(Way::kHere, pool, Block::kWriteTransaction);
  EXPECT_FALSE(pool->close_and_wait(Operation(now_precise())));
  Operation interrupted;
  static std::atomic<int> looks;
  looks = 0;
  interrupted.set_poll([] { return ++looks > 0; });
  EXPECT_FALSE(pool->close_and_wait(interrupted));
  EXPECT_EQ(looks, 1);
  std::thread ends([&] { EXPECT_EQ(end(Way::kHere, lease, true), "ok"); });
  EXPECT_TRUE(pool->close_and_wait(Operation()));
  ends.join();
  EXPECT_EQ(statement(Way::kHere, pool, "SELECT 1", nullptr, true, false).told, "closed");
  pool->terminate();
}

}  // namespace
}  // namespace mcp::sqlite
