#include "query/requests.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "database.h"
#include "query/candidates.h"

namespace mcp::query {
namespace {

constexpr const char* kTables =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c INTEGER, d TEXT COLLATE NOCASE);"
    "CREATE TABLE u (x INTEGER, y TEXT); CREATE VIEW v AS SELECT a, b FROM t WHERE c = 1;";

class Requests : public testing::Test {
 protected:
  // The columns of each candidate, as "table(a, b)".
  std::vector<std::string> candidates(const char* sql) {
    std::vector<std::string> found;
    const auto requests = lookup_requests(db_.get(), schema_, sql);
    for (const CandidateIndex& index : candidates_for(schema_, requests, {})) {
      const std::string ddl = index.ddl();
      if (!index.covering) found.push_back(ddl.substr(ddl.find(" ON ") + 4));
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  TestDatabase file_{kTables};
  Database db_ = open_read_only(file_.path());
  Schema schema_{db_.get(), {"t", "u", "v"}};
};

using Strings = std::vector<std::string>;

TEST_F(Requests, EqualityComesBeforeRangeAndOrder) {
  EXPECT_EQ(candidates("SELECT a FROM t WHERE b > 1 AND c = 2"), (Strings{"t(c)", "t(c, b)"}));
  EXPECT_EQ(candidates("SELECT a FROM t WHERE c = 2 ORDER BY b DESC"),
            (Strings{"t(c)", "t(c, b)"}));
  EXPECT_EQ(candidates("SELECT a FROM t WHERE c IN (1, 2) AND b IS NULL"),
            (Strings{"t(b)", "t(b, c)"}));
}

TEST_F(Requests, AMixedOrderKeepsItsDirections) {
  EXPECT_EQ(candidates("SELECT id FROM t ORDER BY b, c DESC"), (Strings{"t(b, c DESC)"}));
  EXPECT_EQ(candidates("SELECT id FROM t ORDER BY b DESC, c DESC"), (Strings{"t(b, c)"}));
}

TEST_F(Requests, SeesThroughViewsSubqueriesAndJoins) {
  EXPECT_EQ(candidates("SELECT a FROM v WHERE b = 5"), (Strings{"t(b, c)"}));
  const Strings join = candidates("SELECT 1 FROM u JOIN t ON t.b = u.x WHERE u.y = 'a'");
  EXPECT_TRUE(std::count(join.begin(), join.end(), "t(b)") == 1);
  EXPECT_TRUE(std::count(join.begin(), join.end(), "u(y)") == 1);
  EXPECT_EQ(
      candidates("SELECT 1 FROM u WHERE EXISTS (SELECT 1 FROM t WHERE t.c = u.x AND t.b = 3)"),
      (Strings{"t(b, c)"}));
}

TEST_F(Requests, KeysThatExistLeaveNothingToAskFor) {
  EXPECT_EQ(candidates("SELECT a FROM t WHERE id = 1"), Strings{});
  EXPECT_EQ(candidates("SELECT a FROM t"), Strings{});
}

TEST_F(Requests, LikeWantsAnIndexWithoutCase) {
  EXPECT_EQ(candidates("SELECT id FROM t WHERE a LIKE 'x%'"), (Strings{"t(a COLLATE NOCASE)"}));
  EXPECT_EQ(candidates("SELECT id FROM t WHERE d LIKE 'x%'"), (Strings{"t(d)"}));
}

TEST_F(Requests, ChangesAskToo) {
  EXPECT_EQ(candidates("UPDATE t SET a = 1 WHERE b = 2"), (Strings{"t(b)"}));
  EXPECT_EQ(candidates("DELETE FROM t WHERE b = 2"), (Strings{"t(b)"}));
  EXPECT_EQ(candidates("INSERT INTO t (a) VALUES (1)"), Strings{});
}

TEST_F(Requests, WhatSqliteRefusesAsksForNothing) {
  EXPECT_EQ(candidates("SELECT nowhere FROM t"), Strings{});
  EXPECT_EQ(candidates("SELECT a FROM t INDEXED BY i WHERE a = 1"), Strings{});
}

}  // namespace
}  // namespace mcp::query
