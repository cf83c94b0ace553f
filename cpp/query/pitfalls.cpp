// pitfalls.cpp: ways to write a statement that are slow or not what was meant, whatever its
// indexes. Found in the text, with the schema's facts and the plan as evidence, by one function for
// each:
//
//   not-in-null          NOT IN (SELECT x ...) where x may be NULL: one NULL, and no row is left
//   offset-paging        OFFSET reads all that it skips
//   or-on-columns        an OR over several columns makes SQLite read every row
//   correlated-subquery  a subquery that reads a table for every row of the outer query
//   distinct-fan-out     DISTINCT takes back the rows that a join has multiplied
//   collation-mismatch   a collation that the column's index does not have
#include <algorithm>
#include <charconv>
#include <set>
#include <string>

#include "query/findings.h"

namespace mcp::query {
namespace {

using sqlite::Token;
using sqlite::TokenKind;

constexpr long kDeepOffset = 100;

class PitfallFinder {
 public:
  explicit PitfallFinder(const IssueInput& input)
      : outline_(input.outline), schema_(input.schema), plan_(input.plan) {}

  std::vector<Issue> run() {
    for (std::size_t i = 0; i < outline_.tokens.size(); ++i) {
      if (token(i).is("IN") && is_negated(i)) check_not_in(i);
      if (token(i).is("OFFSET") || token(i).is("LIMIT")) check_offset(i);
      if (token(i).is("OR")) check_or(i);
    }
    for (std::size_t scope = 0; scope < outline_.scopes.size(); ++scope) {
      check_distinct(scope);
      for (const Comparison& comparison : outline_.scopes[scope].comparisons) {
        check_collation(scope, comparison);
      }
    }
    for (const PlanStep& step : plan_) check_correlated(step);
    return std::move(issues_);
  }

 private:
  [[nodiscard]] const Token& token(std::size_t number) const {
    static const Token end;
    return number < outline_.tokens.size() ? outline_.tokens[number] : end;
  }

  void add(Issue issue, std::size_t first, std::size_t last) {
    const bool known = std::any_of(issues_.begin(), issues_.end(), [&issue](const Issue& other) {
      return std::string_view(other.code) == issue.code && other.table == issue.table &&
             other.column == issue.column;
    });
    if (known) return;
    set_place(issue, outline_, first, last);
    issues_.push_back(std::move(issue));
  }

  [[nodiscard]] std::size_t scope_at(std::size_t verb) const {
    for (std::size_t i = 0; i < outline_.scopes.size(); ++i) {
      if (outline_.scopes[i].verb_at == verb) return i;
    }
    return kNowhere;
  }

  // x NOT IN, NOT x IN, NOT (x IN
  [[nodiscard]] bool is_negated(std::size_t in) const {
    if (in == 0 || token(in - 1).is("NOT")) return in != 0;
    for (const Scope& scope : outline_.scopes) {
      for (const Comparison& one : scope.comparisons) {
        if (one.at != in || one.left.kind == OperandKind::kOther) continue;
        std::size_t before = one.left.first;
        while (before > 0 && token(before - 1).is('(')) --before;
        return before > 0 && token(before - 1).is("NOT");
      }
    }
    return false;
  }

  // x NOT IN (SELECT column FROM ...), or a call over that column; x NOT IN (1, NULL).
  void check_not_in(std::size_t in) {
    if (!token(in + 1).is('(')) return;
    if (!token(in + 2).is("SELECT")) {
      check_null_in_list(in);
      return;
    }
    const std::size_t scope = scope_at(in + 2);
    std::size_t first = in + 3;
    if (token(first).is("DISTINCT")) ++first;
    if (scope == kNowhere || always_has_value(first)) return;
    for (std::size_t at = first; at < outline_.tokens.size() && !token(at).is("FROM"); ++at) {
      if (token(at).is("SELECT") || token(at).is("CASE") || token(at).is("OVER")) return;
      if (!token(at).is_name() || token(at + 1).is('(')) continue;
      ColumnName column{{}, sqlite::unquoted(token(at).text)};
      if (token(at + 1).is('.') && token(at + 2).is_name()) {
        column = {column.name, sqlite::unquoted(token(at + 2).text)};
        at += 2;
      }
      const ResolvedColumn found = resolve_column(outline_, schema_, scope, column);
      if (!found) return;
      add_not_in(scope, found, in, at);
    }
  }

  // coalesce(), ifnull() and count() are there to give one.
  [[nodiscard]] bool always_has_value(std::size_t call) const {
    if (!token(call + 1).is('(')) return false;
    const std::string_view name = sqlite::unquoted(token(call).text);
    return same_name(name, "coalesce") || same_name(name, "ifnull") || same_name(name, "count") ||
           same_name(name, "total");
  }

  void check_null_in_list(std::size_t in) {
    for (std::size_t at = in + 2; at < outline_.tokens.size() && !token(at).is(')'); ++at) {
      if (token(at).is('(') || token(at).is("SELECT")) return;
      const bool whole = (token(at - 1).is('(') || token(at - 1).is(',')) &&
                         (token(at + 1).is(')') || token(at + 1).is(','));
      if (!token(at).is("NULL") || !whole) continue;
      add({.code = "not-in-null",
           .severity = Severity::kHigh,
           .message = "NULL is in the list: NOT IN is true for no row",
           .suggestion = "Take NULL out of the list, and add IS NOT NULL where that was meant.",
           .table = {},
           .column = {},
           .evidence = {}},
          in, at);
    }
  }

  void add_not_in(std::size_t scope, const ResolvedColumn& found, std::size_t at,
                  std::size_t last) {
    if (found.column->not_null || found.table->rowid_alias() == found.column) return;
    if (found.table->without_rowid && found.column->primary_key > 0) return;
    if (found.table->kind != TableKind::kTable || is_compared(scope, found)) return;
    add({.code = "not-in-null",
         .severity = Severity::kWarning,
         .message = found.table->name + "." + found.column->name +
                    " may be NULL: one NULL in the list, and NOT IN is true for no row",
         .suggestion = "Use NOT EXISTS with the comparison inside, or add " + found.column->name +
                       " IS NOT NULL to the subquery.",
         .table = found.table->name,
         .column = found.column->name,
         .evidence = found.table->name + "." + found.column->name + " has no NOT NULL"},
        at, last);
  }

  // Whatever it is compared with, NULL is not.
  [[nodiscard]] bool is_compared(std::size_t scope, const ResolvedColumn& column) const {
    const auto& comparisons = outline_.scopes[scope].comparisons;
    return std::any_of(comparisons.begin(), comparisons.end(), [&](const Comparison& one) {
      const bool is_null = one.op == "IS" && token(one.at + 1).is("NULL");
      if (is_null || one.left.kind != OperandKind::kColumn) return false;
      return resolve_column(outline_, schema_, scope, one.left.column).column == column.column;
    });
  }

  // OFFSET n, and LIMIT n, count.
  void check_offset(std::size_t at) {
    const Token& value = token(at + 1);
    if (token(at).is("LIMIT") && !token(at + 2).is(',')) return;
    long rows = 0;
    const bool calculated =
        value.is('(') || token(at + 2).kind == TokenKind::kOperator || token(at + 2).is('*');
    const bool parameter = value.kind == TokenKind::kParameter || calculated;
    if (value.kind == TokenKind::kNumber) {
      std::from_chars(value.text.data(), value.text.data() + value.text.size(), rows);
    }
    if (!parameter && rows < kDeepOffset) return;
    add({.code = "offset-paging",
         .severity = parameter ? Severity::kInfo : Severity::kWarning,
         .message = parameter ? "OFFSET reads and throws away all the rows that it skips"
                              : "OFFSET reads and throws away " + std::to_string(rows) + " rows",
         .suggestion =
             "Page by key: WHERE (the columns of ORDER BY) > (those of the last row seen).",
         .table = {},
         .column = {},
         .evidence = {}},
        at, at + 1);
  }

  // Nothing but parentheses is between the two.
  [[nodiscard]] bool closes(std::size_t last, std::size_t at) const {
    while (++last < at && token(last).is(')')) {
    }
    return last == at;
  }
  [[nodiscard]] bool opens(std::size_t first, std::size_t at) const {
    while (--first > at && token(first).is('(')) {
    }
    return first == at;
  }

  [[nodiscard]] const Comparison* comparison_with(std::size_t at, bool ends,
                                                  std::size_t& scope) const {
    for (scope = 0; scope < outline_.scopes.size(); ++scope) {
      for (const Comparison& one : outline_.scopes[scope].comparisons) {
        if (one.left.kind != OperandKind::kColumn) continue;
        if (ends ? closes(one.right.last, at) : opens(one.left.first, at)) return &one;
      }
    }
    return nullptr;
  }

  // a = 1 OR b = 2, where the plan reads the whole table.
  void check_or(std::size_t at) {
    std::size_t scope = 0;
    const Comparison* before = comparison_with(at, true, scope);
    const Comparison* after = comparison_with(at, false, scope);
    if (before == nullptr || after == nullptr) return;
    const ResolvedColumn left = resolve_column(outline_, schema_, scope, before->left.column);
    const ResolvedColumn right = resolve_column(outline_, schema_, scope, after->left.column);
    if (!left || !right || left.column == right.column || left.table != right.table) return;
    const PlanStep* scan = scan_of(*left.table);
    if (scan == nullptr || is_tiny(*left.table)) return;
    add({.code = "or-on-columns",
         .severity = Severity::kWarning,
         .message = "an OR over " + left.column->name + " and " + right.column->name +
                    " reads every row unless each has an index",
         .suggestion = "Give each arm of the OR an index of its own, or write a UNION of two "
                       "queries.",
         .table = left.table->name,
         .column = left.column->name,
         .evidence = scan->detail},
        before->left.first, after->right.last);
  }

  [[nodiscard]] const PlanStep* scan_of(const Table& table) const {
    for (const PlanStep& step : plan_) {
      if (step.kind == StepKind::kScan &&
          resolve_source(outline_, schema_, step.source) == &table) {
        return &step;
      }
    }
    return nullptr;
  }

  void check_correlated(const PlanStep& step) {
    if (!step.detail.starts_with("CORRELATED")) return;
    for (const PlanStep& inner : plan_) {
      if (inner.parent != step.id || (inner.kind != StepKind::kScan && !inner.automatic)) continue;
      const Table* table = resolve_source(outline_, schema_, inner.source);
      if (table == nullptr || table->kind != TableKind::kTable || is_tiny(*table)) continue;
      const std::size_t verb = verb_of(inner.source);
      add({.code = "correlated-subquery",
           .severity = Severity::kHigh,
           .message = "the subquery reads " + table->name + " again for every row around it",
           .suggestion = "Index the columns of " + table->name +
                         " that it compares, or join with one grouped subquery.",
           .table = table->name,
           .column = {},
           .evidence = step.detail + ": " + inner.detail},
          verb, verb);
    }
  }

  [[nodiscard]] std::size_t verb_of(std::string_view source) const {
    for (const Scope& scope : outline_.scopes) {
      for (const Source& one : scope.sources) {
        if (scope.parent >= 0 && same_name(one.alias, source)) return scope.verb_at;
      }
    }
    return kNowhere;
  }

  [[nodiscard]] const Table* source_named(const Scope& scope, std::string_view alias) const {
    for (const Source& source : scope.sources) {
      if (same_name(source.alias, alias)) return schema_.find(source.table);
    }
    return nullptr;
  }

  // The rowid, or all columns of a unique index without NULL.
  [[nodiscard]] static bool holds_a_key(const Table& table,
                                        const std::set<const Column*>& columns) {
    if (table.kind != TableKind::kTable) return false;
    if (table.rowid_alias() != nullptr && columns.count(table.rowid_alias()) != 0) return true;
    return std::any_of(table.indexes.begin(), table.indexes.end(), [&](const Index& index) {
      return index.unique && !index.partial &&
             std::all_of(index.columns.begin(), index.columns.end(), [&](const auto& key) {
               const Column* column = table.find_column(key.name);
               const bool filled =
                   column != nullptr &&
                   (column->not_null || (table.without_rowid && column->primary_key > 0));
               return filled && columns.count(column) != 0;
             });
    });
  }

  // SELECT DISTINCT t.key, ... FROM t JOIN u ...: only u's rows make t's come twice.
  void check_distinct(std::size_t number) {
    const Scope& scope = outline_.scopes[number];
    if (!scope.distinct || scope.sources.size() < 2 || scope.derived || scope.group_by) return;
    const Table* table = nullptr;
    std::set<const Column*> columns;
    for (std::size_t at = scope.distinct_at + 1;; ++at) {
      if (!token(at).is_name()) return;
      const std::string_view first = sqlite::unquoted(token(at).text);
      const bool qualified = token(at + 1).is('.');
      if (qualified) at += 2;
      const std::string_view last = sqlite::unquoted(token(at).text);
      const Table* of = nullptr;
      if (qualified && token(at).is('*')) {
        of = source_named(scope, first);
        for (std::size_t i = 0; of != nullptr && i < of->columns.size(); ++i) {
          columns.insert(&of->columns[i]);
        }
      } else {
        const ColumnName name{qualified ? first : std::string_view(), last};
        const ResolvedColumn column = resolve_column(outline_, schema_, number, name);
        of = column.table;
        columns.insert(column.column);
      }
      if (of == nullptr || (table != nullptr && of != table)) return;
      table = of;
      ++at;
      if (token(at).is("AS") && token(at + 1).is_name()) at += 2;
      if (token(at).is("FROM")) break;
      if (!token(at).is(',')) return;
    }
    if (!holds_a_key(*table, columns)) return;
    add({.code = "distinct-fan-out",
         .severity = Severity::kWarning,
         .message = "DISTINCT takes back the rows of " + table->name + " that the join multiplies",
         .suggestion = "Ask with EXISTS for what is joined only to be there: nothing is multiplied "
                       "then, and nothing sorted.",
         .table = table->name,
         .column = {},
         .evidence = "the columns hold the key of " + table->name},
        scope.distinct_at, scope.distinct_at);
  }

  [[nodiscard]] static bool has_index(const ResolvedColumn& column, std::string_view collation) {
    const auto& indexes = column.table->indexes;
    return std::any_of(indexes.begin(), indexes.end(), [&](const Index& index) {
      return std::any_of(index.columns.begin(), index.columns.end(), [&](const auto& key) {
        return same_name(key.name, column.column->name) && same_name(key.collation, collation);
      });
    });
  }

  void check_collation(std::size_t scope, const Comparison& comparison) {
    if (comparison.left.kind != OperandKind::kColumn) return;
    const ResolvedColumn left = resolve_column(outline_, schema_, scope, comparison.left.column);
    if (!left || left.table->kind != TableKind::kTable) return;
    const std::string& own = left.column->collation;
    if (comparison.right.kind == OperandKind::kColumn) {
      const ResolvedColumn right =
          resolve_column(outline_, schema_, scope, comparison.right.column);
      if (right && !same_name(own, right.column->collation) &&
          has_index(right, right.column->collation)) {
        add_mismatch(right, own, comparison);
      }
      return;
    }
    const std::size_t first = std::min(comparison.left.first, comparison.at);
    for (std::size_t i = first; i <= comparison.right.last + 2; ++i) {
      if (!token(i).is("COLLATE")) continue;
      const std::string_view asked = sqlite::unquoted(token(i + 1).text);
      if (same_name(asked, own) || !has_index(left, own) || has_index(left, asked)) return;
      add_mismatch(left, asked, comparison);
      return;
    }
  }

  void add_mismatch(const ResolvedColumn& column, std::string_view asked,
                    const Comparison& comparison) {
    const std::string name = column.column->name;
    const std::string collation(asked);
    Issue issue{
        .code = "collation-mismatch",
        .severity = Severity::kWarning,
        .message = "compared by " + collation + ", but the index on " + name + " is in " +
                   column.column->collation + " order and cannot be used",
        .suggestion = "Index " + name + " COLLATE " + collation +
                      ", or compare by the column's own collation.",
        .table = column.table->name,
        .column = name,
        .evidence = column.table->name + "." + name + " COLLATE " + column.column->collation};
    Issue placed = issue;
    set_place(placed, outline_, comparison);
    const bool known = std::any_of(issues_.begin(), issues_.end(), [&issue](const Issue& other) {
      return std::string_view(other.code) == issue.code && other.column == issue.column;
    });
    if (!known) issues_.push_back(std::move(placed));
  }

  const Outline& outline_;
  const Schema& schema_;
  const std::vector<PlanStep>& plan_;
  std::vector<Issue> issues_;
};

}  // namespace

std::vector<Issue> find_pitfalls(const IssueInput& input) { return PitfallFinder(input).run(); }

}  // namespace mcp::query
