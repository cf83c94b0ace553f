// Blocks end in the same way on workers and on their callers' threads: everything is committed, or
// nothing of it is left, and the connection goes back whatever happens.
#include "sqlite/block.h"

#include <sqlite3.h>

#include <filesystem>

#include "ways.h"

namespace mcp::sqlite {
namespace {

class BlockTest : public EitherWayTest {
 protected:
  static std::string act(const std::shared_ptr<Pool>& pool, const std::shared_ptr<Lease>& lease,
                         const std::string& sql) {
    return statement(pool, sql, lease, false).told;
  }
  static std::int64_t rows(Pool& pool) { return count(pool, "SELECT count(*) FROM t"); }
};
INSTANTIATE_TEST_SUITE_P(Ways, BlockTest, testing::Values(Way::kHere, Way::kOnWorker), name_of);

TEST_P(BlockTest, AWriteTransactionIsKeptOrUndone) {
  const auto pool = make_pool(options(3));
  for (const bool commit : {true, false, true}) {
    const std::int64_t before = rows(*pool);
    const auto lease = begin(pool, Block::kWriteTransaction);
    EXPECT_TRUE(lease->in_transaction());
    EXPECT_EQ(act(pool, lease, "INSERT INTO t SELECT count(*) FROM t"), "ok");
    EXPECT_EQ(act(pool, lease, "INSERT INTO t SELECT count(*) FROM t"), "ok");
    EXPECT_EQ(rows(*pool), before);  // nobody else sees it
    EXPECT_EQ(end(lease, commit), "ok");
    EXPECT_FALSE(lease->open());
    EXPECT_EQ(rows(*pool), commit ? before + 2 : before);
    expect_idle(*pool);
  }
  pool->terminate();
}

TEST_P(BlockTest, AReadTransactionSeesOneStateWhicheverWayItEnds) {
  const auto pool = make_pool(options(3));
  for (const bool commit : {true, false}) {
    const auto lease = begin(pool, Block::kReadTransaction);
    const auto before = statement(pool, "SELECT count(*) FROM t", lease).column;
    run(*pool, "INSERT INTO t SELECT count(*) FROM t");
    EXPECT_EQ(statement(pool, "SELECT count(*) FROM t", lease).column, before);
    EXPECT_EQ(end(lease, commit), "ok");
    expect_idle(*pool);
  }
  EXPECT_EQ(rows(*pool), 2);
  pool->terminate();
}

TEST_P(BlockTest, WhatAnAcquiredConnectionLeavesOpenIsUndone) {
  const auto pool = make_pool(options(3));
  const auto lease = begin(pool, Block::kConnection);
  EXPECT_FALSE(lease->in_transaction());
  Slot& slot = lease->take(Operation());
  {
    const Operation unlimited;
    const Connection::Scope scope(*slot.connection, unlimited);
    slot.connection->run("BEGIN");
  }
  lease->put_back(slot);
  EXPECT_TRUE(lease->in_transaction());
  lease->end();
  expect_idle(*pool);
  const auto next = begin(pool, Block::kConnection);
  EXPECT_FALSE(next->in_transaction());
  next->end();
  pool->terminate();
}

TEST_P(BlockTest, AFailureThatRolledBackTheTransactionFailsItsCommitToo) {
  const auto pool = make_pool(options(2));
  run(*pool, "INSERT INTO t VALUES (7)");
  for (const bool commit : {true, false}) {
    const auto lease = begin(pool, Block::kWriteTransaction);
    EXPECT_EQ(act(pool, lease, "INSERT INTO t VALUES (1)"), "ok");
    EXPECT_NE(act(pool, lease, "INSERT OR ROLLBACK INTO t VALUES (7)"), "ok");
    EXPECT_EQ(act(pool, lease, "INSERT INTO t VALUES (2)"), "lost");  // not outside of it
    EXPECT_EQ(end(lease, commit), commit ? "lost" : "ok");
    expect_idle(*pool);
    EXPECT_EQ(rows(*pool), 1);
  }
  pool->terminate();
}

TEST_P(BlockTest, ACommitThatIsRefusedLeavesNothing) {
  PoolOptions with_keys = options(2);
  with_keys.init = [](Connection& connection) { connection.run("PRAGMA foreign_keys = ON"); };
  const auto pool = make_pool(with_keys);
  run(*pool, "CREATE TABLE child (x REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)");
  run(*pool, "CREATE TABLE parent (id INTEGER PRIMARY KEY)");
  const auto lease = begin(pool, Block::kWriteTransaction);
  EXPECT_EQ(act(pool, lease, "INSERT INTO t VALUES (1)"), "ok");
  EXPECT_EQ(act(pool, lease, "INSERT INTO child VALUES (9)"), "ok");
  EXPECT_EQ(end(lease, true), "FOREIGN KEY constraint failed");
  expect_idle(*pool);
  EXPECT_EQ(rows(*pool), 0);
  EXPECT_EQ(count(*pool, "SELECT count(*) FROM child"), 0);
  pool->terminate();
}

TEST_P(BlockTest, ABlockWhoseFileWasReplacedCommitsNothing) {
  for (const bool commit : {true, false}) {
    const auto pool = make_pool(options(2));
    const auto lease = begin(pool, Block::kWriteTransaction);
    EXPECT_EQ(act(pool, lease, "INSERT INTO t VALUES (1)"), "ok");
    for (const char* suffix : {"", "-wal", "-shm"}) {
      std::filesystem::rename(directory_.file("test.db") + suffix,
                              directory_.file("old.db") + suffix);
    }
    Foreign(directory_.file("test.db")).run("CREATE TABLE t (x INTEGER UNIQUE)");
    EXPECT_EQ(end(lease, commit), commit ? "replaced" : "ok");
    expect_idle(*pool);
    EXPECT_EQ(rows(*pool), 0);
    pool->terminate();
    std::filesystem::remove(directory_.file("test.db"));
  }
}

TEST_P(BlockTest, ATerminatedPoolCommitsNothingAndHasRolledBack) {
  for (const bool commit : {true, false}) {
    const auto pool = make_pool(options(2));
    const std::int64_t before = rows(*pool);
    const auto lease = begin(pool, Block::kWriteTransaction);
    EXPECT_EQ(act(pool, lease, "INSERT INTO t VALUES (1)"), "ok");
    pool->terminate();
    EXPECT_EQ(end(lease, commit), commit ? "closed" : "ok");
    EXPECT_FALSE(lease->open());
    Pool again(options(2));
    EXPECT_EQ(rows(again), before);
    again.terminate();
  }
}

TEST_P(BlockTest, ABlockThatCannotBeginHoldsNothing) {
  const auto pool = make_pool(options(3));
  Foreign other(directory_.file("test.db"));
  other.run("BEGIN IMMEDIATE");
  const auto lease = std::make_shared<Lease>(pool, true);
  const PoolTask task = PoolTask::begin(lease, Block::kWriteTransaction);
  std::string outcome;
  if (GetParam() == Way::kHere) {
    const Operation brief(now_precise() + 20 * kMillisecond);
    try {
      task.run_here(pool, brief);
    } catch (...) {
      outcome = told(std::current_exception());
    }
  } else {
    Loop loop;
    task.submit(pool, operation(now_precise() + 20 * kMillisecond), loop.reply_to());
    outcome = told(loop.wait()->failure);
  }
  EXPECT_NE(outcome, "ok");
  EXPECT_FALSE(lease->open());
  other.run("ROLLBACK");
  expect_idle(*pool);
  pool->terminate();
}

TEST_P(BlockTest, AStreamReadsOneStateInPortionsAndEndsWithItsBlock) {
  const auto pool = make_pool(options(3));
  run(*pool,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50000) INSERT INTO t "
      "SELECT i FROM n");
  const auto portion = [&](Lease& lease, const std::shared_ptr<Cursor>& cursor, Outcome& outcome) {
    try {
      if (GetParam() == Way::kHere) {
        const Operation unlimited;
        add_rows(take_portion_here(lease, cursor, unlimited), outcome);
      } else {
        Loop loop;
        submit_portion(lease, cursor, operation(), loop.reply_to());
        const auto reply = loop.wait();
        if (reply->failure) std::rethrow_exception(reply->failure);
        add_rows(reply->answer, outcome);
      }
      outcome.told = "ok";
    } catch (...) {
      outcome.told = told(std::current_exception());
    }
  };
  const auto lease = begin(pool, Block::kReader);
  const auto cursor = std::make_shared<Cursor>(request(*pool, "SELECT x FROM t ORDER BY x"));
  Outcome all;
  portion(*lease, cursor, all);
  EXPECT_LT(all.column.size(), 50'000u);
  run(*pool, "DELETE FROM t");
  while (all.told == "ok" && !cursor->exhausted()) portion(*lease, cursor, all);
  EXPECT_EQ(all.told, "ok");
  ASSERT_EQ(all.column.size(), 50'000u);
  for (std::size_t i = 0; i < all.column.size(); ++i) {
    ASSERT_EQ(all.column[i], static_cast<std::int64_t>(i + 1));
  }
  const auto half = std::make_shared<Cursor>(request(*pool, "SELECT x FROM t"));
  portion(*lease, half, all);
  lease->end();
  portion(*lease, half, all);
  EXPECT_EQ(all.told, "given back");
  expect_idle(*pool);
  pool->terminate();
}

TEST_P(BlockTest, ABackupIsOneStateAndIsStoppedWithItsCaller) {
  const auto pool = make_pool(options(3));
  run(*pool,
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50000) INSERT INTO t "
      "SELECT i FROM n");
  EXPECT_EQ(perform(GetParam(), pool, PoolTask::backup(directory_.file("copy.db"))), "ok");
  run(*pool, "DELETE FROM t");
  PoolOptions of_copy = options(1);
  of_copy.database.path = directory_.file("copy.db");
  Pool copy(of_copy);
  EXPECT_EQ(rows(copy), 50'000);
  copy.terminate();

  EXPECT_NE(perform(GetParam(), pool, PoolTask::backup(directory_.file("no/such/folder/x.db"))),
            "ok");
  Operation gone;
  gone.cancel();
  EXPECT_THROW(PoolTask::backup(directory_.file("half.db")).run_here(pool, gone), Stopped);
  expect_idle(*pool);
  EXPECT_EQ(rows(*pool), 0);
  pool->terminate();
}

}  // namespace
}  // namespace mcp::sqlite
