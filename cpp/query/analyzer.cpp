// analyzer.cpp: puts plan, issues, rewrites and advice of one statement together.
#include "query/analyzer.h"

#include <algorithm>

#include "base/error.h"
#include "query/json.h"
#include "query/row_estimates.h"
#include "sqlite/fingerprint.h"
#include "sqlite/sql_text.h"

namespace mcp::query {
namespace {

std::size_t source_of(const Outline& outline, std::string_view table) {
  for (const Scope& scope : outline.scopes) {
    for (const Source& source : scope.sources) {
      if (same_name(source.table, table)) return source.at;
    }
  }
  return kNowhere;
}

// An index that the planner would use is an issue of its own.
void add_missing_indexes(Report& report, const Schema& schema, const Outline& outline) {
  for (const IndexAdvice& index : report.indexes) {
    const Table* table = schema.find(index.table);
    const bool tiny = table != nullptr && is_tiny(*table);
    std::string columns;
    for (const std::string& column : index.columns) {
      columns += (columns.empty() ? "" : ", ") + column;
    }
    report.issues.push_back(
        {.code = "missing-index",
         .severity = tiny ? Severity::kInfo : Severity::kHigh,
         .message = "no index on " + index.table + "(" + columns +
                    "), which the planner would use" +
                    (tiny ? "; with " + std::to_string(*table->rows) + " rows it gains nothing yet"
                          : std::string()),
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

// Nothing is gained where the plan already searches the table without a sort.
bool can_be_improved(const Report& report, const Outline& outline, const Schema& schema) {
  const bool first_few =
      std::any_of(outline.scopes.begin(), outline.scopes.end(),
                  [](const Scope& scope) { return scope.order_by && scope.limit; });
  return std::any_of(report.plan.begin(), report.plan.end(), [&](const PlanStep& step) {
    const Table* table = resolve_source(outline, schema, step.source);
    // In the order that is asked for, of the rows that are asked for.
    if (first_few && table != nullptr && scans_partial_index(*table, step)) return false;
    return step.kind == StepKind::kScan || step.kind == StepKind::kTempBTree || step.automatic ||
           step.detail.find("(ANY(") != std::string::npos;  // once for each value of a column
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
  static_cast<void>(prepare(open_read_only(path).get(), sql));
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
  const Database db = open_read_only(path);
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
    for (IndexAdvice& index : report.indexes) index.used_by = {report.fingerprint};
    add_missing_indexes(report, schema, outline);
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
