// facts.h: what the schema proves about the names of a statement: whose column each is, and whether
// it can be NULL, how it compares, and which rows it tells apart.
//
// A name of which nothing is certain (of a view, a subquery, a CTE, an alias, or of two tables) has
// no fact. Immutable; the tree and the schema must outlive it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "query/schema.h"
#include "query/syntax.h"

namespace mcp::query {

struct ColumnFact {
  const Table* table = nullptr;
  const Column* column = nullptr;  // null: the rowid by one of its own names
  int core = -1;
  int source = -1;
  bool not_null = false;

  explicit operator bool() const { return table != nullptr; }
  [[nodiscard]] bool is_rowid() const { return column == nullptr || is_alias(); }
  [[nodiscard]] bool is_alias() const {
    return column != nullptr && table->rowid_alias() == column;
  }
  [[nodiscard]] Affinity affinity() const {
    return column == nullptr ? Affinity::kInteger : column->affinity;
  }
  [[nodiscard]] std::string_view collation() const {
    return column == nullptr ? std::string_view("BINARY") : column->collation;
  }
  [[nodiscard]] bool is_binary() const { return same_name(collation(), "BINARY"); }
  [[nodiscard]] bool same_column(const ColumnFact& other) const {
    return table != nullptr && core == other.core && source == other.source &&
           (column == other.column || (is_rowid() && other.is_rowid()));
  }
  [[nodiscard]] bool same_source(const ColumnFact& other) const {
    return core == other.core && source == other.source;
  }
};

class Facts {
 public:
  Facts(const Syntax& tree, const Schema& schema);

  // Of an expression that is a column, in parentheses or not, as `core` sees it.
  [[nodiscard]] ColumnFact column(int expr, int core) const;
  // The table of a source; null where it is no ordinary table.
  [[nodiscard]] const Table* table(const SourceItem& source) const;

  // The terms of AND; parentheses are looked through.
  [[nodiscard]] std::vector<int> conjuncts(int expr) const;
  // Of WHERE, and of ON where the join is no outer one.
  [[nodiscard]] std::vector<int> conditions(int core) const;
  // Where NULL counts as false: below WHERE, ON and HAVING through AND and OR.
  [[nodiscard]] bool is_positive(int expr) const { return positive_[at(expr)]; }
  [[nodiscard]] int parent(int expr) const { return parents_[at(expr)]; }
  // The core that an expression stands in.
  [[nodiscard]] int core(int expr) const { return cores_[at(expr)]; }

  // Every column below an expression, those in its subqueries included. False where the meaning of
  // one is not certain.
  [[nodiscard]] bool columns_below(int expr, std::vector<ColumnFact>& found) const;
  [[nodiscard]] bool has_call(int expr) const;
  [[nodiscard]] bool has_select(int expr) const;
  // An aggregate in the results, in HAVING or in the ORDER BY; or GROUP BY, or a window.
  [[nodiscard]] bool is_grouped(int core) const;

  // A condition of the core is not true where the column is NULL.
  [[nodiscard]] bool rejects_null(int core, const ColumnFact& column) const;
  // No two rows of the table are equal in these columns, none of which is NULL.
  [[nodiscard]] bool hold_a_key(const Table& table, const std::vector<ColumnFact>& columns) const;
  // Every row of the core's join is told apart by the plain columns among `exprs`.
  [[nodiscard]] bool tell_rows_apart(int core, const std::vector<int>& exprs) const;

 private:
  static std::size_t at(int number) { return static_cast<std::size_t>(number); }
  void walk(int expr, int core, int parent, bool positive);
  [[nodiscard]] int matches(const Core& core, const ColumnName& name, bool& certain) const;
  [[nodiscard]] bool may_have(const SourceItem& source, std::string_view name) const;
  [[nodiscard]] bool is_pinned(int core, int source, const std::vector<bool>& pinned) const;
  [[nodiscard]] bool is_pinned_key(int core, int source, const std::vector<bool>& pinned,
                                   const Column* key, std::string_view collation) const;

  const Syntax& tree_;
  const Schema& schema_;
  std::vector<int> parents_;
  std::vector<int> cores_;
  std::vector<bool> positive_;
};

[[nodiscard]] bool is_aggregate_name(std::string_view name);
[[nodiscard]] bool is_literal(const Syntax& tree, int expr);  // also -1
[[nodiscard]] bool is_value(const Syntax& tree, int expr);    // a literal or a parameter

}  // namespace mcp::query
