// tokenizer.cpp: the classes of characters, and one function for each kind of token.
#include "sqlite/tokenizer.h"

#include <array>
#include <cstring>

namespace mcp::sqlite {
namespace {

constexpr std::array kKeywords = std::to_array<std::string_view>({
    "ABORT",
    "ACTION",
    "ADD",
    "AFTER",
    "ALL",
    "ALTER",
    "ALWAYS",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "ATTACH",
    "AUTOINCREMENT",
    "BEFORE",
    "BEGIN",
    "BETWEEN",
    "BY",
    "CASCADE",
    "CASE",
    "CAST",
    "CHECK",
    "COLLATE",
    "COLUMN",
    "COMMIT",
    "CONFLICT",
    "CONSTRAINT",
    "CREATE",
    "CROSS",
    "CURRENT",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "DATABASE",
    "DEFAULT",
    "DEFERRABLE",
    "DEFERRED",
    "DELETE",
    "DESC",
    "DETACH",
    "DISTINCT",
    "DO",
    "DROP",
    "EACH",
    "ELSE",
    "END",
    "ESCAPE",
    "EXCEPT",
    "EXCLUDE",
    "EXCLUSIVE",
    "EXISTS",
    "EXPLAIN",
    "FAIL",
    "FILTER",
    "FIRST",
    "FOLLOWING",
    "FOR",
    "FOREIGN",
    "FROM",
    "FULL",
    "GENERATED",
    "GLOB",
    "GROUP",
    "GROUPS",
    "HAVING",
    "IF",
    "IGNORE",
    "IMMEDIATE",
    "IN",
    "INDEX",
    "INDEXED",
    "INITIALLY",
    "INNER",
    "INSERT",
    "INSTEAD",
    "INTERSECT",
    "INTO",
    "IS",
    "ISNULL",
    "JOIN",
    "KEY",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MATCH",
    "MATERIALIZED",
    "NATURAL",
    "NO",
    "NOT",
    "NOTHING",
    "NOTNULL",
    "NULL",
    "NULLS",
    "OF",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OTHERS",
    "OUTER",
    "OVER",
    "PARTITION",
    "PLAN",
    "PRAGMA",
    "PRECEDING",
    "PRIMARY",
    "QUERY",
    "RAISE",
    "RANGE",
    "RECURSIVE",
    "REFERENCES",
    "REGEXP",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "REPLACE",
    "RESTRICT",
    "RETURNING",
    "RIGHT",
    "ROLLBACK",
    "ROW",
    "ROWS",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "TABLE",
    "TEMP",
    "TEMPORARY",
    "THEN",
    "TIES",
    "TO",
    "TRANSACTION",
    "TRIGGER",
    "UNBOUNDED",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USING",
    "VACUUM",
    "VALUES",
    "VIEW",
    "VIRTUAL",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "WITHOUT",
});
constexpr std::size_t kLongestKeyword = 17;  // CURRENT_TIMESTAMP

// What a byte can start or continue.
enum Class : std::uint8_t { kSpace = 1, kDigit = 2, kWord = 4, kStart = 8 };

constexpr std::array<std::uint8_t, 256> make_classes() {
  std::array<std::uint8_t, 256> classes{};
  for (const char c : {' ', '\t', '\n', '\f', '\r'})
    classes[static_cast<unsigned char>(c)] = kSpace;
  for (int c = '0'; c <= '9'; ++c) classes[c] = kDigit | kWord;
  for (int c = 'a'; c <= 'z'; ++c) classes[c] = classes[c - 'a' + 'A'] = kWord | kStart;
  for (int c = 0x80; c < 0x100; ++c) classes[c] = kWord | kStart;
  classes['_'] = kWord | kStart;
  classes['$'] = kWord;  // starts a parameter
  return classes;
}
constexpr std::array<std::uint8_t, 256> kClasses = make_classes();

bool is(char c, std::uint8_t wanted) noexcept {
  return (kClasses[static_cast<unsigned char>(c)] & wanted) != 0;
}

constexpr char upper(char c) noexcept {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

constexpr std::string_view kMark = "\xEF\xBB\xBF";  // the byte order mark is white space

constexpr std::size_t kSlots = 512;

constexpr std::size_t slot_of(char first, char last, std::size_t size) noexcept {
  return (static_cast<std::size_t>(first) * 31 + static_cast<std::size_t>(last) * 7 + size * 131) %
         kSlots;
}

// Open addressing; 0 is an empty slot, n is kKeywords[n - 1].
constexpr std::array<std::uint8_t, kSlots> make_slots() {
  std::array<std::uint8_t, kSlots> slots{};
  for (std::size_t i = 0; i < kKeywords.size(); ++i) {
    const std::string_view word = kKeywords[i];
    std::size_t slot = slot_of(word.front(), word.back(), word.size());
    while (slots[slot] != 0) slot = (slot + 1) % kSlots;
    slots[slot] = static_cast<std::uint8_t>(i + 1);
  }
  return slots;
}
constexpr std::array<std::uint8_t, kSlots> kSlotTable = make_slots();

const char* find(const char* from, const char* end, char wanted) noexcept {
  const void* found = std::memchr(from, wanted, static_cast<std::size_t>(end - from));
  return found == nullptr ? end : static_cast<const char*>(found);
}

}  // namespace

std::string_view find_keyword(std::string_view word) noexcept {
  if (word.size() < 2 || word.size() > kLongestKeyword) return {};
  std::array<char, kLongestKeyword> capitals;
  for (std::size_t i = 0; i < word.size(); ++i) capitals[i] = upper(word[i]);
  const std::string_view wanted(capitals.data(), word.size());
  std::size_t slot = slot_of(wanted.front(), wanted.back(), wanted.size());
  for (; kSlotTable[slot] != 0; slot = (slot + 1) % kSlots) {
    const std::string_view candidate = kKeywords[kSlotTable[slot] - 1U];
    if (candidate == wanted) return candidate;
  }
  return {};
}

std::string_view unquoted(std::string_view name) noexcept {
  if (name.size() < 2) return name;
  const char open = name.front();
  const char close = open == '[' ? ']' : open;
  const bool quoted = open == '"' || open == '`' || open == '[' || open == '\'';
  return quoted && name.back() == close ? name.substr(1, name.size() - 2) : name;
}

Token Tokenizer::take(TokenKind kind, const char* stop) noexcept {
  Token token{kind, std::string_view(at_, static_cast<std::size_t>(stop - at_)), {}};
  at_ = stop;
  return token;
}

void Tokenizer::skip_space_and_comments() noexcept {
  while (at_ < end_) {
    if (is(*at_, kSpace)) {
      ++at_;
    } else if (*at_ == '-' && at_ + 1 < end_ && at_[1] == '-') {
      at_ = find(at_, end_, '\n');
    } else if (*at_ == '/' && at_ + 1 < end_ && at_[1] == '*') {
      const char* star = at_ + 2 < end_ ? find(at_ + 2, end_, '*') : end_;
      while (star + 1 < end_ && star[1] != '/') star = find(star + 1, end_, '*');
      at_ = star + 1 < end_ ? star + 2 : end_;
    } else if (std::string_view(at_, static_cast<std::size_t>(end_ - at_)).starts_with(kMark)) {
      at_ += kMark.size();
    } else {
      return;
    }
  }
}

// `open` is at the opening quote. A doubled closing quote stands for itself, except in brackets.
Token Tokenizer::take_quoted(TokenKind kind, const char* open, char close) noexcept {
  const char* stop = find(open + 1, end_, close);
  while (close != ']' && stop + 1 < end_ && stop[1] == close) stop = find(stop + 2, end_, close);
  return take(kind, stop < end_ ? stop + 1 : end_);
}

// Takes what hangs on to the number too (12ab): SQLite refuses that, and it is no name.
Token Tokenizer::take_number() noexcept {
  const char* stop = at_;
  const bool hexadecimal = stop + 1 < end_ && *stop == '0' && (stop[1] == 'x' || stop[1] == 'X');
  for (; stop < end_; ++stop) {
    if (is(*stop, kWord) || *stop == '.') continue;
    const bool sign = (*stop == '+' || *stop == '-') && stop > at_ && upper(stop[-1]) == 'E';
    if (hexadecimal || !sign || stop + 1 >= end_ || !is(stop[1], kDigit)) break;
  }
  return take(TokenKind::kNumber, stop);
}

Token Tokenizer::take_word() noexcept {
  if ((*at_ == 'x' || *at_ == 'X') && at_ + 1 < end_ && at_[1] == '\'') {
    return take_quoted(TokenKind::kBlob, at_ + 1, '\'');
  }
  const char* stop = at_ + 1;
  while (stop < end_ && is(*stop, kWord)) ++stop;
  Token token = take(TokenKind::kName, stop);
  token.keyword = find_keyword(token.text);
  if (!token.keyword.empty()) token.kind = TokenKind::kKeyword;
  return token;
}

// Names may hold "::" and end in an index in parentheses, as Tcl's do: $a::b(c).
Token Tokenizer::take_parameter() noexcept {
  const char* stop = at_ + 1;
  if (*at_ == '?') {
    while (stop < end_ && is(*stop, kDigit)) ++stop;
    return take(TokenKind::kParameter, stop);
  }
  bool named = false;
  for (;; ++stop) {
    const char c = stop < end_ ? *stop : '\0';
    if (is(c, kWord)) {
      named = true;
    } else if (c == ':' && stop + 1 < end_ && stop[1] == ':') {
      ++stop;
    } else if (c == '(' && named) {
      while (++stop < end_ && !is(*stop, kSpace) && *stop != ')') {
      }
      const bool closed = stop < end_ && *stop == ')';
      return take(closed ? TokenKind::kParameter : TokenKind::kIllegal, closed ? stop + 1 : stop);
    } else {
      return take(named ? TokenKind::kParameter : TokenKind::kIllegal, stop);
    }
  }
}

Token Tokenizer::take_operator() noexcept {
  const char second = at_ + 1 < end_ ? at_[1] : '\0';
  const char third = at_ + 2 < end_ ? at_[2] : '\0';
  std::size_t size = 1;
  switch (*at_) {
    case '-':
      if (second == '>') size = third == '>' ? 3 : 2;
      break;
    case '<':
      if (second == '=' || second == '>' || second == '<') size = 2;
      break;
    case '>':
      if (second == '=' || second == '>') size = 2;
      break;
    case '!':
    case '=':
      if (second == '=') size = 2;
      break;
    case '|':
      if (second == '|') size = 2;
      break;
    case '(':
    case ')':
    case ',':
    case '.':
    case ';':
    case '+':
    case '*':
    case '/':
    case '%':
    case '&':
    case '~':
      break;
    default:
      return take(TokenKind::kIllegal, at_ + 1);
  }
  return take(TokenKind::kOperator, at_ + size);
}

Token Tokenizer::next() noexcept {
  skip_space_and_comments();
  if (at_ >= end_ || *at_ == '\0') {
    end_ = at_;
    return {};
  }
  if (is(*at_, kStart)) return take_word();
  if (is(*at_, kDigit)) return take_number();
  switch (*at_) {
    case '\'':
      return take_quoted(TokenKind::kString, at_, '\'');
    case '"':
    case '`':
      return take_quoted(TokenKind::kQuotedName, at_, *at_);
    case '[':
      return take_quoted(TokenKind::kQuotedName, at_, ']');
    case '?':
    case ':':
    case '@':
    case '$':
    case '#':
      return take_parameter();
    case '.':
      return at_ + 1 < end_ && is(at_[1], kDigit) ? take_number() : take_operator();
    default:
      return take_operator();
  }
}

}  // namespace mcp::sqlite
