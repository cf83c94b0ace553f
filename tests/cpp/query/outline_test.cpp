#include "query/outline.h"

#include <gtest/gtest.h>

#include <string>

#include "test_rounds.h"

namespace mcp::query {
namespace {

const Comparison& only_comparison(const Outline& outline) {
  EXPECT_EQ(outline.scopes.at(0).comparisons.size(), 1U);
  return outline.scopes[0].comparisons.at(0);
}

TEST(Outline, KnowsTheVerbOfTheOuterStatement) {
  EXPECT_EQ(outline_of("SELECT 1").verb, Verb::kSelect);
  EXPECT_EQ(outline_of("WITH a AS (SELECT 1) DELETE FROM t").verb, Verb::kDelete);
  EXPECT_EQ(outline_of("INSERT INTO t SELECT * FROM u").verb, Verb::kInsert);
  EXPECT_EQ(outline_of("REPLACE INTO t VALUES (1)").verb, Verb::kInsert);
  EXPECT_EQ(outline_of("UPDATE OR IGNORE t SET a = 1").verb, Verb::kUpdate);
  EXPECT_EQ(outline_of("CREATE TABLE t AS SELECT 1").verb, Verb::kOther);
  EXPECT_EQ(outline_of("EXPLAIN SELECT 1").verb, Verb::kOther);
  EXPECT_EQ(outline_of("").verb, Verb::kOther);
}

TEST(Outline, FindsSourcesAndTheirAliases) {
  const Outline outline = outline_of(
      "SELECT 1 FROM main.a x, \"b b\" AS y LEFT JOIN c ON c.i = y.i JOIN (SELECT 2 FROM d) z");
  const auto& sources = outline.scopes.at(0).sources;
  ASSERT_EQ(sources.size(), 3U);
  EXPECT_EQ(sources[0].table, "a");
  EXPECT_EQ(sources[0].alias, "x");
  EXPECT_EQ(sources[1].table, "b b");
  EXPECT_EQ(sources[1].alias, "y");
  EXPECT_EQ(sources[2].alias, "c");
  EXPECT_TRUE(outline.scopes[0].derived);
  ASSERT_EQ(outline.scopes.size(), 2U);
  EXPECT_EQ(outline.scopes[1].sources.at(0).table, "d");
  EXPECT_EQ(outline.scopes[1].parent, 0);
}

TEST(Outline, TellsAStarFromACount) {
  EXPECT_TRUE(outline_of("SELECT * FROM t").scopes[0].star);
  EXPECT_TRUE(outline_of("SELECT a, t.* FROM t").scopes[0].star);
  EXPECT_FALSE(outline_of("SELECT count(*) FROM t").scopes[0].star);
  EXPECT_FALSE(outline_of("SELECT a * b FROM t").scopes[0].star);
  EXPECT_TRUE(outline_of("SELECT count(*) FROM t").scopes[0].aggregate);
}

TEST(Outline, TellsWhatIsCompared) {
  const Outline outline = outline_of("SELECT 1 FROM t WHERE t.a >= ?3");
  const Comparison& comparison = only_comparison(outline);
  EXPECT_EQ(comparison.op, ">=");
  EXPECT_EQ(comparison.left.kind, OperandKind::kColumn);
  EXPECT_EQ(comparison.left.column.qualifier, "t");
  EXPECT_EQ(comparison.left.column.name, "a");
  EXPECT_EQ(comparison.right.kind, OperandKind::kParameter);
  EXPECT_EQ(comparison.right.parameters, std::vector<int>{3});
}

TEST(Outline, FindsTheColumnInsideAFunctionOrACalculation) {
  for (const char* sql :
       {"SELECT 1 FROM t WHERE lower(trim(a)) = 'x'", "SELECT 1 FROM t WHERE a + 1 = 5",
        "SELECT 1 FROM t WHERE 2 * (1 + a) < 5", "SELECT 1 FROM t WHERE CAST(a AS TEXT) = 'x'",
        "SELECT 1 FROM t WHERE 5 = abs(a) AND 1"}) {
    const Outline outline = outline_of(sql);
    const Comparison& comparison = only_comparison(outline);
    const Operand& operand =
        comparison.left.kind == OperandKind::kExpression ? comparison.left : comparison.right;
    EXPECT_EQ(operand.kind, OperandKind::kExpression) << sql;
    EXPECT_EQ(operand.column.name, "a") << sql;
  }
}

TEST(Outline, DrawsNoConclusionFromWhatItCannotMakeOut) {
  for (const char* sql :
       {"SELECT 1 FROM t WHERE coalesce(a, b) = 1", "SELECT 1 FROM t WHERE a + b = 1",
        "SELECT 1 FROM t WHERE (SELECT a FROM u) = 1",
        "SELECT 1 FROM t WHERE CASE WHEN a THEN 1 END = 1"}) {
    EXPECT_EQ(outline_of(sql).scopes[0].comparisons.at(0).left.kind, OperandKind::kOther) << sql;
  }
}

TEST(Outline, NumbersParametersAsSqliteDoes) {
  const Outline outline =
      outline_of("SELECT 1 FROM t WHERE a = ?5 AND b = ? AND c = :x AND d = :x LIMIT ?2, ?");
  const auto& comparisons = outline.scopes[0].comparisons;
  EXPECT_EQ(comparisons[0].right.parameters, std::vector<int>{5});
  EXPECT_EQ(comparisons[1].right.parameters, std::vector<int>{6});
  EXPECT_EQ(comparisons[2].right.parameters, std::vector<int>{7});
  EXPECT_EQ(comparisons[3].right.parameters, std::vector<int>{7});
  EXPECT_EQ(outline.offset_parameters, std::vector<int>{2});
  EXPECT_EQ(outline.limit_parameters, std::vector<int>{8});
}

TEST(Outline, TakesListsAndBoundsOfValues) {
  const Outline outline = outline_of(
      "SELECT 1 FROM t WHERE a IN (?, 2, ?) AND b NOT BETWEEN ? AND ? AND c IN (SELECT 1)");
  const auto& comparisons = outline.scopes[0].comparisons;
  EXPECT_EQ(comparisons.at(0).right.parameters, (std::vector<int>{1, 2}));
  EXPECT_EQ(comparisons.at(1).right.parameters, (std::vector<int>{3, 4}));
  EXPECT_TRUE(comparisons.at(1).negated);
  EXPECT_EQ(comparisons.at(2).right.kind, OperandKind::kOther);
}

TEST(Outline, TakesTextBuiltToBeSlow) {
  const auto many = static_cast<std::size_t>(test_rounds(100'000));
  const std::string parentheses = "SELECT " + std::string(many, '(') + std::string(many, ')');
  EXPECT_EQ(outline_of(parentheses).scopes.size(), 1U);
  std::string chain = "SELECT 1 FROM t WHERE a";
  for (std::size_t i = 0; i < many; ++i) chain += " + f(a) = a";
  EXPECT_EQ(outline_of(chain).scopes.at(0).comparisons.size(), many);
  std::string nested;
  for (std::size_t i = 0; i < many; ++i) nested += "SELECT a FROM (";
  EXPECT_EQ(outline_of(nested).scopes.size(), many);
  EXPECT_EQ(outline_of(")))) WHERE = = NOT IN (").scopes.size(), 0U);
}

}  // namespace
}  // namespace mcp::query
