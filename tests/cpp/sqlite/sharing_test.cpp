// Writes that share a commit: to each caller it is as if it had been alone.
#include <sqlite3.h>

#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "fixture.h"

namespace mcp::sqlite {
namespace {

// One statement that may share its commit, and what its caller was told.
class WriteJob final : public Job {
 public:
  struct Outcome {
    std::int64_t changes = 0;
    int error = 0;     // SQLite's code; -1: none of it
    int finished = 0;  // times
    bool operator==(const Outcome&) const = default;
  };
  WriteJob(Pool& pool, Request request, OperationPtr operation, Outcome& outcome, Latch& done)
      : Job(Access::kWrite, std::move(operation)),
        pool_(pool),
        request_(std::move(request)),
        outcome_(outcome),
        done_(done) {}

  After run(Slot& slot) override {
    run_shared(slot);
    return After::kRelease;
  }
  void run_shared(Slot& slot) override {
    outcome_.changes = 0;
    outcome_.changes = pool_.execute(slot, request_, operation(), 0, nullptr).changes;
  }
  [[nodiscard]] bool may_share_commit() const noexcept override { return pool_.shares_commits(); }
  void finish(std::exception_ptr failure) noexcept override {
    ++outcome_.finished;
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const Error& error) {
      outcome_ = {0, error.code() != 0 ? error.code() : -1, outcome_.finished};
    } catch (...) {
      outcome_ = {0, -1, outcome_.finished};
    }
    done_.count_down();
  }

 private:
  Pool& pool_;
  Request request_;
  Outcome& outcome_;
  Latch& done_;
};

class SharingTest : public PoolTest {
 protected:
  using Outcome = WriteJob::Outcome;

  PoolOptions durable(const std::string& file, const char* synchronous = "FULL") const {
    PoolOptions out = options(2);
    out.database.path = directory_.file(file);
    out.database.synchronous = synchronous;
    out.init = [](Connection& connection) { connection.run("PRAGMA foreign_keys=1"); };
    return out;
  }
  static void make_tables(Pool& pool) {
    run(pool, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
    run(pool, "CREATE TABLE p (id INTEGER PRIMARY KEY)");
    run(pool,
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p DEFERRABLE INITIALLY DEFERRED)");
  }
  // What became of `statements`, which all waited for the writer together.
  static std::deque<Outcome> run_waiting(Pool& pool, const std::vector<std::string>& statements,
                                         const std::vector<OperationPtr>& operations = {}) {
    const Operation unlimited;
    std::deque<Outcome> outcomes(statements.size());
    Latch done(static_cast<int>(statements.size()));
    Slot& writer = pool.take(Access::kWrite, unlimited);
    for (std::size_t i = 0; i < statements.size(); ++i) {
      pool.submit(std::make_unique<WriteJob>(pool, request(pool, statements[i]),
                                             operations.empty() ? operation() : operations[i],
                                             outcomes[i], done));
    }
    pool.give_back(writer);
    done.wait();
    return outcomes;
  }
  static std::string contents(Pool& pool) {
    std::string text;
    for (const char* cells : {"quote(id) || ',' || quote(v) FROM t", "id FROM p",
                              "quote(id) || ',' || quote(p) FROM c"}) {
      const std::string sql = "SELECT coalesce(group_concat(x, ';'), '') FROM (SELECT " +
                              std::string(cells).insert(std::string(cells).find(" FROM"), " AS x") +
                              " ORDER BY id)";
      text.append(run(pool, sql, Access::kRead).rows.bytes(0)).append("|");
    }
    return text;
  }
};

TEST_F(SharingTest, WritesThatWaitTogetherAreCommittedTogetherInTheirOrder) {
  Pool pool(durable("a.db"));
  make_tables(pool);
  std::vector<std::string> statements = {"INSERT INTO t VALUES (1, 0)"};
  for (int i = 0; i < 40; ++i) {
    statements.push_back("UPDATE t SET v = " + std::to_string(i) +
                         " WHERE v = " + std::to_string(i == 0 ? 0 : i - 1));
  }
  for (const Outcome& outcome : run_waiting(pool, statements)) {
    EXPECT_EQ(outcome, (Outcome{1, 0, 1}));
  }
  EXPECT_EQ(count(pool, "SELECT v FROM t"), 39);
  EXPECT_GE(pool.counts().shared_commits, 1U);
  EXPECT_EQ(pool.counts().writes, 3U + 41U);
  pool.terminate();
}

TEST_F(SharingTest, NothingIsSharedWhereACommitDoesNotWaitForTheDisk) {
  for (const char* level : {"OFF", "NORMAL"}) {
    Pool pool(durable(std::string(level) + ".db", level));
    make_tables(pool);
    run_waiting(pool, {"INSERT INTO p VALUES (1)", "INSERT INTO p VALUES (2)"});
    EXPECT_EQ(pool.counts().shared_commits, 0U);
    pool.terminate();
  }
}

TEST_F(SharingTest, ACancelledOrLateWriteDoesNothingAndTheOthersGoOn) {
  Pool pool(durable("a.db"));
  make_tables(pool);
  const std::vector<OperationPtr> operations = {operation(), operation(), operation()};
  operations[1]->cancel();
  const auto outcomes = run_waiting(
      pool, {"INSERT INTO p VALUES (1)", "INSERT INTO p VALUES (2)", "INSERT INTO p VALUES (3)"},
      operations);
  EXPECT_EQ(outcomes[0], (Outcome{1, 0, 1}));
  EXPECT_EQ(outcomes[1], (Outcome{0, -1, 1}));
  EXPECT_EQ(outcomes[2], (Outcome{1, 0, 1}));
  EXPECT_EQ(contents(pool), "|1;3||");
  pool.terminate();
}

// A statement that is stopped takes the whole transaction with it.
TEST_F(SharingTest, AWriteThatIsStoppedHalfWayLeavesTheOthersTheirs) {
  Pool pool(durable("a.db"));
  make_tables(pool);
  const std::string endless =
      "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n) "
      "SELECT i, 0 FROM n";
  const std::vector<OperationPtr> operations = {
      operation(), operation(now_precise() + 30 * kMillisecond), operation()};
  const auto outcomes = run_waiting(
      pool, {"INSERT INTO p VALUES (1)", endless, "INSERT INTO p VALUES (3)"}, operations);
  EXPECT_EQ(outcomes[0], (Outcome{1, 0, 1}));
  EXPECT_NE(outcomes[1].error, 0);
  EXPECT_EQ(outcomes[2], (Outcome{1, 0, 1}));
  EXPECT_EQ(contents(pool), "|1;3||");
  pool.terminate();
}

TEST_F(SharingTest, AForeignLockFailsWhoRunsOutOfTimeAndNobodyElse) {
  Pool pool(durable("a.db"));
  make_tables(pool);
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(directory_.file("a.db").c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const std::vector<OperationPtr> operations = {operation(now_precise() + 20 * kMillisecond),
                                                operation(), operation()};
  std::thread releases([&] {
    while (now_precise() < operations[0]->deadline() + 20 * kMillisecond) std::this_thread::yield();
    sqlite3_exec(other, "COMMIT", nullptr, nullptr, nullptr);
  });
  const auto outcomes = run_waiting(
      pool, {"INSERT INTO p VALUES (1)", "INSERT INTO p VALUES (2)", "INSERT INTO p VALUES (3)"},
      operations);
  releases.join();
  sqlite3_close(other);
  EXPECT_NE(outcomes[0].error, 0);
  EXPECT_EQ(outcomes[1], (Outcome{1, 0, 1}));
  EXPECT_EQ(outcomes[2], (Outcome{1, 0, 1}));
  EXPECT_EQ(contents(pool), "|2;3||");
  pool.terminate();
}

TEST_F(SharingTest, TerminatingInTheMiddleFinishesEveryJobOnce) {
  for (int round = 0; round < 20; ++round) {
    Pool pool(durable("a" + std::to_string(round) + ".db"));
    make_tables(pool);
    constexpr int kJobs = 50;
    std::deque<Outcome> outcomes(kJobs);
    Latch done(kJobs);
    for (int i = 0; i < kJobs; ++i) {
      pool.submit(std::make_unique<WriteJob>(
          pool, request(pool, "INSERT INTO p VALUES (" + std::to_string(i) + ")"), operation(),
          outcomes[static_cast<std::size_t>(i)], done));
    }
    pool.terminate();
    done.wait();
    for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.finished, 1);
    // Whoever was told of success is in the database.
    Pool again(durable("a" + std::to_string(round) + ".db"));
    for (int i = 0; i < kJobs; ++i) {
      if (outcomes[static_cast<std::size_t>(i)].error != 0) continue;
      EXPECT_EQ(count(again, "SELECT count(*) FROM p WHERE id = " + std::to_string(i)), 1) << i;
    }
    again.terminate();
  }
}

std::string random_statement(std::mt19937& random) {
  const auto one = [&random](int below) {
    return std::to_string(random() % static_cast<unsigned>(below));
  };
  const std::string k = one(6);
  switch (random() % 11) {
    case 0:
      return "INSERT INTO t VALUES (" + k + ", " + one(100) + ")";
    case 1:  // leaves what came before the conflict, in a transaction of others
      return "INSERT OR FAIL INTO t VALUES (" + one(30) + ", 1), (" + k + ", 2), (" + one(30) +
             ", 3)";
    case 2:  // ends the transaction, of whomever
      return "INSERT OR ROLLBACK INTO t VALUES (" + k + ", 4)";
    case 3:
      return "INSERT OR REPLACE INTO t VALUES (" + k + ", 5)";
    case 4:
      return "DELETE FROM t WHERE id > " + one(30);
    case 5:
      return "UPDATE t SET v = v + 1, id = id + " + one(3) + " WHERE id >= " + k;
    case 6:
      return "INSERT INTO c (p) VALUES (" + k + ")";  // fails at COMMIT without its parent
    case 7:
      return "INSERT OR IGNORE INTO p VALUES (" + k + ")";
    case 8:
      return "DELETE FROM p WHERE id = " + k;
    case 9:
      return "DELETE FROM c WHERE p = " + k;
    default:
      return "UPDATE no_such_table SET x = 1";
  }
}

TEST_F(SharingTest, NothingTellsItFromBeingAlone) {
  Pool shared(durable("shared.db"));
  Pool alone(durable("alone.db", "OFF"));
  make_tables(shared);
  make_tables(alone);
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> statements(1 + random() % 20);
    for (std::string& one : statements) one = random_statement(random);
    const auto got = run_waiting(shared, statements);
    const auto expected = run_waiting(alone, statements);
    for (std::size_t i = 0; i < statements.size(); ++i) {
      ASSERT_EQ(got[i].changes, expected[i].changes) << "round " << round << ": " << statements[i];
      ASSERT_EQ(got[i].error, expected[i].error) << "round " << round << ": " << statements[i];
      ASSERT_EQ(got[i].finished, 1);
    }
    ASSERT_EQ(contents(shared), contents(alone)) << "round " << round;
  }
  EXPECT_GT(shared.counts().shared_commits, 20U);
  EXPECT_EQ(shared.counts().writes, alone.counts().writes);
  shared.terminate();
  alone.terminate();
}

}  // namespace
}  // namespace mcp::sqlite
