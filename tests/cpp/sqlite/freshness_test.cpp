#include "sqlite/freshness.h"

#include <atomic>
#include <thread>
#include <utility>

#include "fixture.h"

namespace mcp::sqlite {
namespace {

class FreshnessTest : public PoolTest, public testing::WithParamInterface<bool> {
 protected:
  FreshnessTest() : pool_(with_mode(options(2), GetParam())) {
    run(pool_, "CREATE TABLE a (x)");
    run(pool_, "CREATE TABLE b (x)");
    a_ = pool_.freshness().table("a");
    b_ = pool_.freshness().table("B");
  }
  ~FreshnessTest() override { pool_.terminate(); }
  static PoolOptions with_mode(PoolOptions out, bool wal) {
    out.database.wal = wal;
    return out;
  }
  [[nodiscard]] bool fresh(const Freshness::Observation& then, TableId table) {
    return pool_.freshness().unchanged(then, std::span<const TableId>(&table, 1));
  }
  [[nodiscard]] bool wal() const { return GetParam(); }

  Pool pool_;
  TableId a_ = 0;
  TableId b_ = 0;
};

TEST_P(FreshnessTest, ACommitOfThePoolChangesTheTablesItWrote) {
  const auto then = pool_.freshness().observe();
  ASSERT_TRUE(then.proven);
  EXPECT_TRUE(fresh(then, a_));
  run(pool_, "INSERT INTO a VALUES (1)");
  EXPECT_FALSE(fresh(then, a_));
  EXPECT_EQ(fresh(then, b_), wal());  // without the wal-index it cannot be told whose commit it was
}

TEST_P(FreshnessTest, AForeignCommitVoidsEverything) {
  const auto then = pool_.freshness().observe();
  Foreign other(directory_.file("test.db"));
  other.run("INSERT INTO a VALUES (1)");
  EXPECT_FALSE(fresh(then, a_));
  EXPECT_FALSE(fresh(then, b_));
  const auto now = pool_.freshness().observe();
  EXPECT_TRUE(fresh(now, a_));
}

TEST_P(FreshnessTest, AForeignCommitBetweenTwoOfThePoolIsNotTakenForOurs) {
  Foreign other(directory_.file("test.db"));
  const auto then = pool_.freshness().observe();
  other.run("INSERT INTO b VALUES (1)");
  run(pool_, "INSERT INTO a VALUES (1)");
  EXPECT_FALSE(fresh(then, b_));
}

TEST_P(FreshnessTest, AForeignCommitAfterOneThatWroteNothingIsNotTakenForOurs) {
  Foreign other(directory_.file("test.db"));
  const auto then = pool_.freshness().observe();
  const WriteSet written{.tables = {a_}, .everything = false};
  pool_.freshness().begin_write();
  other.run("INSERT INTO b VALUES (1)");  // right after the COMMIT
  pool_.freshness().end_write(&written, false);
  EXPECT_FALSE(fresh(then, b_));
}

TEST_P(FreshnessTest, AForeignCommitAfterOneToAnAttachedDatabaseIsNotTakenForOurs) {
  Foreign(directory_.file("aside.db")).run("PRAGMA journal_mode=WAL; CREATE TABLE c (x)");
  Foreign other(directory_.file("test.db"));
  const Operation unlimited;
  Slot& slot = pool_.take(Access::kWrite, unlimited);
  Connection& writer = pool_.connect(slot, unlimited);
  writer.run(("ATTACH '" + directory_.file("aside.db") + "' AS aside").c_str());
  const auto then = pool_.freshness().observe();
  begin_transaction(writer, pool_.services());
  writer.run("INSERT INTO aside.c VALUES (1)");
  writer.written().tables = {a_};
  writer.commit();
  other.run("INSERT INTO b VALUES (1)");
  pool_.freshness().end_write(&writer.written(), writer.has_logged());
  writer.set_announced(false);
  EXPECT_FALSE(fresh(then, b_));
  pool_.give_back(slot);
}

TEST_P(FreshnessTest, TheEndOfATransactionThatReadExplainsNoForeignCommit) {
  Foreign other(directory_.file("test.db"));
  const Operation unlimited;
  for (const bool commit : {true, false}) {
    const auto then = pool_.freshness().observe();
    Slot& slot = pool_.take(Access::kWrite, unlimited);
    Connection& connection = pool_.connect(slot, unlimited);
    connection.run("BEGIN");
    other.run("INSERT INTO b VALUES (1)");
    commit ? commit_transaction(connection, pool_.services())
           : rollback_transaction(connection, pool_.services());
    pool_.give_back(slot);
    EXPECT_FALSE(fresh(then, b_));
  }
}

TEST_P(FreshnessTest, ATransactionOfAnotherConnectionEndsNoWrite) {
  const Operation unlimited;
  Slot& writing = pool_.take(Access::kWrite, unlimited);
  Slot& reading = pool_.take(Access::kRead, unlimited);
  Connection& writer = pool_.connect(writing, unlimited);
  Connection& reader = pool_.connect(reading, unlimited);
  begin_transaction(writer, pool_.services());
  reader.run("BEGIN");
  writer.run("INSERT INTO a VALUES (1)");
  writer.written().tables = {a_};
  const auto then = pool_.freshness().observe();
  rollback_transaction(reader, pool_.services());
  writer.commit();
  EXPECT_FALSE(pool_.freshness().observe().proven);  // until it is known whose commit it was
  pool_.freshness().end_write(&writer.written(), writer.has_logged());
  writer.set_announced(false);
  EXPECT_FALSE(fresh(then, a_));
  EXPECT_EQ(fresh(then, b_), wal());
  pool_.give_back(reading);
  pool_.give_back(writing);
}

TEST_P(FreshnessTest, ARollbackAndAnEmptyChangeLeaveThingsFresh) {
  run(pool_, "CREATE UNIQUE INDEX one ON a (x)");
  run(pool_, "INSERT INTO a VALUES (1)");
  const auto then = pool_.freshness().observe();
  EXPECT_THROW(run(pool_, "INSERT INTO a VALUES (1)"), Error);
  run(pool_, "DELETE FROM a WHERE x = 99");
  EXPECT_TRUE(fresh(then, a_));
}

TEST_P(FreshnessTest, DdlVoidsEverything) {
  const auto then = pool_.freshness().observe();
  run(pool_, "CREATE TABLE c (x)");
  EXPECT_FALSE(fresh(then, a_));
}

TEST_P(FreshnessTest, TriggersAndCascadesCountAsWrites) {
  run(pool_, "CREATE TRIGGER t AFTER INSERT ON a BEGIN INSERT INTO b VALUES (new.x); END");
  const auto then = pool_.freshness().observe();
  run(pool_, "INSERT INTO a VALUES (1)");
  EXPECT_FALSE(fresh(then, b_));
}

TEST_P(FreshnessTest, AResultReadAcrossACommitIsNotCacheable) {
  const Operation unlimited;
  Slot& slot = pool_.take(Access::kRead, unlimited);
  pool_.connect(slot, unlimited);
  Request read = request(pool_, "SELECT count(*) FROM a");
  EXPECT_TRUE(pool_.execute(slot, read, unlimited, 0, nullptr).cacheable);
  for (const char* sql :
       {"SELECT random(), x FROM a", "SELECT datetime('now'), x FROM a", "SELECT changes() FROM a",
        "SELECT CURRENT_TIMESTAMP FROM a", "SELECT 1", "SELECT * FROM sqlite_schema",
        "SELECT name FROM pragma_table_info('a')"}) {
    Request one = request(pool_, sql);
    EXPECT_FALSE(pool_.execute(slot, one, unlimited, 0, nullptr).cacheable) << sql;
  }
  slot.connection->run("BEGIN");
  EXPECT_FALSE(pool_.execute(slot, read, unlimited, 0, nullptr).cacheable);
  pool_.give_back(slot);
}

// What is served is what the table held at that moment or later, never less than what a foreign
// writer had committed before the question.
TEST_P(FreshnessTest, NothingProvenFreshIsOlderThanAForeignCommit) {
  run(pool_, "INSERT INTO a VALUES (0)");
  std::atomic<std::int64_t> committed{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    Foreign other(directory_.file("test.db"));
    for (std::int64_t i = 1; i <= 300 && !stop; ++i) {
      other.run(("UPDATE a SET x = " + std::to_string(i)).c_str());
      committed = i;
    }
    stop = true;
  });
  Freshness::Observation seen;
  std::int64_t kept = -1;
  while (!stop) {
    const std::int64_t floor = committed;
    if (kept >= 0 && fresh(seen, a_)) {
      EXPECT_GE(kept, floor);
      continue;
    }
    const Answer answer = run(pool_, "SELECT x FROM a", Access::kRead);
    kept = answer.cacheable ? answer.rows.integer(0) : -1;
    seen = answer.seen;
  }
  writer.join();
  const Answer last = run(pool_, "SELECT x FROM a", Access::kRead);
  EXPECT_EQ(last.rows.integer(0), committed);
  EXPECT_TRUE(last.cacheable && fresh(last.seen, a_)) << "nothing at all would be served";
}

TEST_P(FreshnessTest, TheVersionGrowsWithEveryCommitOfAnybodyAndWhereNothingIsKnown) {
  Foreign other(directory_.file("test.db"));
  static_cast<void>(pool_.version());
  const std::uint64_t before = pool_.version();
  EXPECT_EQ(pool_.version() == before, wal());
  std::uint64_t last = pool_.version();
  const auto grows = [&] {
    const std::uint64_t now = pool_.version();
    return now > std::exchange(last, now);
  };
  run(pool_, "INSERT INTO a VALUES (1)");
  EXPECT_TRUE(grows());
  other.run("INSERT INTO b VALUES (1)");
  EXPECT_TRUE(grows());
  pool_.freshness().begin_write();  // what is announced needs no commit
  EXPECT_EQ(grows(), !wal());
  pool_.freshness().end_write(nullptr, false);
  pool_.freshness().forget_version();
  EXPECT_TRUE(grows());
  EXPECT_EQ(grows(), !wal());
  pool_.terminate();
  EXPECT_TRUE(grows());
  EXPECT_TRUE(grows());
}

INSTANTIATE_TEST_SUITE_P(JournalModes, FreshnessTest, testing::Values(true, false),
                         [](const auto& mode) { return mode.param ? "Wal" : "Rollback"; });

}  // namespace
}  // namespace mcp::sqlite
