// row_estimates.h: how many rows each step of a plan goes over, each time that it runs.
#pragma once

#include <optional>
#include <vector>

#include "query/plan.h"
#include "query/schema.h"

namespace mcp::query {

// Fills in PlanStep::rows from the statistics of ANALYZE, counted rows and unique keys. Steps that
// these say nothing about (ranges, virtual tables, subqueries) are left as they are. Throws Error.
void estimate_rows(sqlite3* db, const Schema& schema, const std::vector<std::string>& tables,
                   std::vector<PlanStep>& plan);

// Rows that a temporary b-tree sorts: of the steps beside it. Empty where one is not known.
[[nodiscard]] std::optional<double> sorted_rows(const std::vector<PlanStep>& plan,
                                                const PlanStep& sort);

}  // namespace mcp::query
