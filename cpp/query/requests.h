// requests.h: what the planner would like to look up in each table, asked of the planner itself.
// The statement is compiled over virtual tables with the schema's columns, and SQLite offers each
// of them the comparisons, the order and the columns that an index could serve, after it has
// resolved names, flattened subqueries and moved conditions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "query/handle.h"
#include "query/schema.h"

namespace mcp::query {

struct RequestedColumn {
  int column = 0;  // in the table
  std::string collation;
  bool descending = false;
};

struct LookupRequest {
  std::string table;
  std::vector<RequestedColumn> equal;  // =, IN, IS, IS NULL; by column, each once
  std::vector<RequestedColumn> range;  // < > <= >= BETWEEN, prefixes of LIKE and GLOB
  std::vector<RequestedColumn> order;  // ORDER BY, GROUP BY or DISTINCT
  std::vector<int> used;               // columns that the statement reads
  bool all_used_known = true;          // false: the table has more columns than SQLite tells apart
};

// Never throws for what SQLite refuses over virtual tables (RETURNING, upsert, INDEXED BY): the
// answer is empty then.
[[nodiscard]] std::vector<LookupRequest> lookup_requests(sqlite3* source, const Schema& schema,
                                                         std::string_view sql);

}  // namespace mcp::query
