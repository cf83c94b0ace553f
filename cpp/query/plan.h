// plan.h: SQLite's query plan, read from EXPLAIN QUERY PLAN.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "query/handle.h"

namespace mcp::query {

enum class StepKind {
  kOther,
  kScan,    // every row of a table or index
  kSearch,  // a part of it
  kTempBTree,
};

struct PlanStep {
  int id = 0;
  int parent = 0;      // 0: the root
  std::string detail;  // as SQLite prints it

  StepKind kind = StepKind::kOther;
  std::string source;  // the alias or table that is scanned or searched
  std::string index;   // its index; empty for the table itself and its rowid
  bool covering = false;
  bool automatic = false;      // an index that SQLite builds for this one run
  std::optional<double> rows;  // that it goes over each time, as far as is known (row_estimates.h)
  std::string purpose;         // of a temporary b-tree: "ORDER BY", "GROUP BY", "DISTINCT", ...
};

// Throws Error when SQLite refuses the statement.
[[nodiscard]] std::vector<PlanStep> explain(sqlite3* db, std::string_view sql);

// Of a prepared EXPLAIN QUERY PLAN. Throws Error.
[[nodiscard]] std::vector<PlanStep> read_plan(sqlite3_stmt* statement);

[[nodiscard]] bool uses_index(const std::vector<PlanStep>& plan, std::string_view index);

// The figures are filled in from `detail`.
void parse_detail(PlanStep& step);

}  // namespace mcp::query
