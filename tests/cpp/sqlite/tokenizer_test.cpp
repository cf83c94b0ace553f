#include "sqlite/tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mcp::sqlite {
namespace {

std::vector<std::string> texts(std::string_view sql) {
  Tokenizer tokens(sql);
  std::vector<std::string> found;
  for (Token token = tokens.next(); token.kind != TokenKind::kEnd; token = tokens.next()) {
    found.emplace_back(token.text);
  }
  return found;
}

TokenKind kind(std::string_view sql) { return Tokenizer(sql).next().kind; }

TEST(Tokenizer, CutsAsSqliteDoes) {
  EXPECT_EQ(texts("a||b->>'c'<=d<>e!=f==g--h\n/*i*/.5.j"),
            (std::vector<std::string>{"a", "||", "b", "->>", "'c'", "<=", "d", "<>", "e", "!=", "f",
                                      "==", "g", ".5.j"}));
  EXPECT_EQ(texts("1-2 1e-2 0x1e-2"),
            (std::vector<std::string>{"1", "-", "2", "1e-2", "0x1e", "-", "2"}));
  EXPECT_EQ(texts("'it''s' \"a\"\"b\" [c''d]"),
            (std::vector<std::string>{"'it''s'", "\"a\"\"b\"", "[c''d]"}));
}

TEST(Tokenizer, TellsTheKinds) {
  EXPECT_EQ(kind("select"), TokenKind::kKeyword);
  EXPECT_EQ(kind("selects"), TokenKind::kName);
  EXPECT_EQ(kind("stra\xc3\x9f"
                 "e"),
            TokenKind::kName);
  EXPECT_EQ(kind("[a b]"), TokenKind::kQuotedName);
  EXPECT_EQ(kind("x'00'"), TokenKind::kBlob);
  EXPECT_EQ(kind(".5"), TokenKind::kNumber);
  EXPECT_EQ(kind("?12"), TokenKind::kParameter);
  EXPECT_EQ(kind("$a"), TokenKind::kParameter);
  EXPECT_EQ(kind(":"), TokenKind::kIllegal);
  EXPECT_EQ(kind("\x01"), TokenKind::kIllegal);
  EXPECT_EQ(kind("-- only a comment"), TokenKind::kEnd);
}

TEST(Tokenizer, KnowsKeywordsInAnyCase) {
  EXPECT_EQ(find_keyword("current_TIMESTAMP"), "CURRENT_TIMESTAMP");
  EXPECT_EQ(find_keyword("As"), "AS");
  EXPECT_EQ(find_keyword("a"), "");
  EXPECT_EQ(find_keyword("current_timestamps"), "");
}

TEST(Tokenizer, TakesQuotesOff) {
  EXPECT_EQ(unquoted("\"a b\""), "a b");
  EXPECT_EQ(unquoted("[a b]"), "a b");
  EXPECT_EQ(unquoted("a"), "a");
  EXPECT_EQ(unquoted("\"unfinished"), "\"unfinished");
}

}  // namespace
}  // namespace mcp::sqlite
