// Short reads that share a snapshot: never older than a commit, and in nobody's way.
#include <atomic>
#include <thread>

#include "fixture.h"

namespace mcp::sqlite {
namespace {

class SnapshotTest : public PoolTest {
 protected:
  SnapshotTest() : pool_(options(2)) {
    run(pool_, "CREATE TABLE t (x)");
    run(pool_, "INSERT INTO t VALUES (1)");
    count(pool_, kCount);  // opens the reader
  }
  ~SnapshotTest() override { pool_.terminate(); }

  // As the event loop's thread runs a short statement.
  std::int64_t read(const std::string& sql = kCount) {
    Slot* slot = pool_.try_take_reader();
    EXPECT_NE(slot, nullptr);
    const Operation unlimited;
    Request one = request(pool_, sql);
    one.share_snapshot = true;
    std::int64_t value = 0;
    std::exception_ptr failure;
    try {
      value = pool_.execute(*slot, one, unlimited, kSecond, nullptr).rows.integer(0);
    } catch (...) {
      failure = std::current_exception();
    }
    holds_ = slot->connection->holds_snapshot();
    pool_.give_back(*slot);
    if (failure) std::rethrow_exception(failure);
    return value;
  }

  static constexpr const char* kCount = "SELECT count(*) FROM t";
  Pool pool_;
  bool holds_ = false;  // after the last read
};

TEST_F(SnapshotTest, IsKeptUntilItIsDropped) {
  EXPECT_EQ(read(), 1);
  EXPECT_TRUE(holds_);
  EXPECT_EQ(read("SELECT max(x) FROM t"), 1);
  EXPECT_TRUE(holds_);
  run(pool_, "INSERT INTO t VALUES (2)");
  EXPECT_EQ(read(), 2);
  Foreign other(options(2).database.path);
  other.run("SELECT count(*) FROM t");  // opens the file
  EXPECT_FALSE(other.truncate_log());
  pool_.drop_snapshots();
  EXPECT_TRUE(other.truncate_log());
}

TEST_F(SnapshotTest, ACommitOfAnotherProcessEndsIt) {
  EXPECT_EQ(read(), 1);
  Foreign other(options(2).database.path);
  other.run("SELECT count(*) FROM t");  // opens the file
  other.run("INSERT INTO t VALUES (2)");
  EXPECT_EQ(read(), 2);
  other.run("ALTER TABLE t ADD COLUMN y DEFAULT 5");
  EXPECT_EQ(read("SELECT sum(y) FROM t"), 10);
}

TEST_F(SnapshotTest, ACommitAfterTheFirstLookEndsIt) {
  EXPECT_EQ(read(), 1);
  Slot* slot = pool_.try_take_reader();
  ASSERT_NE(slot, nullptr);
  Connection& connection = *slot->connection;
  EXPECT_TRUE(connection.snapshot_is_newest(pool_.freshness()));
  Foreign other(options(2).database.path);
  other.run("INSERT INTO t VALUES (2)");  // while the next statement is prepared
  connection.share_snapshot(pool_.freshness());
  EXPECT_TRUE(connection.snapshot_is_newest(pool_.freshness()));
  pool_.give_back(*slot);
  EXPECT_EQ(read(), 2);
}

TEST_F(SnapshotTest, AWriteOfThePoolDoesNotWaitForIt) {
  EXPECT_EQ(read(), 1);
  EXPECT_EQ(count(pool_, kCount), 1);  // another holder of the same connection
  EXPECT_EQ(read(), 1);
  // Its first column tells whether a reader was in the way.
  const Answer answer = run(pool_, "PRAGMA wal_checkpoint(TRUNCATE)");
  EXPECT_EQ(answer.rows.integer(0), 0);
}

TEST_F(SnapshotTest, WhatTheWalIndexCannotProveHasItsOwn) {
  EXPECT_EQ(read(), 1);
  EXPECT_EQ(read("SELECT abs(-7)"), 7);  // reads no table of the database
  EXPECT_FALSE(holds_);
  EXPECT_EQ(read("SELECT x + 0 * abs(random() % 2) FROM t"), 1);
  EXPECT_FALSE(holds_);
}

TEST_F(SnapshotTest, AFailureEndsIt) {
  EXPECT_EQ(read(), 1);
  EXPECT_THROW(read("SELECT abs(x - 9223372036854775807 - 2) FROM t"), Error);
  EXPECT_FALSE(holds_);
  EXPECT_EQ(read(), 1);
}

TEST_F(SnapshotTest, ThePoolEndsWhileItIsHeld) {
  EXPECT_EQ(read(), 1);
  Latch closed(1);
  pool_.close([&] { closed.count_down(); });
  for (int i = 0; i < 1000; ++i) pool_.drop_snapshots();  // a tick of the loop ends meanwhile
  closed.wait();
  pool_.drop_snapshots();
}

TEST_F(SnapshotTest, NothingReadIsOlderThanAForeignCommit) {
  run(pool_, "UPDATE t SET x = 0");
  constexpr std::int64_t kCommits = 300;
  std::atomic<std::int64_t> committed{0};
  std::thread writer([&] {
    Foreign other(options(2).database.path);
    other.run("SELECT count(*) FROM t");  // opens the file
    other.run("PRAGMA synchronous=OFF");
    for (std::int64_t i = 1; i <= kCommits; ++i) {
      other.run(("UPDATE t SET x = " + std::to_string(i)).c_str());
      committed.store(i);
    }
  });
  std::int64_t reads = 0;
  while (committed.load() < kCommits || reads < 1000) {
    const std::int64_t before = committed.load();
    EXPECT_GE(read("SELECT x FROM t"), before);
    if (++reads % 16 == 0) pool_.drop_snapshots();
  }
  writer.join();
}

}  // namespace
}  // namespace mcp::sqlite
