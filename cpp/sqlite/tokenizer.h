// tokenizer.h: SQL text as SQLite's own lexer would cut it, without a copy.
//
// Thread-compatible; allocates nothing. Time is linear in the text, whatever the text is: an
// unterminated string or comment reaches to the end, a stray byte is a token of its own, and a NUL
// ends the text as it does for SQLite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mcp::sqlite {

enum class TokenKind : std::uint8_t {
  kEnd,
  kKeyword,
  kName,        // an unquoted identifier
  kQuotedName,  // "x", `x` or [x], quotes included
  kString,
  kNumber,
  kBlob,
  kParameter,  // ?  ?1  :name  @name  $name
  kOperator,   // punctuation of one to three bytes
  kIllegal,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string_view text;     // as written
  std::string_view keyword;  // in capitals; empty unless kind is kKeyword

  [[nodiscard]] bool is(std::string_view word) const noexcept { return keyword == word; }
  [[nodiscard]] bool is(char punctuation) const noexcept {
    return kind == TokenKind::kOperator && text.size() == 1 && text[0] == punctuation;
  }
  [[nodiscard]] bool is_name() const noexcept {
    return kind == TokenKind::kName || kind == TokenKind::kQuotedName;
  }
};

class Tokenizer {
 public:
  // The text must outlive the tokenizer and its tokens.
  explicit Tokenizer(std::string_view sql) noexcept
      : begin_(sql.data()), at_(sql.data()), end_(sql.data() + sql.size()) {}

  // The next token that is neither white space nor a comment; kEnd, again and again, at the end.
  Token next() noexcept;

  // How much of the text has been read.
  [[nodiscard]] std::size_t offset() const noexcept {
    return static_cast<std::size_t>(at_ - begin_);
  }

 private:
  void skip_space_and_comments() noexcept;
  Token take(TokenKind kind, const char* stop) noexcept;
  Token take_quoted(TokenKind kind, const char* open, char close) noexcept;
  Token take_number() noexcept;
  Token take_word() noexcept;
  Token take_parameter() noexcept;
  Token take_operator() noexcept;

  const char* begin_;
  const char* at_;
  const char* end_;
};

// The keyword in capitals, or an empty view. Case does not matter.
[[nodiscard]] std::string_view find_keyword(std::string_view word) noexcept;

// The identifier without its quotes; what is not quoted comes back as it is.
[[nodiscard]] std::string_view unquoted(std::string_view name) noexcept;

}  // namespace mcp::sqlite
