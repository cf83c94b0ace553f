// Statements follow their routes in the same way on workers and on their callers' threads.
#include "sqlite/statement_job.h"

#include <thread>

#include "ways.h"

namespace mcp::sqlite {
namespace {

class StatementTest : public EitherWayTest {};
INSTANTIATE_TEST_SUITE_P(Ways, StatementTest, testing::Values(Way::kHere, Way::kOnWorker), name_of);

const char* const kReturning = "INSERT INTO t VALUES ((SELECT count(*) FROM t)) RETURNING x";
const char* const kCount = "SELECT count(*) FROM t";

TEST_P(StatementTest, AStatementThatTurnsOutToWriteRunsOnceOnTheWriter) {
  for (const int size : {1, 3}) {
    const auto pool = make_pool(options(size));
    const std::int64_t before = count(*pool, kCount);
    const Outcome first = statement(pool, kReturning);  // nobody knows yet that it writes
    const Outcome second = statement(pool, kReturning);
    EXPECT_EQ(first.told, "ok");
    EXPECT_EQ(first.column, std::vector<std::int64_t>{before});
    EXPECT_EQ(second.column, std::vector<std::int64_t>{before + 1});
    EXPECT_EQ(count(*pool, kCount), before + 2);
    expect_idle(*pool);
    pool->terminate();
  }
}

TEST_P(StatementTest, WhoHasTheWriterIsToldInsteadOfWaiting) {
  const auto pool = make_pool(options(3));
  const auto writer = begin(pool, Block::kWriteTransaction);
  const auto outside = [&](const char* sql, bool want_rows) {
    return statement(pool, sql, nullptr, want_rows, true).told;
  };
  EXPECT_EQ(outside("INSERT INTO t VALUES (1)", false), "waits for self");
  EXPECT_EQ(outside(kReturning, true), "waits for self");  // found out on a reader
  EXPECT_EQ(outside(kReturning, true), "waits for self");  // known
  EXPECT_EQ(outside(kCount, true), "ok");
  const auto other = begin(pool, Block::kConnection);
  EXPECT_EQ(statement(pool, kReturning, other, true, true).told, "waits for self");
  EXPECT_EQ(statement(pool, kCount, other, true, true).told, "ok");
  other->end();
  EXPECT_EQ(end(writer, false), "ok");
  expect_idle(*pool);
  pool->terminate();
}

TEST_P(StatementTest, ALeaseMovesToTheWriterForItsFirstWriteAndStaysThere) {
  for (const bool known : {false, true}) {
    const auto pool = make_pool(options(3));
    if (known) run(*pool, kReturning);
    const std::int64_t before = count(*pool, kCount);
    const auto lease = begin(pool, Block::kConnection);
    EXPECT_EQ(lease->standing().role, Role::kReader);
    EXPECT_EQ(statement(pool, kCount, lease).told, "ok");
    EXPECT_EQ(lease->standing().role, Role::kReader);
    EXPECT_EQ(statement(pool, kReturning, lease).told, "ok");
    EXPECT_EQ(lease->standing().role, Role::kWriter);
    EXPECT_EQ(statement(pool, kCount, lease).column, std::vector<std::int64_t>{before + 1});
    EXPECT_EQ(pool->counts().in_use, 1);  // the reader went back
    lease->end();
    expect_idle(*pool);
    pool->terminate();
  }
}

TEST_P(StatementTest, InATransactionThatReadsAWriteIsRefusedWhoeverHasTheWriter) {
  const auto pool = make_pool(options(3));
  const auto lease = begin(pool, Block::kReadTransaction);
  for (const bool has_writer : {false, true}) {
    for (const char* sql : {kReturning, "INSERT INTO t VALUES (1)"}) {
      EXPECT_EQ(statement(pool, sql, lease, true, has_writer).told, "reads only");
    }
  }
  EXPECT_EQ(statement(pool, kCount, lease).told, "ok");
  EXPECT_EQ(end(lease, true), "ok");
  EXPECT_EQ(count(*pool, kCount), 0);
  pool->terminate();
}

TEST_P(StatementTest, AFailureLeavesTheConnectionAsItWas) {
  const auto pool = make_pool(options(2));
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(statement(pool, "INSERT INTO t VALUES (1), (1)", nullptr, false).told, "ok");
    EXPECT_NE(statement(pool, "SELECT no_such_column FROM t").told, "ok");
  }
  const auto lease = begin(pool, Block::kConnection);
  EXPECT_NE(statement(pool, "SELECT no_such_column FROM t", lease).told, "ok");
  EXPECT_EQ(statement(pool, kCount, lease).column, std::vector<std::int64_t>{0});
  lease->end();
  expect_idle(*pool);
  EXPECT_EQ(pool->counts().reconnects, 0u);
  pool->terminate();
}

TEST_P(StatementTest, AnEndedLeaseSaysSo) {
  const auto pool = make_pool(options(2));
  for (const Block block :
       {Block::kConnection, Block::kReadTransaction, Block::kWriteTransaction}) {
    const auto lease = begin(pool, block);
    lease->end();
    EXPECT_FALSE(lease->open());
    EXPECT_EQ(statement(pool, kCount, lease).told, "given back");
    EXPECT_EQ(end(lease, true), "given back");
    lease->end();  // for the second time
    expect_idle(*pool);
  }
  pool->terminate();
}

TEST_F(WaysTest, InlineRunsWhatIsShortAndLeavesTheRest) {
  for (const bool leased : {false, true}) {
    const auto pool = make_pool(options(2));
    static_cast<void>(count(*pool, kCount));  // opens the reader
    const auto lease = leased ? begin(Way::kHere, pool, Block::kReadTransaction) : nullptr;
    const auto run_inline = [&](const char* sql, Duration budget) {
      Request one = request(*pool, sql);
      return try_statement_here(*pool, lease.get(), one, budget);
    };
    const auto answer = run_inline(kCount, kSecond);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->rows.integer(0), 0);
    EXPECT_FALSE(run_inline(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        kMillisecond));
    EXPECT_FALSE(run_inline(kReturning, kSecond));
    EXPECT_THROW(run_inline("SELECT no_such_column FROM t", kSecond), Error);
    const Operation unlimited;
    Slot& slot = leased ? lease->take(unlimited) : pool->take(Access::kRead, unlimited);
    EXPECT_FALSE(run_inline(kCount, kSecond));  // somebody has the connection
    if (leased)
      lease->put_back(slot);
    else
      pool->give_back(slot);
    EXPECT_TRUE(run_inline(kCount, kSecond));
    if (leased) lease->end();
    expect_idle(*pool);
    pool->terminate();
  }
}

TEST_F(WaysTest, RowsLeaveAWorkerInPartsAndInOrder) {
  const auto pool = std::make_shared<Pool>(options(2));
  run(*pool, "SELECT 1");
  Loop loop;
  Request rows = request(*pool,
                         "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT "
                         "200000) SELECT i FROM n");
  const Route route = route_of(rows, std::nullopt, 2, false);
  submit_statement(*pool, nullptr, route, operation(), std::move(rows), loop.reply_to());
  std::vector<std::unique_ptr<Reply>> parts;
  parts.push_back(loop.wait(&parts));
  EXPECT_GT(parts.size(), 1u);
  std::int64_t next = 1;
  for (const auto& part : parts) {
    EXPECT_EQ(part->failure, nullptr);
    for (std::size_t row = 0; row < part->answer.rows.rows(); ++row) {
      ASSERT_EQ(part->answer.rows.integer(row), next++);
    }
  }
  EXPECT_EQ(next, 200'001);
  pool->terminate();
}

TEST_F(WaysTest, AConnectionThatItsCallerNeverGotGoesBack) {
  const auto pool = make_pool(options(3));
  const auto lease = std::make_shared<Lease>(pool, false);
  {
    Loop loop;  // whose loop ends before the reply is looked at
    PoolTask::begin(lease, Block::kConnection).submit(pool, operation(), loop.reply_to());
    const auto reply = loop.wait();
    EXPECT_TRUE(reply->leased);
    EXPECT_EQ(pool->counts().in_use, 1);
  }
  EXPECT_EQ(pool->counts().in_use, 0);
  {
    Loop loop;  // closed before the reply comes
    loop.close();
    PoolTask::begin(lease, Block::kWriteTransaction).submit(pool, operation(), loop.reply_to());
  }
  run(*pool, "INSERT INTO t VALUES (1)");  // after it
  while (pool->counts().in_use > 0) std::this_thread::yield();
  lease->end();
  {
    Loop loop;  // in time, but the lease has ended
    PoolTask::begin(lease, Block::kConnection).submit(pool, operation(), loop.reply_to());
    auto reply = loop.wait();
    EXPECT_FALSE(lease->begin(std::move(reply->leased)));
  }
  EXPECT_EQ(pool->counts().in_use, 0);
  pool->terminate();
}

}  // namespace
}  // namespace mcp::sqlite
