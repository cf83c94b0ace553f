// expression_parser.h: the part of the parser of syntax.h that reads expressions.
//
// Each level of SQLite's precedence is a function; the loosest is read_expr(). Thread-compatible.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "query/syntax.h"

namespace mcp::query {

// Thrown for what the parser does not know.
struct Unreadable {};

class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view sql) {
    Lexed lexed = lexed_of(sql);
    tree_.sql = sql;
    tree_.tokens = std::move(lexed.tokens);
    tree_.numbers = std::move(lexed.numbers);
    tree_.parameters = lexed.parameters;
  }
  ExpressionParser(const ExpressionParser&) = delete;
  ExpressionParser& operator=(const ExpressionParser&) = delete;
  virtual ~ExpressionParser() = default;

 protected:
  using Token = sqlite::Token;
  using TokenKind = sqlite::TokenKind;
  static constexpr int kDeepest = 120;
  // Keywords that SQLite takes for names, of those that people use.
  static constexpr std::string_view kNames[] = {
      "ACTION", "AFTER", "BEFORE",  "DATABASE", "FIRST",   "GROUPS", "KEY",     "LAST",
      "NO",     "OF",    "OTHERS",  "PLAN",     "QUERY",   "RANGE",  "RELEASE", "ROW",
      "ROWS",   "TEMP",  "TRIGGER", "VIEW",     "CURRENT", "IF"};

  virtual int read_select() = 0;

  [[nodiscard]] Core& core(int number) { return tree_.cores[static_cast<std::size_t>(number)]; }
  [[nodiscard]] Select& select(int number) {
    return tree_.selects[static_cast<std::size_t>(number)];
  }

  [[nodiscard]] const Token& token(std::size_t number) const {
    static const Token end;
    return number < tree_.tokens.size() ? tree_.tokens[number] : end;
  }
  [[nodiscard]] const Token& at() const { return token(at_); }
  bool take(std::string_view keyword) {
    if (!at().is(keyword)) return false;
    ++at_;
    return true;
  }
  bool take(char punctuation) {
    if (!at().is(punctuation)) return false;
    ++at_;
    return true;
  }
  template <class What>
  void need(What what) {
    if (!take(what)) throw Unreadable();
  }
  [[nodiscard]] bool is_name(std::size_t number) const {
    const Token& one = token(number);
    return one.is_name() ||
           (one.kind == TokenKind::kKeyword &&
            std::find(std::begin(kNames), std::end(kNames), one.keyword) != std::end(kNames));
  }
  std::string_view need_name() {
    if (!is_name(at_)) throw Unreadable();
    return sqlite::unquoted(token(at_++).text);
  }

  int add(Expr made) {
    made.last = at_ - 1;
    tree_.exprs.push_back(std::move(made));
    return static_cast<int>(tree_.exprs.size()) - 1;
  }

  int binary(int left, std::string_view op, int right) {
    Expr made{.kind = ExprKind::kBinary, .first = tree_.expr(left).first, .op = op};
    made.kids = {left, right};
    return add(std::move(made));
  }

  int read_expr() {
    if (++depth_ > kDeepest) throw Unreadable();
    int left = read_and();
    while (take("OR")) left = binary(left, "OR", read_and());
    --depth_;
    return left;
  }

  int read_and() {
    int left = read_not();
    while (take("AND")) left = binary(left, "AND", read_not());
    return left;
  }

  int read_not() {
    if (!at().is("NOT")) return read_equality();
    if (++depth_ > kDeepest) throw Unreadable();
    Expr made{.kind = ExprKind::kUnary, .first = at_, .op = "NOT"};
    ++at_;
    made.kids = {read_not()};
    --depth_;
    return add(std::move(made));
  }

  int read_equality() {
    int left = read_order();
    while (true) {
      const std::string_view op = at().text;
      if (op == "=" || op == "==" || op == "<>" || op == "!=") {
        ++at_;
        const std::string_view plain = op == "==" ? "=" : op == "!=" ? "<>" : op;
        left = binary(left, plain, read_order());
      } else if (!read_word_comparison(left)) {
        return left;
      }
    }
  }

  // IS, ISNULL, LIKE, BETWEEN, IN and their kind; false when none of them follows.
  bool read_word_comparison(int& left) {
    Expr made{.first = tree_.expr(left).first};
    made.kids = {left};
    const bool inverted = at().is("NOT");
    const Token& word = token(at_ + (inverted ? 1 : 0));
    if (word.is("ISNULL") || word.is("NOTNULL") || (inverted && word.is("NULL"))) {
      at_ += inverted ? 2 : 1;
      made.kind = ExprKind::kIs;
      made.negated = !word.is("ISNULL");
      made.kids.push_back(add({.kind = ExprKind::kNull, .first = at_ - 1}));
    } else if (!inverted && word.is("IS")) {
      ++at_;
      made.kind = ExprKind::kIs;
      made.negated = take("NOT");
      if (at().is("DISTINCT") && token(at_ + 1).is("FROM")) {
        at_ += 2;
        made.negated = !made.negated;
      }
      made.kids.push_back(read_order());
    } else if (word.is("LIKE") || word.is("GLOB") || word.is("MATCH") || word.is("REGEXP")) {
      at_ += inverted ? 2 : 1;
      made.kind = ExprKind::kLike;
      made.op = word.keyword;
      made.negated = inverted;
      made.kids.push_back(read_order());
      if (take("ESCAPE")) made.kids.push_back(read_order());
    } else if (word.is("BETWEEN")) {
      at_ += inverted ? 2 : 1;
      made.kind = ExprKind::kBetween;
      made.negated = inverted;
      made.kids.push_back(read_order());
      need("AND");
      made.kids.push_back(read_order());
    } else if (word.is("IN")) {
      at_ += inverted ? 2 : 1;
      made.kind = ExprKind::kIn;
      made.negated = inverted;
      read_in(made);
    } else {
      return false;
    }
    left = add(std::move(made));
    return true;
  }

  void read_in(Expr& made) {
    need('(');
    if (at().is("SELECT") || at().is("WITH") || at().is("VALUES")) {
      made.select = read_select();
    } else if (!at().is(')')) {
      do made.kids.push_back(read_expr());
      while (take(','));
    }
    need(')');
  }

  using Level = int (ExpressionParser::*)();
  int read_level(Level next, std::initializer_list<std::string_view> ops) {
    int left = (this->*next)();
    while (at().kind == TokenKind::kOperator &&
           std::find(ops.begin(), ops.end(), at().text) != ops.end()) {
      const std::string_view op = token(at_++).text;
      left = binary(left, op, (this->*next)());
    }
    return left;
  }
  int read_order() { return read_level(&ExpressionParser::read_bits, {"<", "<=", ">", ">="}); }
  int read_bits() { return read_level(&ExpressionParser::read_sum, {"<<", ">>", "&", "|"}); }
  int read_sum() { return read_level(&ExpressionParser::read_product, {"+", "-"}); }
  int read_product() { return read_level(&ExpressionParser::read_joined, {"*", "/", "%"}); }
  int read_joined() { return read_level(&ExpressionParser::read_collated, {"||", "->", "->>"}); }

  int read_collated() {
    int left = read_unary();
    while (take("COLLATE")) {
      Expr made{.kind = ExprKind::kCollate, .first = tree_.expr(left).first};
      made.op = need_name();
      made.kids = {left};
      left = add(std::move(made));
    }
    return left;
  }

  int read_unary() {
    const std::string_view op = at().text;
    if (at().kind != TokenKind::kOperator || (op != "-" && op != "+" && op != "~")) {
      return read_primary();
    }
    if (++depth_ > kDeepest) throw Unreadable();
    Expr made{.kind = ExprKind::kUnary, .first = at_++, .op = op};
    made.kids = {read_unary()};
    --depth_;
    return add(std::move(made));
  }

  int read_primary() {
    Expr made{.first = at_};
    const Token& current = at();
    const bool called = token(at_ + 1).is('(');
    if (current.is('(')) return read_parenthesis();
    if (current.is("CASE")) return read_case();
    if (current.is("CAST") && called) return read_cast();
    if (current.is("EXISTS")) {
      ++at_;
      need('(');
      made.kind = ExprKind::kExists;
      made.select = read_select();
      need(')');
      return add(std::move(made));
    }
    if (called &&
        (is_name(at_) || current.is("REPLACE") || current.is("LIKE") || current.is("GLOB"))) {
      return read_call();
    }
    if (is_name(at_)) return read_column();
    ++at_;
    switch (current.kind) {
      case TokenKind::kNumber:
        made.kind = ExprKind::kNumber;
        break;
      case TokenKind::kString:
        made.kind = ExprKind::kText;
        break;
      case TokenKind::kBlob:
        made.kind = ExprKind::kBlob;
        break;
      case TokenKind::kParameter:
        made.kind = ExprKind::kParameter;
        made.parameter = tree_.numbers[at_ - 1];
        if (made.parameter == 0) throw Unreadable();
        break;
      default:
        if (current.is("NULL")) break;
        if (!current.keyword.starts_with("CURRENT_")) throw Unreadable();
        made.kind = ExprKind::kConstant;
    }
    return add(std::move(made));
  }

  int read_column() {
    Expr made{.kind = ExprKind::kColumn, .first = at_};
    made.quoted = at().kind == TokenKind::kQuotedName && at().text[0] == '"';
    made.column.name = need_name();
    for (int dots = 0; take('.'); ++dots) {
      if (dots == 2) throw Unreadable();
      made.column.qualifier = made.column.name;
      made.column.name = need_name();
      made.quoted = false;
    }
    return add(std::move(made));
  }

  int read_parenthesis() {
    Expr made{.kind = ExprKind::kParen, .first = at_++};
    if (at().is("SELECT") || at().is("WITH") || at().is("VALUES")) {
      made.kind = ExprKind::kSubquery;
      made.select = read_select();
    } else {
      do made.kids.push_back(read_expr());
      while (take(','));
      if (made.kids.size() > 1) made.kind = ExprKind::kRow;
    }
    need(')');
    return add(std::move(made));
  }

  int read_call() {
    Expr made{.kind = ExprKind::kCall, .first = at_, .op = sqlite::unquoted(at().text)};
    at_ += 2;
    if (take('*')) {
      made.star = true;
    } else if (!at().is(')')) {
      if (take("DISTINCT")) made.special = true;
      do made.kids.push_back(read_expr());
      while (take(','));
      if (at().is("ORDER")) throw Unreadable();
    }
    need(')');
    if (take("FILTER")) {
      made.special = true;
      need('(');
      need("WHERE");
      made.kids.push_back(read_expr());
      need(')');
    }
    if (take("OVER")) {
      made.special = true;
      if (core_ >= 0) core(core_).windows = true;
      skip_window();
    }
    return add(std::move(made));
  }

  void skip_window() {
    if (is_name(at_)) {
      ++at_;
      return;
    }
    need('(');
    for (int open = 1; open > 0; ++at_) {
      if (at_ >= tree_.tokens.size()) throw Unreadable();
      open += at().is('(') ? 1 : at().is(')') ? -1 : 0;
    }
  }

  int read_cast() {
    Expr made{.kind = ExprKind::kCast, .first = at_};
    at_ += 2;
    made.kids = {read_expr()};
    need("AS");
    const std::size_t first = at_;
    for (int open = 0; at_ < tree_.tokens.size(); ++at_) {
      if (at().is(')') && open-- == 0) break;
      if (at().is('(')) ++open;
    }
    if (at_ == first || !at().is(')')) throw Unreadable();
    const std::string_view last = token(at_ - 1).text;
    const char* begin = token(first).text.data();
    made.op = {begin, static_cast<std::size_t>(last.data() + last.size() - begin)};
    need(')');
    return add(std::move(made));
  }

  int read_case() {
    Expr made{.kind = ExprKind::kCase, .first = at_++};
    if (!at().is("WHEN")) made.kids.push_back(read_expr());
    while (take("WHEN")) {
      made.kids.push_back(read_expr());
      need("THEN");
      made.kids.push_back(read_expr());
    }
    if (take("ELSE")) made.kids.push_back(read_expr());
    need("END");
    return add(std::move(made));
  }

  Syntax tree_;
  std::size_t at_ = 0;
  int core_ = -1;
  int depth_ = 0;
};

}  // namespace mcp::query
