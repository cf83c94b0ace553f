// sql_text.cpp: finds the parameters of a text, and refuses what is not one statement.
#include "sqlite/sql_text.h"

#include <sqlite3.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "base/text.h"
#include "sqlite/tokenizer.h"

namespace mcp::sqlite {
namespace {

// Numbers parameters one after the other. SQLite refuses a statement with a number out of its range
// or with a "#name", so they do not count.
class Numbering {
 public:
  explicit Numbering(Placeholders& out) : out_(out) {}

  void add(std::string_view text) {
    if (text[0] == '#') return;
    if (text == "?") {
      ++out_.count;
    } else if (text[0] == '?') {
      int number = 0;
      std::from_chars(text.data() + 1, text.data() + text.size(), number);
      if (number < 1 || number > kHighest) return;
      if (names_.try_emplace(number, text).second)
        out_.named.push_back({number, std::string(text)});
      out_.count = std::max(out_.count, number);
    } else if (numbers_.try_emplace(text, out_.count + 1).second) {
      names_.emplace(++out_.count, text);
      out_.named.push_back({out_.count, std::string(text)});
    }
  }

 private:
  static constexpr int kHighest = 1'000'000;  // above what SQLite is ever built for

  Placeholders& out_;
  std::unordered_map<std::string_view, int> numbers_;
  std::unordered_map<int, std::string_view> names_;
};

}  // namespace

Placeholders placeholders_of(std::string_view sql) {
  Placeholders out;
  Numbering numbering(out);
  Tokenizer tokens(sql);
  for (Token token = tokens.next(); token.kind != TokenKind::kEnd; token = tokens.next()) {
    if (token.is(';')) {
      if (out.empty) continue;
      break;
    }
    if (out.empty) out.names_file = token.is("ATTACH") || token.is("VACUUM");
    out.empty = false;
    if (token.kind == TokenKind::kParameter) numbering.add(token.text);
  }
  std::sort(out.named.begin(), out.named.end(),
            [](const auto& a, const auto& b) { return a.number < b.number; });
  return out;
}

void check_sql(std::string_view sql) { refuse_nul("sql", sql, ErrorKind::kQuery, SQLITE_MISUSE); }

void check_single(std::string_view sql, const char* tail) {
  const auto ended = static_cast<std::size_t>(tail - sql.data());
  Tokenizer tokens(sql.substr(ended));
  Token next = tokens.next();
  while (next.is(';')) next = tokens.next();
  if (next.kind == TokenKind::kEnd) return;
  const auto at = static_cast<std::size_t>(next.text.data() - sql.data());
  throw Error(ErrorKind::kQuery,
              "sql: more than one statement, the second at position " +
                  std::to_string(characters_in(sql.substr(0, at))) +
                  ": run one statement at a time",
              SQLITE_MISUSE);
}

}  // namespace mcp::sqlite
