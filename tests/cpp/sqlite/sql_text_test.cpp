// What the text of a statement says, checked against what SQLite says of it.
#include "sqlite/sql_text.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <map>
#include <memory>
#include <string>

#include "base/error.h"

namespace mcp::sqlite {
namespace {

class SqlTextTest : public testing::Test {
 protected:
  SqlTextTest() {
    sqlite3_open(":memory:", &db_);
    sqlite3_exec(db_, "CREATE TABLE t (a, b)", nullptr, nullptr, nullptr);
  }
  ~SqlTextTest() override { sqlite3_close(db_); }

  // As SQLite numbers them; nothing when it refuses the statement.
  bool ask(const std::string& sql, int& count, std::map<int, std::string>& names) {
    sqlite3_stmt* handle = nullptr;
    const int code = sqlite3_prepare_v2(db_, sql.c_str(), -1, &handle, nullptr);
    const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> owner(handle, sqlite3_finalize);
    count = sqlite3_bind_parameter_count(handle);
    for (int i = 1; i <= count; ++i) {
      if (const char* name = sqlite3_bind_parameter_name(handle, i)) names[i] = name;
    }
    return code == SQLITE_OK;
  }

  sqlite3* db_ = nullptr;
};

TEST_F(SqlTextTest, ParametersAreNumberedAndNamedAsSQLiteDoes) {
  for (const std::string sql : {
           "SELECT 1",
           "SELECT ?, ?, ?",
           "SELECT ?3, ?, ?1, ?2",
           "SELECT :a, @a, $a, :a, ?, ?2",
           "SELECT ?, ?1, :x, ?3",
           "SELECT ?2, :b, ?2, ?1, ?7, ?",
           "SELECT $a::b(c), :a::b, @x(1)",
           "SELECT :a$b, :\xc3\xa9, :_1, :1",
           "SELECT ':no', 1 AS \":no\", 2 AS [:no], 3 AS `:no`, x'00' /* :no */ -- :no\n, :yes",
           "SELECT '?''?', ? -- ?",
           "INSERT INTO t VALUES (?, :b) ON CONFLICT DO UPDATE SET a = :c WHERE b = ?4",
           "WITH c(x) AS (SELECT :a) SELECT c.x FROM c, c AS d WHERE d.x = ? LIMIT ?, :a",
           "SELECT a FROM t WHERE a IN (?, ?, :k) AND b BETWEEN ?2 AND ? ORDER BY ?",
           "UPDATE t SET a = ?, b = (SELECT max(:m) FROM t) WHERE a = @m RETURNING ?",
           "SELECT sum(?) OVER (PARTITION BY :p ORDER BY ?)",
           "; ;\n SELECT ?; SELECT :other",
           "\xEF\xBB\xBFSELECT :a",
           "EXPLAIN SELECT ?",
           "SELECT a->? FROM t WHERE a ->> ?",
           "SELECT ?1000",
       }) {
    int count = 0;
    std::map<int, std::string> names;
    ASSERT_TRUE(ask(sql, count, names)) << sql << ": " << sqlite3_errmsg(db_);
    const Placeholders found = placeholders_of(sql);
    EXPECT_EQ(found.count, count) << sql;
    std::map<int, std::string> found_names;
    for (const auto& [number, text] : found.named) found_names[number] = text;
    EXPECT_EQ(found_names, names) << sql;
  }
}

TEST_F(SqlTextTest, WhatSQLiteRefusesAsksForNothingMore) {
  for (const std::string sql : {"SELECT ?0", "SELECT ?99999999999999", "SELECT #1", "SELECT :"}) {
    int count = 0;
    std::map<int, std::string> names;
    EXPECT_FALSE(ask(sql, count, names)) << sql;
    EXPECT_EQ(placeholders_of(sql).count, 0) << sql;
  }
}

TEST_F(SqlTextTest, ATextIsEmptyWhenSQLiteFindsNoStatement) {
  for (const std::string sql :
       {"", ";", " ;\n; ", "-- x", "/* x */", "/* x", "\xEF\xBB\xBF", "\f\r"}) {
    EXPECT_TRUE(placeholders_of(sql).empty) << sql;
    sqlite3_stmt* handle = nullptr;
    EXPECT_EQ(sqlite3_prepare_v2(db_, sql.c_str(), -1, &handle, nullptr), SQLITE_OK) << sql;
    EXPECT_EQ(handle, nullptr) << sql;
  }
  EXPECT_FALSE(placeholders_of("; SELECT 1").empty);
}

TEST_F(SqlTextTest, StatementsThatTakeAFilesNameAreKnown) {
  EXPECT_TRUE(placeholders_of("/* x */ attach ? AS other").names_file);
  EXPECT_TRUE(placeholders_of("VACUUM INTO ?").names_file);
  EXPECT_FALSE(placeholders_of("SELECT ? AS attach").names_file);
}

TEST_F(SqlTextTest, ANulIsRefusedWithItsPlaceInCharacters) {
  using std::string_literals::operator""s;
  EXPECT_NO_THROW(check_sql("SELECT 'a'"));
  try {
    check_sql("SELECT '\xc3\xa9'\0 WHERE 0"s);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "sql: a NUL at position 10, where the text would be cut");
    EXPECT_EQ(error.kind(), ErrorKind::kQuery);
  }
}

TEST_F(SqlTextTest, OnlyOneStatementIsTaken) {
  const auto check = [](const std::string& sql) { check_single(sql, sql.data() + 8); };
  for (const char* sql : {"SELECT 1", "SELECT 1;", "SELECT 1 ; ;", "SELECT 1; -- x\n /* y */;"}) {
    EXPECT_NO_THROW(check(sql)) << sql;
  }
  for (const char* sql : {"SELECT 1;SELECT 2", "SELECT 1; x", "SELECT 1; /* */ 'x'"}) {
    EXPECT_THROW(check(sql), Error) << sql;
  }
}

}  // namespace
}  // namespace mcp::sqlite
