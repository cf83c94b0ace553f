// lexed.cpp: reads all tokens and numbers the parameters.
#include "query/lexed.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>

namespace mcp::query {
namespace {

using sqlite::Token;
using sqlite::TokenKind;

constexpr int kMostParameters = 32'766;

// As SQLite numbers them: ? is one more than the highest, ?n is n, a name keeps its first number.
void number_parameters(Lexed& lexed) {
  lexed.numbers.assign(lexed.tokens.size(), 0);
  std::unordered_map<std::string_view, int> named;
  for (std::size_t i = 0; i < lexed.tokens.size(); ++i) {
    if (lexed.tokens[i].kind != TokenKind::kParameter) continue;
    const std::string_view text = lexed.tokens[i].text;
    int number = lexed.parameters + 1;
    if (text[0] == '?' && text.size() > 1) {
      const auto parsed = std::from_chars(text.data() + 1, text.data() + text.size(), number);
      if (parsed.ec != std::errc() || number > kMostParameters) continue;
    } else if (text[0] != '?') {
      number = named.try_emplace(text, number).first->second;
    }
    lexed.numbers[i] = number;
    lexed.parameters = std::max(lexed.parameters, number);
  }
}

}  // namespace

Lexed lexed_of(std::string_view sql) {
  Lexed lexed;
  sqlite::Tokenizer tokens(sql);
  for (Token token = tokens.next(); token.kind != TokenKind::kEnd; token = tokens.next()) {
    if (token.kind == TokenKind::kKeyword && !lexed.tokens.empty() && lexed.tokens.back().is('.')) {
      token.kind = TokenKind::kName;
      token.keyword = {};
    }
    lexed.tokens.push_back(token);
  }
  number_parameters(lexed);
  return lexed;
}

}  // namespace mcp::query
