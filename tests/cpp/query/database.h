// database.h: a SQLite file for one test, removed with it.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "query/handle.h"

namespace mcp::query {

class TestDatabase {
 public:
  explicit TestDatabase(const char* script) {
    std::string name = (std::filesystem::temp_directory_path() / "mcp_query_XXXXXX").string();
    const int descriptor = mkstemp(name.data());
    close(descriptor);
    path_ = name;
    sqlite3* raw = nullptr;
    EXPECT_EQ(sqlite3_open(path_.c_str(), &raw), SQLITE_OK);
    const Database db(raw);
    EXPECT_EQ(sqlite3_exec(raw, script, nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(raw);
  }
  ~TestDatabase() { std::filesystem::remove(path_); }
  TestDatabase(const TestDatabase&) = delete;
  TestDatabase& operator=(const TestDatabase&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace mcp::query
