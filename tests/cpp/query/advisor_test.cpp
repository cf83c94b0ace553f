#include "query/advisor.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "database.h"

namespace mcp::query {
namespace {

constexpr const char* kRows =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, c TEXT);"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
    " INSERT INTO t SELECT i, i % 500, i % 7, printf('%060d', i) FROM n;"
    "CREATE TABLE small (k TEXT, v TEXT);"
    "INSERT INTO small VALUES ('a', 'b'), ('c', 'd');";

TEST(Advisor, ProvesWhatItAdvises) {
  const TestDatabase file(kRows);
  const auto advice = advise(file.path(), {{"SELECT c FROM t WHERE a = ?", 1.0, {}}}, {}).indexes;
  ASSERT_EQ(advice.size(), 1U);
  EXPECT_EQ(advice[0].ddl, "CREATE INDEX idx_t_a ON t(a)");
  EXPECT_TRUE(advice[0].verified);
  EXPECT_EQ(advice[0].used_by, std::vector<std::string>{"SELECT c FROM t WHERE a = ?"});
  EXPECT_GT(*advice[0].cost_before, 20 * *advice[0].cost_after);
}

TEST(Advisor, LargeDatabasesAreSampled) {
  const TestDatabase file(kRows);
  AdviceOptions options;
  options.copy = {.copy_bytes = 1, .sample_rows = 5'000};
  const auto advice =
      advise(file.path(), {{"SELECT c FROM t WHERE a = ?", 1.0, {}}}, options).indexes;
  ASSERT_EQ(advice.size(), 1U);
  EXPECT_TRUE(advice[0].verified);
  const auto whole = advise(file.path(), {{"SELECT c FROM t WHERE a = ?", 1.0, {}}}, {}).indexes;
  EXPECT_LT(*advice[0].cost_before, *whole.at(0).cost_before);
}

TEST(Advisor, SaysWhenNothingWasMeasured) {
  const TestDatabase file(kRows);
  AdviceOptions options;
  options.measure = false;
  const auto advice =
      advise(file.path(), {{"SELECT c FROM t WHERE a = ?", 1.0, {}}}, options).indexes;
  ASSERT_EQ(advice.size(), 1U);
  EXPECT_FALSE(advice[0].verified);
  EXPECT_FALSE(advice[0].cost_before.has_value());
}

TEST(Advisor, ABudgetThatIsTooSmallLeavesThePlannersWord) {
  const TestDatabase file(kRows);
  AdviceOptions options;
  options.budget_ns = 1;
  const auto advice =
      advise(file.path(), {{"SELECT c FROM t WHERE a = ?", 1.0, {}}}, options).indexes;
  ASSERT_EQ(advice.size(), 1U);
  EXPECT_FALSE(advice[0].verified);
}

TEST(Advisor, SmallTablesNeedNoIndex) {
  const TestDatabase file(kRows);
  EXPECT_TRUE(
      advise(file.path(), {{"SELECT v FROM small WHERE k = 'a'", 1.0, {}}}, {}).indexes.empty());
}

TEST(Advisor, AnIndexThatTheTableBeginsWithIsNotAdvisedAgain) {
  const std::string script = std::string(kRows) + "CREATE INDEX own ON t(a, b);";
  const TestDatabase file(script.c_str());
  EXPECT_TRUE(advise(file.path(), {{"SELECT c FROM t WHERE a = ?", 1.0, {}}}, {}).indexes.empty());
}

TEST(Advisor, AWeightThatIsNoneIsRefusedByItsValue) {
  const TestDatabase file(kRows);
  EXPECT_THROW(static_cast<void>(advise(file.path(), {{"SELECT 1", -1.0, {}}}, {})), Error);
}

}  // namespace
}  // namespace mcp::query
