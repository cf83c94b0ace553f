// A database file that is replaced under a pool whose connections are in use.
#include <sqlite3.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "sqlite/file_watch.h"
#include "sqlite/fixture.h"
#include "sqlite/pool_errors.h"

namespace mcp::sqlite {
namespace {

TEST(FileOfTest, ReadsNamesAsSqliteDoes) {
  const std::pair<const char*, const char*> cases[] = {
      {"a.db", "a.db"},
      {"/tmp/a b.db", "/tmp/a b.db"},
      {":memory:", ""},
      {"file:a.db", "a.db"},
      {"file:/tmp/a.db?mode=rw", "/tmp/a.db"},
      {"file:///tmp/a.db", "/tmp/a.db"},
      {"file://localhost/tmp/a.db#x", "/tmp/a.db"},
      {"file:/tmp/a%20b%2edb?cache=private", "/tmp/a b.db"},
      {"file:/tmp/100%", "/tmp/100%"},
      {"file::memory:", ""},
      {"file:x?mode=memory&cache=shared", ""},
      {"file:/x?vfs=memdb", ""},
  };
  for (const auto& [path, file] : cases) EXPECT_EQ(file_of(path), file) << path;
}

class ReplacedFileTest : public PoolTest {
 protected:
  ReplacedFileTest() { replace(0); }

  void replace(int value) const {
    const std::string fresh = directory_.file("fresh.db");
    std::filesystem::remove(fresh);
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(fresh.c_str(), &db), SQLITE_OK);
    const std::string sql =
        "CREATE TABLE t (x); INSERT INTO t VALUES (" + std::to_string(value) + ")";
    ASSERT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(db);
    std::filesystem::rename(fresh, options(1).database.path);
  }

  static std::int64_t read(Pool& pool) { return count(pool, "SELECT max(x) FROM t"); }
};

TEST_F(ReplacedFileTest, TheNextHolderHasTheNewFile) {
  Pool pool(options(3));
  EXPECT_EQ(read(pool), 0);
  run(pool, "INSERT INTO t VALUES (-5)");
  replace(1);
  EXPECT_TRUE(pool.file_moved_now());
  EXPECT_EQ(read(pool), 1);
  EXPECT_FALSE(pool.file_moved_now());
  EXPECT_EQ(count(pool, "SELECT count(*) FROM t"), 1);
}

TEST_F(ReplacedFileTest, ALeaseFailsAndIsInNobodysWay) {
  Pool pool(options(2));
  const Operation operation;
  Slot& slot = pool.take(Access::kWrite, operation);
  pool.connect(slot, operation);
  Pool::lend(slot, Borrower::kLease);
  pool.lease(slot);
  replace(1);
  EXPECT_EQ(read(pool), 1);
  EXPECT_FALSE(pool.in_transaction(slot));
  ASSERT_EQ(pool.try_take_leased(slot, nullptr), Pool::Turn::kTaken);
  Request one = request(pool, "SELECT 1");
  EXPECT_THROW(static_cast<void>(pool.execute(slot, one, operation, 0, nullptr)), Error);
  pool.give_back_leased(slot);
  pool.end_lease(slot);
  run(pool, "INSERT INTO t VALUES (2)");
  EXPECT_EQ(read(pool), 2);
}

TEST_F(ReplacedFileTest, AnyNumberOfThreadsNeverReadAnOlderFile) {
  Pool pool(options(3));
  constexpr int kFiles = 40;
  std::atomic<int> newest{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (newest.load() < kFiles) {
        const int floor = newest.load();
        EXPECT_GE(read(pool), floor);
      }
    });
  }
  for (int value = 1; value <= kFiles; ++value) {
    replace(value);
    newest.store(value);
    EXPECT_EQ(read(pool), value);
  }
  for (std::thread& reader : readers) reader.join();
}

class GuardedFileTest : public ReplacedFileTest {
 protected:
  [[nodiscard]] PoolOptions guarded(int size) const {
    PoolOptions out = options(size);
    out.database.guarded = true;
    return out;
  }
  [[nodiscard]] FileId file() const {
    FileId id;
    EXPECT_TRUE(identify(options(1).database.path, id));
    return id;
  }
  [[nodiscard]] std::string log() const { return options(1).database.path + "-wal"; }
};

TEST_F(GuardedFileTest, OnlyWhatIsExpectedIsOpened) {
  Pool pool(guarded(3));
  EXPECT_THROW(static_cast<void>(read(pool)), Error);
  pool.expect(file());
  EXPECT_EQ(read(pool), 0);
  replace(1);
  EXPECT_THROW(static_cast<void>(read(pool)), Error);
  pool.expect(file());
  EXPECT_EQ(read(pool), 1);
}

TEST_F(GuardedFileTest, WhatWasNotExpectedIsLeftAsItLies) {
  {
    std::FILE* file = std::fopen(log().c_str(), "w");
    ASSERT_NE(file, nullptr);
    std::fputs("of another database", file);
    std::fclose(file);
    Pool pool(guarded(1));
    EXPECT_THROW(static_cast<void>(read(pool)), Error);
  }
  EXPECT_EQ(std::filesystem::file_size(log()), 19U);
}

TEST_F(GuardedFileTest, AConnectionThatFindsAnotherLogIsNotUsed) {
  Pool pool(guarded(2));
  pool.expect(file());
  run(pool, "INSERT INTO t VALUES (1)");
  std::filesystem::remove(log());
  EXPECT_THROW(static_cast<void>(read(pool)), Error);  // by the first reader
  replace(2);
  pool.expect(file());
  EXPECT_EQ(read(pool), 2);
}

}  // namespace
}  // namespace mcp::sqlite
