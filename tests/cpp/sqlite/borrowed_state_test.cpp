// What a borrower leaves on a connection.
#include <sqlite3.h>

#include "sqlite/fixture.h"

namespace mcp::sqlite {
namespace {

class BorrowedStateTest : public PoolTest {
 protected:
  BorrowedStateTest() : pool_(with_init()) { run(pool_, "CREATE TABLE t (x)"); }

  PoolOptions with_init() {
    PoolOptions out = options(2);
    out.init = [this](Connection& connection) {
      ++opens_;
      connection.run("PRAGMA foreign_keys=1; CREATE TEMP TABLE mine (x)");
    };
    return out;
  }

  // Runs `sql` as this borrower, and gives the connection back.
  void borrow(const char* sql, Borrower borrower, Access access = Access::kWrite) {
    const Operation operation;
    Slot& slot = pool_.take(access, operation);
    try {
      pool_.connect(slot, operation);
      Pool::lend(slot, borrower);
      Request one = request(pool_, sql);
      static_cast<void>(pool_.execute(slot, one, operation, 0, nullptr));
    } catch (...) {
      pool_.give_back(slot);
      throw;
    }
    pool_.give_back(slot);
  }

  int opens_ = 0;
  Pool pool_;
};

TEST_F(BorrowedStateTest, AChangedConnectionIsOpenedAnew) {
  for (const char* sql :
       {"PRAGMA foreign_keys=0", "EXPLAIN PRAGMA foreign_keys=0", "INSERT INTO mine VALUES (1)",
        "CREATE TEMP VIEW v AS SELECT 1", "ATTACH ':memory:' AS side", "DROP TABLE mine"}) {
    const int opens = opens_;
    borrow(sql, Borrower::kLease);
    borrow("INSERT INTO t VALUES (1)", Borrower::kLease);
    EXPECT_EQ(opens_, opens + 1) << sql;
  }
  EXPECT_EQ(pool_.counts().replaced, 6u);
}

TEST_F(BorrowedStateTest, AStatementByItselfIsRefusedBeforeItHasAnEffect) {
  for (const char* sql : {"PRAGMA foreign_keys=0", "EXPLAIN PRAGMA foreign_keys=0",
                          "ATTACH ':memory:' AS side", "CREATE TEMP TABLE t (x)"}) {
    EXPECT_THROW(borrow(sql, Borrower::kNone), Error) << sql;
  }
  const Answer answer = run(pool_, "PRAGMA foreign_keys");
  EXPECT_EQ(answer.rows.integer(0), 1);
  EXPECT_EQ(pool_.counts().replaced, 0u);
}

TEST_F(BorrowedStateTest, ALeaseThatMayMoveDoesSoFirst) {
  EXPECT_THROW(borrow("PRAGMA foreign_keys=0", Borrower::kMovable, Access::kRead), NeedsWriter);
  EXPECT_EQ(request(pool_, "PRAGMA foreign_keys=0").profile->access(), Profile::Access::kWrite);
  EXPECT_EQ(pool_.counts().replaced, 0u);
}

TEST_F(BorrowedStateTest, EachHolderCountsItsOwnChanges) {
  run(pool_, "INSERT INTO t VALUES (1), (2)");
  for (const char* sql :
       {"SELECT changes()", "SELECT total_changes()", "SELECT last_insert_rowid()"}) {
    EXPECT_EQ(run(pool_, sql, Access::kWrite).rows.integer(0), 0) << sql;
  }
}

}  // namespace
}  // namespace mcp::sqlite
