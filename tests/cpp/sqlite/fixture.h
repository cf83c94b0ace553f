// fixture.h: a database file of its own for each test, and jobs that a test can wait for.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "sqlite/pool.h"

namespace mcp::sqlite {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "mcp_sqlite_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// A connection that the pool knows nothing about: what another process would be.
class Foreign {
 public:
  explicit Foreign(const std::string& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK);
    sqlite3_busy_timeout(db_, 10'000);
  }
  ~Foreign() { sqlite3_close(db_); }
  Foreign(const Foreign&) = delete;
  Foreign& operator=(const Foreign&) = delete;
  void run(const char* sql) {
    ASSERT_EQ(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db_);
  }
  // False when a reader is in the way.
  bool truncate_log() {
    sqlite3_busy_timeout(db_, 0);
    const int code =
        sqlite3_wal_checkpoint_v2(db_, "main", SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
    return code == SQLITE_OK;
  }

 private:
  sqlite3* db_ = nullptr;
};

// Counts down to zero.
class Latch {
 public:
  explicit Latch(int count) : left_(count) {}
  void count_down() {
    const MutexLock lock(mutex_);
    if (--left_ <= 0) changed_.notify_all();
  }
  void wait() {
    const MutexLock lock(mutex_);
    while (left_ > 0) changed_.wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int left_ GUARDED_BY(mutex_);
};

class TestJob final : public Job {
 public:
  using Body = std::function<After(Slot&)>;
  using Done = std::function<void(std::exception_ptr)>;
  TestJob(Access access, OperationPtr operation, Body body, Done done)
      : Job(access, std::move(operation)), body_(std::move(body)), done_(std::move(done)) {}
  After run(Slot& slot) override { return body_(slot); }
  void finish(std::exception_ptr failure) noexcept override { done_(std::move(failure)); }

 private:
  const Body body_;
  const Done done_;
};

class PoolTest : public testing::Test {
 protected:
  PoolOptions options(int size) const {
    PoolOptions out;
    out.database.path = directory_.file("test.db");
    out.database.synchronous = "OFF";
    out.size = size;
    return out;
  }
  static Request request(Pool& pool, const std::string& sql) {
    Request out;
    out.profile = pool.profiles().find(sql);
    return out;
  }
  // Runs one statement on this thread.
  static Answer run(Pool& pool, const std::string& sql, Access access = Access::kWrite) {
    const Operation operation;
    Slot& slot = pool.take(access, operation);
    try {
      pool.connect(slot, operation);
      Request one = request(pool, sql);
      Answer answer = pool.execute(slot, one, operation, 0, nullptr);
      pool.give_back(slot);
      return answer;
    } catch (...) {
      pool.give_back(slot);
      throw;
    }
  }
  static std::int64_t count(Pool& pool, const std::string& sql) {
    return run(pool, sql, Access::kRead).rows.integer(0);
  }

  TempDir directory_;
};

inline OperationPtr operation(Instant deadline = kNever) {
  return std::make_shared<Operation>(deadline);
}

}  // namespace mcp::sqlite
