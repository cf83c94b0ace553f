// rewrite.cpp: one function for each rule, with its proof.
#include "query/rewrite.h"

#include <algorithm>
#include <optional>

namespace mcp::query {
namespace {

using sqlite::Token;
using sqlite::TokenKind;

class Rewriter {
 public:
  Rewriter(std::string_view sql, const Outline& outline, const Schema& schema)
      : sql_(sql), outline_(outline), tokens_(outline.tokens), schema_(schema) {}

  std::vector<Rewrite> run() {
    or_to_in();
    redundant_distinct();
    count_to_exists();
    return std::move(rewrites_);
  }

 private:
  [[nodiscard]] const Token& token(std::size_t number) const {
    static const Token end;
    return number < tokens_.size() ? tokens_[number] : end;
  }
  [[nodiscard]] std::size_t begin_of(std::size_t number) const {
    return static_cast<std::size_t>(token(number).text.data() - sql_.data());
  }
  [[nodiscard]] std::size_t end_of(std::size_t number) const {
    return begin_of(number) + token(number).text.size();
  }
  // The text with the tokens from `first` to `last`, both included, replaced.
  [[nodiscard]] std::string replaced(std::size_t first, std::size_t last,
                                     std::string_view with) const {
    std::string text(sql_.substr(0, begin_of(first)));
    text += with;
    return text += sql_.substr(end_of(last));
  }

  struct Equality {
    std::string column;  // as written
    std::string value;
    std::size_t next = 0;  // the token behind it
  };

  // [table.]column = value, with a value that is one token. Numbered and named parameters keep
  // their place in the order, so their numbers stay as they are.
  [[nodiscard]] std::optional<Equality> equality_at(std::size_t first) const {
    if (!token(first).is_name()) return std::nullopt;
    std::size_t last = first;
    while (token(last + 1).is('.') && token(last + 2).is_name()) last += 2;
    const std::string_view op = token(last + 1).text;
    if (op != "=" && op != "==") return std::nullopt;
    const Token& value = token(last + 2);
    const bool plain = value.kind == TokenKind::kString || value.kind == TokenKind::kNumber ||
                       value.kind == TokenKind::kParameter || value.kind == TokenKind::kBlob;
    if (!plain) return std::nullopt;
    return Equality{std::string(sql_.substr(begin_of(first), end_of(last) - begin_of(first))),
                    std::string(value.text), last + 3};
  }

  // The chain must be the whole of a parenthesis or of WHERE: AND binds tighter than OR, and
  // COLLATE or arithmetic behind a value would change the comparison.
  void or_to_in() {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (!token(i).is("WHERE") && !token(i).is('(')) continue;
      std::optional<Equality> term = equality_at(i + 1);
      if (!term.has_value()) continue;
      const std::string column = term->column;
      std::string list = term->value;
      int terms = 1;
      std::size_t next = term->next;
      while (token(next).is("OR")) {
        term = equality_at(next + 1);
        if (!term.has_value() || !same_name(term->column, column)) break;
        list += ", " + term->value;
        next = term->next;
        ++terms;
      }
      if (terms < 2 || !term.has_value() || !ends_condition(token(next), token(i).is('(')))
        continue;
      rewrites_.push_back({"or-to-in", replaced(i + 1, next - 1, column + " IN (" + list + ")"),
                           "IN compares with each value as = does, NULL included", begin_of(i + 1),
                           end_of(next - 1)});
      return;
    }
  }

  static bool ends_condition(const Token& token, bool parenthesis) {
    if (parenthesis) return token.is(')');
    return token.kind == TokenKind::kEnd || token.is(';') || token.is(')') || token.is("GROUP") ||
           token.is("ORDER") || token.is("LIMIT") || token.is("UNION") || token.is("EXCEPT") ||
           token.is("INTERSECT") || token.is("RETURNING") || token.is("WINDOW");
  }

  // SELECT DISTINCT of plain columns of one table, among them a whole key of it.
  void redundant_distinct() {
    if (!token(0).is("SELECT") || !token(1).is("DISTINCT")) return;
    const Scope& scope = outline_.scopes.front();
    if (scope.sources.size() != 1 || scope.derived) return;
    const Table* table = schema_.find(scope.sources[0].table);
    if (table == nullptr || table->kind != TableKind::kTable || table->without_rowid) return;
    std::vector<const Column*> selected;
    std::size_t at = 2;
    for (;; ++at) {
      std::size_t last = at;
      while (token(last + 1).is('.') && token(last + 2).is_name()) last += 2;
      const Column* column =
          token(last).is_name() ? table->find_column(sqlite::unquoted(token(last).text)) : nullptr;
      if (column == nullptr) return;
      selected.push_back(column);
      at = last + 1;
      if (token(at).is("FROM")) break;
      if (!token(at).is(',')) return;
    }
    if (!holds_a_key(*table, selected)) return;
    rewrites_.push_back({"redundant-distinct", replaced(0, 1, "SELECT"),
                         "the columns hold a key of " + table->name + ": no two rows are equal",
                         begin_of(0), end_of(1)});
  }

  static bool holds_a_key(const Table& table, const std::vector<const Column*>& selected) {
    const auto has = [&selected](const Column* column) {
      return std::find(selected.begin(), selected.end(), column) != selected.end();
    };
    if (table.rowid_alias() != nullptr && has(table.rowid_alias())) return true;
    return std::any_of(table.indexes.begin(), table.indexes.end(), [&](const Index& index) {
      return index.unique && !index.partial &&
             std::all_of(index.columns.begin(), index.columns.end(), [&](const IndexColumn& key) {
               const Column* column = table.find_column(key.name);
               // A key that compares otherwise than the column may hold apart what DISTINCT joins.
               return column != nullptr && column->not_null && has(column) &&
                      same_name(column->collation, key.collation);
             });
    });
  }

  // (SELECT count(*) FROM ...) > 0, also >= 1 and <> 0, where the inner SELECT has one row at any
  // rate: no GROUP BY, HAVING, LIMIT or compound.
  void count_to_exists() {
    for (std::size_t open = 0; open + 7 < tokens_.size(); ++open) {
      if (!token(open).is('(') || !token(open + 1).is("SELECT") ||
          !same_name(token(open + 2).text, "count") || !token(open + 3).is('(') ||
          !token(open + 4).is('*') || !token(open + 5).is(')') || !token(open + 6).is("FROM")) {
        continue;
      }
      const std::optional<std::size_t> close = end_of_plain_select(open);
      if (!close.has_value() || !stands_alone(open, *close)) continue;
      const std::string_view op = token(*close + 1).text;
      const std::string_view bound = token(*close + 2).text;
      const bool positive = (op == ">" && bound == "0") || (op == ">=" && bound == "1") ||
                            ((op == "<>" || op == "!=") && bound == "0");
      if (!positive) continue;
      std::string exists = "EXISTS (SELECT 1 ";
      exists += sql_.substr(begin_of(open + 6), end_of(*close) - begin_of(open + 6));
      rewrites_.push_back({"count-to-exists", replaced(open, *close + 2, exists),
                           "EXISTS stops at the first row; counting reads them all", begin_of(open),
                           end_of(*close + 2)});
      return;
    }
  }

  [[nodiscard]] std::optional<std::size_t> end_of_plain_select(std::size_t open) const {
    int depth = 0;
    for (std::size_t i = open; i < tokens_.size(); ++i) {
      const Token& current = token(i);
      if (current.is('(')) ++depth;
      if (current.is(')') && --depth == 0) return i;
      const bool shapes = current.is("GROUP") || current.is("HAVING") || current.is("LIMIT") ||
                          current.is("UNION") || current.is("EXCEPT") || current.is("INTERSECT");
      if (depth == 1 && shapes) return std::nullopt;
    }
    return std::nullopt;
  }

  // The comparison is a term of its own, not a part of a calculation.
  [[nodiscard]] bool stands_alone(std::size_t open, std::size_t close) const {
    const Token before = open == 0 ? Token{} : token(open - 1);
    const Token& after = token(close + 3);
    const bool starts = before.is("WHERE") || before.is("AND") || before.is("OR") || before.is('(');
    const bool ends = ends_condition(after, false) || after.is("AND") || after.is("OR");
    return starts && ends;
  }

  const std::string_view sql_;
  const Outline& outline_;
  const std::vector<Token>& tokens_;
  const Schema& schema_;
  std::vector<Rewrite> rewrites_;
};

}  // namespace

std::vector<Rewrite> find_rewrites(std::string_view sql, const Outline& outline,
                                   const Schema& schema) {
  if (outline.scopes.empty()) return {};
  return Rewriter(sql, outline, schema).run();
}

}  // namespace mcp::query
