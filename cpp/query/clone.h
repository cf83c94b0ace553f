// clone.h: the schema of a database without its rows, in memory, with its statistics: the planner
// answers there as it does on the original.
#pragma once

#include <set>
#include <string>

#include "query/handle.h"
#include "query/schema.h"

namespace mcp::query {

// Tables, indexes, views and triggers of `main`; virtual tables where their module is at hand. An
// object that cannot be made again (it needs a function of the application) is left out.
// Throws Error.
[[nodiscard]] Database clone_schema(sqlite3* source);

// An index that does not exist yet. Collations are set where they differ from the column's own.
struct CandidateIndex {
  std::string name;  // of the hypothetical index
  std::string table;
  std::vector<IndexColumn> columns;
  bool covering = false;  // its last columns are there to be read only
  // Of a partial index: its condition, the column that this is about, and the share of the rows for
  // which it holds, as far as is known.
  std::string where = {};
  std::string where_column = {};
  double share = 1;

  [[nodiscard]] bool has_expression() const;
  // CREATE INDEX, ready to run.
  [[nodiscard]] std::string ddl() const;
};

// Makes the index on the clone. Where the original has statistics, the index gets the row that
// ANALYZE would write, estimated from a bounded sample of `source`. Throws Error.
void add_hypothetical(sqlite3* clone, sqlite3* source, const Schema& schema,
                      const CandidateIndex& index);
void drop_index(sqlite3* db, const std::string& name);

}  // namespace mcp::query
