#include "sqlite/fingerprint.h"

#include <gtest/gtest.h>

#include <string>

#include "test_rounds.h"

namespace mcp::sqlite {
namespace {

TEST(Fingerprint, DropsValuesSpaceCommentsAndCase) {
  const std::string expected = "SELECT * FROM t WHERE a = ? AND b IN (?)";
  EXPECT_EQ(fingerprint("select *\n from t where a='x' and b in (1,2,3);"), expected);
  EXPECT_EQ(fingerprint("SELECT/* all */* FROM t -- why\nWHERE a = :a AND b IN(?2)"), expected);
  EXPECT_EQ(fingerprint("Select * From t Where a = -1.5e-3 And b In (x'00', NULL, @b)"), expected);
}

TEST(Fingerprint, KeepsIdentifiers) {
  EXPECT_EQ(fingerprint("select \"A b\", [c d], `e`, t.key from main.\"T\" as t"),
            "SELECT \"A b\", [c d], `e`, t.key FROM main.\"T\" AS t");
  EXPECT_NE(fingerprint("select a from t"), fingerprint("select b from t"));
}

TEST(Fingerprint, FoldsEveryRowOfValues) {
  const std::string expected = "INSERT INTO t(a, b) VALUES (?, ?)";
  EXPECT_EQ(fingerprint("insert into t (a, b) values (1, 'x')"), expected);
  EXPECT_EQ(fingerprint("insert into t(a,b) values (1,'x'), (2,NULL), (:a,:b)"), expected);
  EXPECT_EQ(
      fingerprint("insert into t values (1, date('now')), (2, date('now')) on conflict do nothing"),
      "INSERT INTO t VALUES (?, date(?)) ON CONFLICT DO NOTHING");
}

TEST(Fingerprint, FoldsRowsAndExpressionsOfInLists) {
  EXPECT_EQ(fingerprint("a in ((1, 2), (3, 4))"), "a IN ((?, ?))");
  EXPECT_EQ(fingerprint("a in (1, 2, b, 3)"), "a IN (?, b, ?)");
  EXPECT_EQ(fingerprint("a in (select b from t where c in (1, 2) and d = 3)"),
            "a IN (SELECT b FROM t WHERE c IN (?) AND d = ?)");
  EXPECT_EQ(fingerprint("a in ()"), "a IN ()");
}

TEST(Fingerprint, ASignBelongsToItsNumberOnlyWhereAValueIsDue) {
  EXPECT_EQ(fingerprint("a = -5"), fingerprint("a = 5"));
  EXPECT_EQ(fingerprint("a -5"), "a - ?");
  EXPECT_EQ(fingerprint("(a) -5"), "(a) - ?");
}

TEST(Fingerprint, KeepsColumnNumbersOfOrderByAndGroupBy) {
  EXPECT_EQ(fingerprint("select a, b from t group by 1, 2 order by 2 desc, 1 limit 10"),
            "SELECT a, b FROM t GROUP BY 1, 2 ORDER BY 2 DESC, 1 LIMIT ?");
}

TEST(Fingerprint, ADoubleQuotedValueIsALiteral) {
  EXPECT_EQ(fingerprint("a = \"secret\" and b in (\"x\", \"y\")"), "a = ? AND b IN (?)");
  EXPECT_EQ(fingerprint("a = t.\"b\" and \"c\".d = \"e\".f"), "a = t.\"b\" AND \"c\".d = \"e\".f");
}

TEST(Fingerprint, KeepsNullWhereItIsPartOfTheQuestion) {
  EXPECT_EQ(fingerprint("a is null or b is not null"), "a IS NULL OR b IS NOT NULL");
}

TEST(Fingerprint, IsItsOwnFingerprint) {
  for (const char* sql : {"select * from t where a in (1,2) and b like 'x%' order by 1",
                          "insert into t(a) values (1), (2)", "update t set a = -1, b = b + 1"}) {
    const std::string once = fingerprint(sql);
    EXPECT_EQ(fingerprint(once), once);
  }
}

TEST(Fingerprint, TakesTextThatIsNoSql) {
  EXPECT_EQ(fingerprint(""), "");
  EXPECT_EQ(fingerprint(" /* unfinished"), "");
  EXPECT_EQ(fingerprint("a = 'unfinished secret"), "a = ?");
  EXPECT_EQ(fingerprint("))) in (,, 1) ; ;"), fingerprint("))) in (,,1)"));
  EXPECT_EQ(fingerprint(std::string_view("a\0b", 3)), "a");
  EXPECT_EQ(fingerprint("\x01 \xff"), "\x01 \xff");
}

TEST(Fingerprint, TakesTextBuiltToBeSlow) {
  const auto megabytes = static_cast<std::size_t>(test_rounds(10)) << 20;
  std::string list = "a in (";
  while (list.size() < megabytes) list += "12345,";
  EXPECT_EQ(fingerprint(list + "1)"), "a IN (?)");

  const std::string parentheses = std::string(100'000, '(') + std::string(100'000, ')');
  EXPECT_EQ(fingerprint(parentheses), parentheses);

  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "a in (";
  EXPECT_EQ(fingerprint(nested + "1").size(), nested.size() + 1);

  EXPECT_EQ(fingerprint(std::string(megabytes, '-')), "");
  EXPECT_EQ(fingerprint("/*" + std::string(megabytes, '*')), "");
  EXPECT_EQ(fingerprint("'" + std::string(megabytes + 1, '\'')), "?");
}

TEST(FingerprintHash, IsFnv1aOnEveryMachine) {
  EXPECT_EQ(fingerprint_hash(""), 0xcbf29ce484222325U);
  EXPECT_EQ(fingerprint_hash("a"), 0xaf63dc4c8601ec8cU);
}

TEST(RedactedSample, CanBePlannedAndTellsNoValue) {
  EXPECT_EQ(redacted_sample("select * from t where a in (1,2,3,4,5) and b = 'canary' limit 3"),
            "SELECT * FROM t WHERE a IN (?, ?, ?) AND b = ? LIMIT ?");
  EXPECT_EQ(redacted_sample("insert into t values (1, 2), (3, 4), (5, 6)"),
            "INSERT INTO t VALUES (?, ?)");
}

TEST(RedactedSample, KeepsTheOuterWildcardsOfAPattern) {
  EXPECT_EQ(redacted_sample("a like '%canary%'"), "a LIKE '%?%'");
  EXPECT_EQ(redacted_sample("a like 'canary%'"), "a LIKE '?%'");
  EXPECT_EQ(redacted_sample("a like '%' || ? || '%'"), "a LIKE '%' || ? || '%'");
  EXPECT_EQ(redacted_sample("a glob 'canary*'"), "a GLOB 'x*'");
  EXPECT_EQ(redacted_sample("a = '%canary%'"), "a = ?");
}

TEST(RedactedSample, IsBoundedInWholeCharacters) {
  std::string sql = "select ";
  for (int i = 0; i < 10'000; ++i) sql += "spalte_\xc3\xa4, ";
  for (std::size_t limit = 100; limit < 110; ++limit) {
    const std::string sample = redacted_sample(sql, limit);
    EXPECT_LE(sample.size(), limit);
    EXPECT_TRUE(sample.ends_with(kSampleCut));
    const char last = sample[sample.size() - kSampleCut.size() - 1];
    EXPECT_TRUE((last & 0x80) == 0) << sample;
  }
}

}  // namespace
}  // namespace mcp::sqlite
