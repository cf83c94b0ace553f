// analyzer.cpp: puts plan, issues, rewrites and advice of one statement together.
#include "query/analyzer.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "query/json.h"
#include "query/row_estimates.h"
#include "sqlite/fingerprint.h"
#include "sqlite/sql_text.h"

namespace mcp::query {
namespace {

// A search that leaves so many rows is no better than some scans.
constexpr double kManyFound_rows = 1000;

// The table's place in the text; that of the first source where it stands behind a view.
std::size_t source_of(const Outline& outline, std::string_view table) {
  std::size_t first = kNowhere;
  for (const Scope& scope : outline.scopes) {
    for (const Source& source : scope.sources) {
      if (same_name(source.table, table)) return source.at;
      first = std::min(first, source.at);
    }
  }
  return first;
}

// An index that the planner would use is an issue of its own.
void add_missing_indexes(Report& report, const Outline& outline) {
  for (const IndexAdvice& index : report.indexes) {
    std::string columns;
    for (const std::string& column : index.columns) {
      columns += (columns.empty() ? "" : ", ") + column;
    }
    report.issues.push_back(
        {.code = "missing-index",
         .severity = Severity::kHigh,
         .message = "no index on " + index.table + "(" + columns + "), which the planner would use",
         .suggestion = index.ddl,
         .table = index.table,
         .column = index.columns.front(),
         .evidence = "the plan with it: " + index.reason});
    const std::size_t source = source_of(outline, index.table);
    set_place(report.issues.back(), outline, source, source);
  }
}

// Counting rows only to see whether there are any.
void add_counts_for_existence(Report& report) {
  for (const Rewrite& rewrite : report.rewrites) {
    if (std::string_view(rewrite.rule) != "count-to-exists") continue;
    report.issues.push_back({.code = "count-for-existence",
                             .severity = Severity::kWarning,
                             .message = "counts every row to see whether there is one",
                             .suggestion = rewrite.sql,
                             .table = {},
                             .column = {},
                             .evidence = rewrite.reason,
                             .begin = rewrite.begin,
                             .end = rewrite.end});
  }
}

// The plan searches a range, and looks at each row of it for a value that an index could have in
// front. (Of a search for a value only the statistics tell what it leaves.)
bool searches_range_only(const Outline& outline, const Schema& schema, const PlanStep& step) {
  const bool range = step.kind == StepKind::kSearch && !step.index.empty() &&
                     step.detail.find("=?") == std::string::npos &&
                     step.detail.find_first_of("<>") != std::string::npos;
  const Table* table = range ? resolve_source(outline, schema, step.source) : nullptr;
  if (table == nullptr) return false;
  for (std::size_t scope = 0; scope < outline.scopes.size(); ++scope) {
    if (outline.scopes[scope].limit) continue;  // the first rows of the range may be enough
    for (const Comparison& one : outline.scopes[scope].comparisons) {
      if (one.op != "=" || one.negated || one.left.kind != OperandKind::kColumn) continue;
      if (one.right.kind == OperandKind::kColumn || one.right.kind == OperandKind::kExpression) {
        continue;
      }
      if (resolve_column(outline, schema, scope, one.left.column).table == table) return true;
    }
  }
  return false;
}

// Nothing is gained where the plan already searches the table without a sort.
bool can_be_improved(const Report& report, const Outline& outline, const Schema& schema) {
  const bool first_few =
      std::any_of(outline.scopes.begin(), outline.scopes.end(),
                  [](const Scope& scope) { return scope.order_by && scope.limit; });
  return std::any_of(report.plan.begin(), report.plan.end(), [&](const PlanStep& step) {
    const Table* table = resolve_source(outline, schema, step.source);
    // In the order that is asked for, of the rows that are asked for.
    if (first_few && table != nullptr && scans_partial_index(*table, step)) return false;
    if (step.kind == StepKind::kTempBTree) return !sorts_few_rows(outline, report.plan, step);
    if (step.kind == StepKind::kSearch && step.rows.value_or(0) >= kManyFound_rows) return true;
    if (searches_range_only(outline, schema, step)) return true;
    const bool reads_results =
        step.source.starts_with('(');  // of a subquery, which are in no table
    return (step.kind == StepKind::kScan && !reads_results) || step.automatic ||
           step.detail.find("(ANY(") != std::string::npos;  // once for each value of a column
  });
}

// The plan reads a partial index that has no other rows than those that are asked for, in an order
// that may be the one that is asked for: the same columns again gain nothing.
bool has_partial_index(const Report& report, const Outline& outline, const Schema& schema,
                       const IndexAdvice& advice) {
  const Table* table = schema.find(advice.table);
  if (table == nullptr) return false;
  const auto covers = [&](const Index& index) {
    return std::all_of(
        advice.columns.begin(), advice.columns.end(), [&index](const std::string& name) {
          if (lower(index.where).find(lower(name)) != std::string::npos) return true;
          return std::any_of(index.columns.begin(), index.columns.end(),
                             [&name](const auto& column) { return same_name(column.name, name); });
        });
  };
  return std::any_of(report.plan.begin(), report.plan.end(), [&](const PlanStep& step) {
    if (resolve_source(outline, schema, step.source) != table) return false;
    return std::any_of(table->indexes.begin(), table->indexes.end(), [&](const Index& index) {
      return index.partial && index.name == step.index && covers(index);
    });
  });
}

// What a search compares, in any order: the terms between its last parentheses.
std::set<std::string> terms_of(const std::string& detail) {
  std::set<std::string> terms;
  std::size_t at = detail.rfind('(');
  const std::size_t end = detail.rfind(')');
  if (at == std::string::npos || end == std::string::npos || end < at) return terms;
  for (++at; at < end;) {
    const std::size_t next = std::min(detail.find(" AND ", at), end);
    terms.insert(detail.substr(at, next - at));
    at = next + 5;
  }
  return terms;
}

// The plan compares the same columns already, by an index that has them in another order.
bool searches_alike(const Report& report, const Outline& outline, const IndexAdvice& advice) {
  PlanStep with;
  with.detail = advice.reason;
  parse_detail(with);
  if (with.kind != StepKind::kSearch) return false;
  const bool sorts = std::any_of(report.plan.begin(), report.plan.end(), [&](const PlanStep& step) {
    return step.kind == StepKind::kTempBTree && !sorts_few_rows(outline, report.plan, step);
  });
  return !sorts && std::any_of(report.plan.begin(), report.plan.end(), [&](const PlanStep& step) {
    return step.kind == StepKind::kSearch && !step.automatic &&
           same_name(step.source, with.source) && terms_of(step.detail) == terms_of(with.detail);
  });
}

// A sort of the rows that a search has found, which no index would spare, is worth knowing only.
void soften_sorts(Report& report, const Outline& outline, const Schema& schema) {
  const bool scans = std::any_of(report.plan.begin(), report.plan.end(), [&](const PlanStep& step) {
    if (step.kind != StepKind::kScan) return false;
    const Table* table = resolve_source(outline, schema, step.source);
    return table != nullptr && table->kind == TableKind::kTable && !is_tiny(*table) &&
           !scans_partial_index(*table, step);
  });
  if (scans || !report.indexes.empty()) return;
  for (Issue& issue : report.issues) {
    if (std::string_view(issue.code) == "temp-b-tree") issue.severity = Severity::kInfo;
  }
}

std::optional<double> as_number(const std::optional<std::int64_t>& number) {
  if (!number.has_value()) return std::nullopt;
  return static_cast<double>(*number);
}

void json_issue(JsonWriter& json, const Issue& issue) {
  json.begin_object();
  json.member("code", issue.code);
  json.member("severity", name_of(issue.severity));
  json.member("message", issue.message);
  json.member("suggestion", issue.suggestion);
  json.member_or_null("table", issue.table);
  json.member_or_null("column", issue.column);
  json.member_or_null("evidence", issue.evidence);
  json.member("begin", static_cast<double>(issue.begin));
  json.member("end", static_cast<double>(issue.end));
  json.end_object();
}

void json_step(JsonWriter& json, const PlanStep& step) {
  json.begin_object();
  json.member("id", step.id);
  json.member("parent", step.parent);
  json.member("detail", step.detail);
  json.member("rows", step.rows);
  json.end_object();
}

void json_advice(JsonWriter& json, const IndexAdvice& advice) {
  json.begin_object();
  json.member("ddl", advice.ddl);
  json.member("table", advice.table);
  json.key("columns");
  json.array(advice.columns, [&json](const std::string& column) { json.value(column); });
  json.key("used_by");
  json.array(advice.used_by, [&json](const std::string& query) { json.value(query); });
  json.member("cost_before", advice.cost_before);
  json.member("cost_after", advice.cost_after);
  json.member("seconds_before", advice.seconds_before);
  json.member("seconds_after", advice.seconds_after);
  json.member("rows_before", advice.rows_before);
  json.member("rows_after", advice.rows_after);
  json.member("runs", advice.runs);
  json.member("bytes", as_number(advice.bytes));
  json.member("write_cost", advice.write_cost);
  json.key("write_costs");
  json.begin_object();
  for (const auto& [fingerprint, cost] : advice.write_costs) json.member(fingerprint, cost);
  json.end_object();
  json.member("confidence", advice.confidence);
  json.member("reason", advice.reason);
  json.member("verified", advice.verified);
  json.end_object();
}

void json_drop(JsonWriter& json, const DropAdvice& drop) {
  json.begin_object();
  json.member("ddl", drop.ddl);
  json.member("index", drop.index);
  json.member("table", drop.table);
  json.member("reason", drop.reason);
  json.member("evidence", drop.evidence);
  json.member("bytes", as_number(drop.bytes));
  json.member("write_cost", drop.write_cost);
  json.end_object();
}

void json_statement(JsonWriter& json, const StatementEffect& effect) {
  json.begin_object();
  json.member("fingerprint", effect.fingerprint);
  json.member("weight", effect.weight);
  json.member("cost_before", effect.cost_before);
  json.member("cost_after", effect.cost_after);
  json.member("seconds_before", effect.seconds_before);
  json.member("seconds_after", effect.seconds_after);
  json.member("rows_before", effect.rows_before);
  json.member("rows_after", effect.rows_after);
  json.member("runs", effect.runs);
  json.member("at_least", effect.at_least);
  json.end_object();
}

}  // namespace

namespace {

// VALUES, and what only looks like a query.
bool begins_a_query(const sqlite::Token& first) {
  return first.is("WITH") || first.is("VALUES") || first.is('(');
}

// Throws Error when SQLite refuses the statement.
void check_compiles(const std::string& path, std::string_view sql) {
  static_cast<void>(prepare(open_and_leave_nothing(path).get(), sql));
}

}  // namespace

Report analyze(const std::string& path, std::string_view sql, const std::vector<BoundType>& bound,
               Trust trust) {
  sqlite::check_sql(sql);
  Report report;
  report.fingerprint = sqlite::fingerprint(sql);
  report.hash = sqlite::fingerprint_hash(report.fingerprint);
  const Outline outline = outline_of(sql);
  if (outline.verb == Verb::kOther || outline.verb == Verb::kNone) {
    if (trust == Trust::kTrusted && !outline.tokens.empty()) {
      if (begins_a_query(outline.tokens[0])) check_compiles(path, sql);
      return report;
    }
    throw Error(ErrorKind::kQuery, "only SELECT, INSERT, UPDATE and DELETE are analyzed",
                SQLITE_AUTH);
  }
  const Database db =
      trust == Trust::kUntrusted ? open_read_only(path) : open_and_leave_nothing(path);
  if (trust == Trust::kUntrusted) {
    sqlite3_db_config(db.get(), SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  }
  const Footprint footprint = footprint_of(db.get(), sql, trust);
  const Schema schema(db.get(), footprint.tables());
  report.plan = explain(db.get(), sql);
  std::vector<std::string> tables;
  for (const PlanStep& step : report.plan) {
    const Table* table = resolve_source(outline, schema, step.source);
    tables.push_back(table == nullptr ? std::string() : table->name);
  }
  estimate_rows(db.get(), schema, tables, report.plan);
  report.issues = find_issues({outline, schema, report.plan, bound});
  if (can_be_improved(report, outline, schema)) {
    report.indexes = planned_advice(db.get(), schema, sql);
    std::erase_if(report.indexes, [&](const IndexAdvice& index) {
      const Table* table = schema.find(index.table);
      return (table != nullptr && is_tiny(*table)) ||
             has_partial_index(report, outline, schema, index) ||
             searches_alike(report, outline, index);
    });
    for (IndexAdvice& index : report.indexes) index.used_by = {report.fingerprint};
    add_missing_indexes(report, outline);
    soften_sorts(report, outline, schema);
  }
  report.rewrites = find_rewrites({sql, schema, report.plan, db.get(), trust == Trust::kTrusted});
  if (trust == Trust::kUntrusted) {  // the report holds none of the statement's values
    for (Rewrite& rewrite : report.rewrites) rewrite.sql = sqlite::fingerprint(rewrite.sql);
  }
  add_counts_for_existence(report);
  return report;
}

std::string to_json(const Report& report) {
  JsonWriter json;
  json.begin_object();
  json.member("fingerprint", report.fingerprint);
  json.member("hash", hexadecimal(report.hash));
  json.key("issues");
  json.array(report.issues, [&json](const Issue& issue) { json_issue(json, issue); });
  json.key("plan");
  json.array(report.plan, [&json](const PlanStep& step) { json_step(json, step); });
  json.key("indexes");
  json.array(report.indexes, [&json](const IndexAdvice& advice) { json_advice(json, advice); });
  json.key("rewrites");
  json.array(report.rewrites, [&json](const Rewrite& rewrite) {
    json.begin_object();
    json.member("rule", rewrite.rule);
    json.member("sql", rewrite.sql);
    json.member("reason", rewrite.reason);
    json.member("equivalence", rewrite.equivalence);
    json.member("begin", static_cast<double>(rewrite.begin));
    json.member("end", static_cast<double>(rewrite.end));
    json.key("parameters");
    json.begin_object();
    for (const auto& [name, column] : rewrite.parameters) json.member(name, column);
    json.end_object();
    json.end_object();
  });
  json.end_object();
  return json.take();
}

std::string to_json(const Advice& advice) {
  JsonWriter json;
  json.begin_object();
  json.key("indexes");
  json.array(advice.indexes, [&json](const IndexAdvice& index) { json_advice(json, index); });
  json.key("drops");
  json.array(advice.drops, [&json](const DropAdvice& drop) { json_drop(json, drop); });
  if (advice.statistics.has_value()) {
    json.key("statistics");
    json.begin_object();
    json.member("ddl", advice.statistics->ddl);
    json.member("cost_before", advice.statistics->cost_before);
    json.member("cost_after", advice.statistics->cost_after);
    json.end_object();
  }
  json.key("statements");
  json.array(advice.statements,
             [&json](const StatementEffect& effect) { json_statement(json, effect); });
  json.key("notes");
  json.array(advice.notes,
             [&json](const std::string& note) { json.value(std::string_view(note)); });
  json.member("database_bytes", as_number(advice.database_bytes));
  json.member("sampled", advice.sampled);
  json.end_object();
  return json.take();
}

}  // namespace mcp::query
