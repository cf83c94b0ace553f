// row_estimates.cpp: reads what a search compares from its plan, and how much that leaves.
#include "query/row_estimates.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace mcp::query {
namespace {

// "(a=? AND b=? AND c>?)": 2. Empty where the search is of another kind.
std::optional<std::size_t> equal_columns(std::string_view detail, bool& range) {
  constexpr std::string_view kOuter = " LEFT-JOIN";
  if (detail.ends_with(kOuter)) detail.remove_suffix(kOuter.size());
  const std::size_t open = detail.rfind(" (");
  if (open == std::string_view::npos || !detail.ends_with(')') ||
      detail.find("ANY(", open) != std::string_view::npos) {
    return std::nullopt;
  }
  std::size_t equal = 0;
  range = false;
  for (std::size_t i = open; i < detail.size(); ++i) {
    if (detail[i] == '<' || detail[i] == '>') range = true;
    if (detail[i] == '=' && detail[i - 1] != '<' && detail[i - 1] != '>') ++equal;
  }
  return equal;
}

// The number at `place` of "10000 200 1"; place 0 is the count of rows.
std::optional<double> statistic(sqlite3* db, const std::string& table, const std::string& index,
                                std::size_t place) {
  const Statement row = prepare(db,
                                "SELECT stat FROM main.sqlite_stat1 WHERE tbl = ?1 COLLATE NOCASE "
                                "AND idx = ?2 COLLATE NOCASE");
  bind_text(row.get(), 1, table);
  bind_text(row.get(), 2, index);
  if (!step(row.get())) return std::nullopt;
  const std::string text = column_text(row.get(), 0);
  const char* at = text.data();
  const char* const end = at + text.size();
  double value = 0;
  for (std::size_t i = 0; i <= place; ++i) {
    while (at < end && *at == ' ') ++at;
    const auto parsed = std::from_chars(at, end, value);
    if (parsed.ec != std::errc()) return std::nullopt;
    at = parsed.ptr;
  }
  return value;
}

const Index* index_named(const Table& table, std::string_view name) {
  const auto found = std::find_if(table.indexes.begin(), table.indexes.end(),
                                  [name](const Index& one) { return same_name(one.name, name); });
  return found == table.indexes.end() ? nullptr : &*found;
}

std::optional<double> rows_of_search(sqlite3* db, const Schema& schema, const Table& table,
                                     const PlanStep& step) {
  bool range = false;
  const std::optional<std::size_t> equal = equal_columns(step.detail, range);
  if (!equal.has_value() || *equal == 0) return std::nullopt;
  if (step.index.empty()) {  // the rowid, or the key of a table without one
    if (step.detail.find("(rowid=?)") != std::string::npos) return 1;
    const auto keys = static_cast<std::size_t>(
        std::count_if(table.columns.begin(), table.columns.end(),
                      [](const Column& column) { return column.primary_key > 0; }));
    if (!table.without_rowid) return std::nullopt;
    if (*equal == keys) return 1;
    if (range || !schema.has_statistics()) return std::nullopt;
    return statistic(db, table.name, table.name, *equal);
  }
  const Index* index = index_named(table, step.index);
  if (index == nullptr) return std::nullopt;
  if (index->unique && *equal == index->columns.size()) return 1;
  if (range || !schema.has_statistics()) return std::nullopt;
  return statistic(db, table.name, step.index, *equal);
}

}  // namespace

std::optional<double> sorted_rows(const std::vector<PlanStep>& plan, const PlanStep& sort) {
  double rows = 1;
  bool any = false;
  for (const PlanStep& step : plan) {
    const bool reads = step.kind == StepKind::kScan || step.kind == StepKind::kSearch;
    if (!reads || step.parent != sort.parent) continue;
    if (!step.rows.has_value()) return std::nullopt;
    rows *= *step.rows;
    any = true;
  }
  return any ? std::optional<double>(rows) : std::nullopt;
}

void estimate_rows(sqlite3* db, const Schema& schema, const std::vector<std::string>& tables,
                   std::vector<PlanStep>& plan) {
  for (std::size_t i = 0; i < plan.size(); ++i) {
    PlanStep& step = plan[i];
    const Table* table = i < tables.size() ? schema.find(tables[i]) : nullptr;
    if (table == nullptr || table->kind != TableKind::kTable || step.automatic) continue;
    if (step.kind == StepKind::kSearch) {
      step.rows = rows_of_search(db, schema, *table, step);
    } else if (step.kind == StepKind::kScan && step.detail.starts_with("SCAN")) {
      // The other form is that of min() and max(), which may stop at the first row.
      const Index* index = index_named(*table, step.index);
      if (index != nullptr && index->partial) {
        if (schema.has_statistics()) step.rows = statistic(db, table->name, step.index, 0);
      } else if (table->rows.has_value()) {
        step.rows = static_cast<double>(*table->rows);
      }
    }
  }
}

}  // namespace mcp::query
