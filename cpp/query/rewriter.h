// rewriter.h: what the rules of rewrite.h share: the tree and its facts, edits of the text, checks
// of the data, and the last check before a rewrite is offered.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "query/facts.h"
#include "query/rewrite.h"

namespace mcp::query {

// Tokens `first` to `last`, both included, become `text`; with `first` > `last` it is put
// behind the token before `first`.
struct Edit {
  std::size_t first = 0, last = 0;
  std::string text;
};

class Rewriter {
 public:
  explicit Rewriter(const RewriteInput& input);
  Rewriter(const Rewriter&) = delete;
  Rewriter& operator=(const Rewriter&) = delete;

  const RewriteInput& input;
  const Syntax tree;
  const Facts facts;
  std::vector<Rewrite> found;

  [[nodiscard]] const sqlite::Token& token(std::size_t number) const;
  [[nodiscard]] const Expr& expr(int number) const { return tree.expr(number); }
  [[nodiscard]] const Expr& bare(int number) const { return tree.expr(tree.bare(number)); }

  // The text as written; anonymous parameters get their numbers where the statement has any, so
  // that a piece can move.
  [[nodiscard]] std::string text(std::size_t first, std::size_t last) const;
  [[nodiscard]] std::string text(int expr) const;
  // The same for a piece that will stand beside AND.
  [[nodiscard]] std::string term(int expr) const;
  // A column that another scope can name; empty where its source has no name of its own there.
  [[nodiscard]] std::string qualified(const ColumnFact& fact) const;
  [[nodiscard]] std::string name_of(const ColumnFact& fact) const;

  // Offers the statement with these edits, if SQLite compiles it to the same columns.
  void offer(const char* rule, std::vector<Edit> edits, std::string reason,
             const char* equivalence = kProved,
             std::vector<std::pair<std::string, std::string>> parameters = {});

  // The statement as it would be with these edits.
  [[nodiscard]] std::string preview(std::vector<Edit> edits) const { return edited(edits); }
  // Its plan reads no table as a whole that is not small.
  [[nodiscard]] bool is_searched(const std::string& sql) const;

  // No row of the table meets the condition. False where that is not certain: when reading is not
  // allowed, or takes more than its bound.
  [[nodiscard]] bool no_row(const Table& table, const std::string& condition);

  // Below a subquery that SQLite runs for every row, a source of the core is read as a whole.
  [[nodiscard]] bool is_read_again(int core) const;
  // The same of any table that is not small, in the plan of another statement.
  [[nodiscard]] bool reads_again(const std::string& sql) const;
  [[nodiscard]] bool leads_an_index(const ColumnFact& fact) const;
  // A name that stands nowhere in the statement.
  [[nodiscard]] std::string unused_name(std::string_view base) const;

 private:
  [[nodiscard]] std::string without_numbers(std::string sql) const;
  [[nodiscard]] std::string edited(std::vector<Edit>& edits) const;
  [[nodiscard]] bool is_small(std::string_view source) const;
  [[nodiscard]] bool compiles_alike(const std::string& sql, const char* equivalence) const;

  bool moves_ = false;  // a parameter has no number of its own
};

// The rules, by what they look at.
void rewrite_conditions(Rewriter& rewriter);
void rewrite_calls(Rewriter& rewriter);
void rewrite_subqueries(Rewriter& rewriter);
void rewrite_shapes(Rewriter& rewriter);
// Those that keep the plan, or are another statement anyway.
void rewrite_whole(Rewriter& rewriter);

// 'it''s'
[[nodiscard]] std::string as_literal(std::string_view text);

}  // namespace mcp::query
