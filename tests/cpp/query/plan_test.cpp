#include "query/plan.h"

#include <gtest/gtest.h>

namespace mcp::query {
namespace {

PlanStep parsed(const char* detail) {
  PlanStep step;
  step.detail = detail;
  parse_detail(step);
  return step;
}

TEST(Plan, ReadsScansAndSearches) {
  EXPECT_EQ(parsed("SCAN t").kind, StepKind::kScan);
  EXPECT_EQ(parsed("SCAN a b").source, "a b");
  EXPECT_EQ(parsed("SCAN TABLE t AS x").source, "x");
  EXPECT_EQ(parsed("SCAN CONSTANT ROW").kind, StepKind::kOther);
  const PlanStep covering = parsed("SCAN t USING COVERING INDEX i j");
  EXPECT_TRUE(covering.covering);
  EXPECT_EQ(covering.index, "i j");
  const PlanStep search = parsed("SEARCH t USING INDEX i (a=? AND b>?)");
  EXPECT_EQ(search.kind, StepKind::kSearch);
  EXPECT_EQ(search.source, "t");
  EXPECT_EQ(search.index, "i");
  EXPECT_EQ(parsed("SEARCH t USING INTEGER PRIMARY KEY (rowid=?)").index, "");
}

TEST(Plan, TellsAnIndexThatIsBuiltForOneRun) {
  const PlanStep step = parsed("SEARCH t USING AUTOMATIC PARTIAL COVERING INDEX (a=?)");
  EXPECT_TRUE(step.automatic);
  EXPECT_EQ(step.index, "");
}

TEST(Plan, ReadsWhatIsSorted) {
  const PlanStep step = parsed("USE TEMP B-TREE FOR RIGHT PART OF ORDER BY");
  EXPECT_EQ(step.kind, StepKind::kTempBTree);
  EXPECT_EQ(step.purpose, "RIGHT PART OF ORDER BY");
}

TEST(Plan, IsSqlitesOwn) {
  const Database db = open_memory();
  execute(db.get(), "CREATE TABLE t (a, b)");
  execute(db.get(), "CREATE INDEX i ON t(a)");
  const auto plan = explain(db.get(), "SELECT b FROM t WHERE a = 1 ORDER BY b");
  EXPECT_TRUE(uses_index(plan, "i"));
  EXPECT_FALSE(uses_index(plan, "j"));
  EXPECT_EQ(plan.back().kind, StepKind::kTempBTree);
}

}  // namespace
}  // namespace mcp::query
