// pitfalls.h: ways to write a statement that are slow or not what was meant, whatever its indexes.
// Found in the text, with the schema's facts and the plan as evidence.
//
//   not-in-null          NOT IN (SELECT x ...) where x may be NULL: one NULL, and no row is left
//   offset-paging        OFFSET reads all that it skips
//   or-on-columns        an OR over several columns makes SQLite read every row
//   correlated-subquery  a subquery that reads a table for every row of the outer query
//   distinct-fan-out     DISTINCT takes back the rows that a join has multiplied
//   collation-mismatch   a collation that the column's index does not have
#pragma once

#include <vector>

#include "query/issues.h"

namespace mcp::query {

[[nodiscard]] std::vector<Issue> find_more_issues(const IssueInput& input);

}  // namespace mcp::query
