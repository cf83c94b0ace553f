// issues.cpp: one function for each finding.
#include "query/issues.h"

#include <algorithm>
#include <utility>

#include "query/findings.h"
#include "query/row_estimates.h"

namespace mcp::query {
namespace {

constexpr double kFewSorted_rows = 100;
constexpr double kFewSortedForTheFirst_rows = 20;

std::string rows_of(const Table& table) {
  if (!table.rows.has_value()) return "all rows";
  return (table.exact ? "all " : "about ") + std::to_string(*table.rows) + " rows";
}

class Finder {
 public:
  explicit Finder(const IssueInput& input)
      : outline_(input.outline), schema_(input.schema), plan_(input.plan), bound_(input.bound) {}

  std::vector<Issue> run() {
    for (std::size_t i = 0; i < outline_.scopes.size(); ++i) {
      check_result(outline_.scopes[i]);
      check_where(outline_.scopes[i]);
      for (const Comparison& comparison : outline_.scopes[i].comparisons) {
        check_pattern(i, comparison);
        check_expression(i, comparison);
        check_types(i, comparison);
      }
    }
    for (const PlanStep& step : plan_) check_step(step);
    return std::move(issues_);
  }

 private:
  void add(Issue issue, std::size_t first = kNowhere, std::size_t last = kNowhere) {
    set_place(issue, outline_, first, last == kNowhere ? first : last);
    keep(std::move(issue));
  }
  void add(Issue issue, const Comparison& comparison) {
    set_place(issue, outline_, comparison);
    keep(std::move(issue));
  }

  void keep(Issue issue) {
    const bool known = std::any_of(issues_.begin(), issues_.end(), [&issue](const Issue& other) {
      return std::string_view(other.code) == issue.code && other.table == issue.table &&
             other.column == issue.column;
    });
    if (!known) issues_.push_back(std::move(issue));
  }

  [[nodiscard]] const Table* only_table(const Scope& scope) const {
    if (scope.sources.size() != 1 || scope.derived) return nullptr;
    const Table* table = schema_.find(scope.sources[0].table);
    return table != nullptr && table->kind == TableKind::kTable ? table : nullptr;
  }

  void check_result(const Scope& scope) {
    if (!scope.star || scope.in_exists || scope.sources.empty()) return;
    const Table* table = schema_.find(scope.sources[0].table);
    add({.code = "select-star",
         .severity = Severity::kInfo,
         .message = "* reads every column" +
                    (table == nullptr
                         ? std::string()
                         : ", " + std::to_string(table->columns.size()) + " of " + table->name),
         .suggestion = "Name the columns that are used: an index can then cover the query, and a "
                       "change of the schema does not change the result.",
         .table = table == nullptr ? "" : table->name,
         .column = {}},
        scope.star_at);
  }

  void check_where(const Scope& scope) {
    if (scope.where) return;
    const Table* table = only_table(scope);
    if (table == nullptr) return;
    if (scope.verb == Verb::kUpdate || scope.verb == Verb::kDelete) {
      if (scope.limit) return;
      add({.code = "missing-where",
           .severity = Severity::kHigh,
           .message =
               std::string(scope.verb == Verb::kUpdate ? "UPDATE changes " : "DELETE removes ") +
               rows_of(*table) + " of " + table->name,
           .suggestion = "Add a WHERE clause, unless every row is meant.",
           .table = table->name,
           .column = {}},
          scope.verb_at);
      return;
    }
    const bool whole_table = scope.verb == Verb::kSelect && scope.parent < 0 && !scope.limit &&
                             !scope.group_by && !scope.aggregate && !scope.distinct;
    if (!whole_table) return;
    add({.code = "missing-where",
         .severity = is_tiny(*table) ? Severity::kInfo : Severity::kWarning,
         .message = "returns " + rows_of(*table) + " of " + table->name +
                    (is_tiny(*table) ? ", a small table" : ""),
         .suggestion = "Add a WHERE clause or a LIMIT, unless every row is meant.",
         .table = table->name,
         .column = {}},
        scope.sources[0].at);
  }

  // The table is small, or only rows that a search has found are looked at.
  [[nodiscard]] bool costs_little(const Table& table) const {
    if (is_tiny(table)) return true;
    bool searched = false;
    for (const PlanStep& step : plan_) {
      if (resolve_source(outline_, schema_, step.source) != &table) continue;
      if (step.kind == StepKind::kScan && !scans_partial_index(table, step)) return false;
      if (step.detail.find("(ANY(") != std::string::npos || step.automatic) return false;
      searched = searched || step.kind == StepKind::kSearch;
    }
    return searched;
  }

  void check_pattern(std::size_t scope, const Comparison& comparison) {
    const bool like = comparison.op == "LIKE";
    if (!like && comparison.op != "GLOB") return;
    const Operand& pattern = comparison.right;
    if (pattern.kind != OperandKind::kText && pattern.kind != OperandKind::kPattern) return;
    const std::string_view text = sqlite::unquoted(pattern.text);
    const bool leading = !text.empty() && (like ? text[0] == '%' || text[0] == '_'
                                                : text[0] == '*' || text[0] == '?');
    if (!leading) return;
    const ResolvedColumn column = column_of(scope, comparison.left);
    add({.code = "leading-wildcard-like",
         .severity = column && costs_little(*column.table) ? Severity::kInfo : Severity::kWarning,
         .message = "a pattern that begins with a wildcard is compared with every row",
         .suggestion = "Search by prefix, or keep the words in an FTS5 table and use MATCH.",
         .table = column ? column.table->name : "",
         .column = column ? column.column->name : ""},
        comparison);
  }

  // +column: the way to say that no index is wanted.
  [[nodiscard]] bool is_hint(const Operand& operand) const {
    return outline_.tokens[operand.first].is('+') && operand.last <= operand.first + 3;
  }

  // A column of another source, which the plan looks up by what this operand gives.
  [[nodiscard]] bool is_looked_up(std::size_t scope, const Operand& other,
                                  const Operand& by) const {
    if (other.kind != OperandKind::kColumn ||
        same_name(other.column.qualifier, by.column.qualifier))
      return false;
    const ResolvedColumn column = column_of(scope, other);
    return column && std::any_of(plan_.begin(), plan_.end(), [&](const PlanStep& step) {
             return step.kind == StepKind::kSearch && !step.automatic &&
                    resolve_source(outline_, schema_, step.source) == column.table &&
                    (same_name(step.source, other.column.qualifier) ||
                     other.column.qualifier.empty()) &&
                    (step.detail.find(column.column->name + "=?") != std::string::npos ||
                     column.table->rowid_alias() == column.column);
           });
  }

  void check_expression(std::size_t scope, const Comparison& comparison) {
    for (const Operand* operand : {&comparison.left, &comparison.right}) {
      if (operand->kind != OperandKind::kExpression || is_hint(*operand)) continue;
      const Operand& other = operand == &comparison.left ? comparison.right : comparison.left;
      if (is_looked_up(scope, other, *operand)) continue;
      const ResolvedColumn column = column_of(scope, *operand);
      if (!column || has_expression_index(*column.table)) continue;
      const std::string name = column.column->name;
      const bool call = !operand->function.empty();
      add({.code = "function-on-column",
           .severity = costs_little(*column.table) ? Severity::kInfo : Severity::kWarning,
           .message = call ? lower(operand->function) + "() over " + name +
                                 " hides the column from its indexes"
                           : "arithmetic on " + name + " hides the column from its indexes",
           .suggestion =
               "Compare the bare column, for example with a range of values, or index the "
               "expression itself.",
           .table = column.table->name,
           .column = name},
          operand->first, operand->last);
    }
  }

  // The planner uses an index on an expression only where the query has the same one, which its
  // plan then shows as a search.
  [[nodiscard]] bool has_expression_index(const Table& table) const {
    return std::any_of(table.indexes.begin(), table.indexes.end(), [this](const Index& index) {
      const bool expression =
          std::any_of(index.columns.begin(), index.columns.end(),
                      [](const IndexColumn& column) { return column.name.empty(); });
      return expression && std::any_of(plan_.begin(), plan_.end(), [&index](const PlanStep& step) {
               return step.kind == StepKind::kSearch && step.index == index.name;
             });
    });
  }

  void check_types(std::size_t scope, const Comparison& comparison) {
    const ResolvedColumn left = column_of(scope, comparison.left);
    const ResolvedColumn right = column_of(scope, comparison.right);
    const bool both = comparison.left.kind == OperandKind::kColumn &&
                      comparison.right.kind == OperandKind::kColumn;
    if (both && left && right) {
      check_columns(left, right, comparison);
    } else if (left && comparison.left.kind == OperandKind::kColumn) {
      check_value(left, comparison.right, comparison);
    } else if (right && comparison.right.kind == OperandKind::kColumn) {
      check_value(right, comparison.left, comparison);
    }
  }

  void check_columns(const ResolvedColumn& left, const ResolvedColumn& right,
                     const Comparison& comparison) {
    if (is_numeric(left.column->affinity) == is_numeric(right.column->affinity)) return;
    const bool left_is_text = !is_numeric(left.column->affinity);
    const ResolvedColumn& text = left_is_text ? left : right;
    const ResolvedColumn& number = left_is_text ? right : left;
    add({.code = "implicit-cast",
         .severity = Severity::kWarning,
         .message = text.table->name + "." + text.column->name +
                    " is converted to a number in every "
                    "row to be compared with " +
                    number.table->name + "." + number.column->name,
         .suggestion = "Declare both columns with the same type: an index on the converted one "
                       "cannot be used.",
         .table = text.table->name,
         .column = text.column->name,
         .evidence = declared(text) + ", " + declared(number)},
        comparison);
  }

  static std::string declared(const ResolvedColumn& column) {
    return column.table->name + "." + column.column->name + " " +
           (column.column->type.empty() ? "without a type" : column.column->type);
  }

  // DATE, DATETIME and TIMESTAMP have numeric affinity, and hold text.
  static bool is_date(const Column& column) {
    const std::string type = lower(column.type);
    return column.affinity == Affinity::kNumeric &&
           (type.find("date") != std::string::npos || type.find("time") != std::string::npos);
  }

  void check_value(const ResolvedColumn& column, const Operand& value,
                   const Comparison& comparison) {
    const std::string_view op = comparison.op;
    if (op == "LIKE" || op == "GLOB") return;
    const bool number = is_numeric(column.column->affinity);
    const bool wants_text = column.column->affinity == Affinity::kText;
    bool is_number = value.kind == OperandKind::kNumber;
    bool is_text = value.kind == OperandKind::kText;
    if (value.kind == OperandKind::kList && !value.text.empty()) {
      is_text = value.text[0] == '\'';
      is_number = !is_text;
    }
    for (const int parameter : value.parameters) {
      const auto at = static_cast<std::size_t>(parameter) - 1;
      if (parameter < 1 || at >= bound_.size()) continue;
      is_number = is_number || bound_[at] == BoundType::kNumber;
      is_text = is_text || bound_[at] == BoundType::kText;
    }
    if (!(wants_text && is_number) && !(number && is_text)) return;
    if (number && is_date(*column.column)) return;
    add({.code = "implicit-cast",
         .severity = Severity::kWarning,
         .message = number ? "text is compared with the number " + column.column->name +
                                 "; text that is no number never equals it"
                           : "a number is compared with the text " + column.column->name +
                                 " by its digits; '05' is not equal to 5",
         .suggestion = number ? "Give the value as a number." : "Give the value as text.",
         .table = column.table->name,
         .column = column.column->name,
         .evidence = declared(column)},
        comparison);
  }

  void check_step(const PlanStep& step) {
    if (step.kind == StepKind::kTempBTree) {
      check_sort(step);
    } else if (step.automatic) {
      const Table* table = resolve_source(outline_, schema_, step.source);
      add({.code = "auto-index",
           .severity = Severity::kHigh,
           .message = "SQLite builds an index on " + step.source + " for every run of the query",
           .suggestion = "Create that index once.",
           .table = table == nullptr ? "" : table->name,
           .column = {},
           .evidence = step.detail},
          source_token(step));
    } else if (step.kind == StepKind::kScan) {
      check_scan(step);
    }
  }

  void check_sort(const PlanStep& sort) {
    // One table's name, where the sort is of one table.
    const Table* table = nullptr;
    bool tiny = true;
    bool by_rowid = true;
    for (const PlanStep& step : plan_) {
      if (step.kind != StepKind::kScan && step.kind != StepKind::kSearch) continue;
      const Table* source = resolve_source(outline_, schema_, step.source);
      if (source == nullptr || !is_tiny(*source)) tiny = false;
      if (!finds_by_rowid(step)) by_rowid = false;
      if (step.parent == sort.parent && table == nullptr) table = source;
    }
    if (by_rowid) return;  // a handful of rows is sorted faster than anything is looked up
    const bool joins_results = sort.purpose == "UNION";
    const bool little = tiny || sorts_few_rows(outline_, plan_, sort);
    add({.code = "temp-b-tree",
         .severity = little ? Severity::kInfo : Severity::kWarning,
         .message = "rows are sorted for " + sort.purpose + " in a temporary b-tree",
         .suggestion = joins_results
                           ? "Use UNION ALL where no row can come twice, or where it may."
                           : "An index that has the columns of " + sort.purpose +
                                 " after those compared for equality gives the rows in order.",
         .table = table == nullptr ? "" : table->name,
         .column = {},
         .evidence = sort.detail},
        sorted_token(sort));
  }

  // Where the plan's step has its source in the text.
  [[nodiscard]] std::size_t source_token(const PlanStep& step) const {
    for (const Scope& scope : outline_.scopes) {
      for (const Source& source : scope.sources) {
        if (same_name(source.alias, step.source)) return source.at;
      }
    }
    return kNowhere;
  }

  [[nodiscard]] std::size_t sorted_token(const PlanStep& sort) const {
    for (const Scope& scope : outline_.scopes) {
      if (sort.purpose.find("ORDER") != std::string::npos && scope.order_by) return scope.order_at;
      if (sort.purpose.find("GROUP") != std::string::npos && scope.group_by) return scope.group_at;
      if (sort.purpose.find("DISTINCT") != std::string::npos && scope.distinct) {
        return scope.distinct_at;
      }
    }
    for (std::size_t at = 0; at < outline_.tokens.size(); ++at) {
      if (sort.purpose == "UNION" && outline_.tokens[at].is("UNION")) return at;
    }
    return kNowhere;
  }

  // At most a few rows come from it.
  [[nodiscard]] static bool finds_by_rowid(const PlanStep& step) {
    return step.kind == StepKind::kSearch &&
           step.detail.find("PRIMARY KEY (rowid=?)") != std::string::npos;
  }

  // The scope whose source the plan's step names; null when several could be meant or none.
  [[nodiscard]] const Scope* scope_of(const PlanStep& step) const {
    const Scope* found = nullptr;
    for (const Scope& scope : outline_.scopes) {
      for (const Source& source : scope.sources) {
        if (!same_name(source.alias, step.source) && !same_name(source.table, step.source))
          continue;
        if (found != nullptr && found != &scope) return nullptr;
        found = &scope;
      }
    }
    return found;
  }

  [[nodiscard]] bool sorts(const PlanStep& beside) const {
    return std::any_of(plan_.begin(), plan_.end(), [&beside](const PlanStep& step) {
      return step.kind == StepKind::kTempBTree && step.parent == beside.parent;
    });
  }

  // MATCH and the rowid are what a full-text table is searched by.
  void check_full_text(const PlanStep& step, const Table& table, const Scope* scope) {
    if (!step.detail.ends_with("VIRTUAL TABLE INDEX 0:") || scope == nullptr || !scope->where) {
      return;
    }
    add({.code = "full-scan",
         .severity = Severity::kHigh,
         .message = "reads every row of the full-text table " + table.name,
         .suggestion = "Search with MATCH: other comparisons do not use the full-text index.",
         .table = table.name,
         .column = {},
         .evidence = step.detail},
        source_token(step));
  }

  // min() or max() of a whole table, which an index or the rowid gives: the plan says no more of
  // it.
  [[nodiscard]] bool is_extreme_of_all(const PlanStep& step) const {
    return step.detail.starts_with("SEARCH") &&
           std::any_of(outline_.scopes.begin(), outline_.scopes.end(), [&step](const Scope& scope) {
             return scope.aggregate && !scope.where && scope.sources.size() == 1 &&
                    (same_name(scope.sources[0].alias, step.source) ||
                     same_name(scope.sources[0].table, step.source));
           });
  }

  void check_scan(const PlanStep& step) {
    const Table* table = resolve_source(outline_, schema_, step.source);
    if (table == nullptr || is_extreme_of_all(step)) return;
    const Scope* scope = scope_of(step);
    if (table->full_text) check_full_text(step, *table, scope);
    if (table->kind != TableKind::kTable || scans_partial_index(*table, step)) return;
    if (scope != nullptr && !scope->where && scope->sources.size() == 1) {
      if (scope->aggregate || scope->group_by || scope->distinct) return;  // all are asked for
      if (scope->limit && !sorts(step)) return;                            // stops after a few rows
    }
    const bool every_row = scope != nullptr && !scope->where && scope->sources.size() == 1;
    std::string message = "reads " + rows_of(*table) + " of " + table->name;
    std::string suggestion =
        "An index on the columns that are compared lets SQLite read only the "
        "rows that match.";
    Severity severity = Severity::kHigh;
    if (is_tiny(*table)) {
      message += "; a table this small is best scanned";
      suggestion = "Nothing to do while the table is this small.";
      severity = Severity::kInfo;
    } else if (every_row) {
      suggestion = "Nothing in the query narrows the rows: add a WHERE clause or a LIMIT.";
      severity = Severity::kWarning;
    } else if (step.covering) {
      message += " through the index " + step.index;
      severity = Severity::kWarning;
    }
    add({.code = "full-scan",
         .severity = severity,
         .message = std::move(message),
         .suggestion = std::move(suggestion),
         .table = table->name,
         .column = {},
         .evidence = step.detail},
        source_token(step));
  }

  [[nodiscard]] ResolvedColumn column_of(std::size_t scope, const Operand& operand) const {
    if (operand.kind != OperandKind::kColumn && operand.kind != OperandKind::kExpression) return {};
    return resolve_column(outline_, schema_, scope, operand.column);
  }

  const Outline& outline_;
  const Schema& schema_;
  const std::vector<PlanStep>& plan_;
  const std::vector<BoundType>& bound_;
  std::vector<Issue> issues_;
};

}  // namespace

const char* name_of(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kHigh:
      return "high";
  }
  return "";
}

void set_place(Issue& issue, const Outline& outline, std::size_t first, std::size_t last) {
  if (first >= outline.tokens.size() || last >= outline.tokens.size() || last < first) return;
  const char* start = outline.sql.data();
  const std::string_view end = outline.tokens[last].text;
  issue.begin = static_cast<std::size_t>(outline.tokens[first].text.data() - start);
  issue.end = static_cast<std::size_t>(end.data() + end.size() - start);
}

void set_place(Issue& issue, const Outline& outline, const Comparison& comparison) {
  const std::size_t first = std::min(comparison.left.first, comparison.at);
  const std::size_t last = std::max(comparison.right.last, comparison.at);
  const bool known = comparison.left.last > 0 || comparison.left.kind != OperandKind::kOther;
  set_place(issue, outline, known ? first : comparison.at, last);
}

std::vector<Issue> find_issues(const IssueInput& input) {
  std::vector<Issue> found = Finder(input).run();
  for (Finding* find : kFindings) {
    for (Issue& issue : find(input)) found.push_back(std::move(issue));
  }
  return found;
}

bool sorts_few_rows(const Outline& outline, const std::vector<PlanStep>& plan,
                    const PlanStep& sort) {
  const std::optional<double> rows = sorted_rows(plan, sort);
  const bool first_few =
      std::any_of(outline.scopes.begin(), outline.scopes.end(),
                  [](const Scope& scope) { return scope.order_by && scope.limit; });
  return rows.has_value() && *rows <= (first_few ? kFewSortedForTheFirst_rows : kFewSorted_rows);
}

bool scans_partial_index(const Table& table, const PlanStep& step) {
  return std::any_of(table.indexes.begin(), table.indexes.end(), [&step](const Index& index) {
    return index.partial && index.name == step.index;
  });
}

const Table* resolve_source(const Outline& outline, const Schema& schema, std::string_view source) {
  for (const Scope& scope : outline.scopes) {
    for (const Source& candidate : scope.sources) {
      if (same_name(candidate.alias, source)) return schema.find(candidate.table);
    }
  }
  return schema.find(source);
}

ResolvedColumn resolve_column(const Outline& outline, const Schema& schema, std::size_t scope,
                              const ColumnName& name) {
  if (name.name.empty()) return {};
  for (int at = static_cast<int>(scope); at >= 0;
       at = outline.scopes[static_cast<std::size_t>(at)].parent) {
    for (const Source& source : outline.scopes[static_cast<std::size_t>(at)].sources) {
      if (!name.qualifier.empty() && !same_name(source.alias, name.qualifier)) continue;
      const Table* table = schema.find(source.table);
      const Column* column = table == nullptr ? nullptr : table->find_column(name.name);
      if (column != nullptr) return {table, column};
    }
  }
  return {};
}

}  // namespace mcp::query
