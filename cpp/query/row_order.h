// row_order.h: whether the result of a statement depends on the order in which SQLite happens to
// read rows: a LIMIT that ORDER BY does not settle, the first row of a subquery, a column that is
// not grouped by, one of several spellings that compare equal (also the largest), a comparison of
// two collations, in which SQLite is not at one with itself, a subquery that reads the table that
// is written. What changes the plan of such a statement may change its result.
#pragma once

#include "query/facts.h"

namespace mcp::query {

// The order of rows without ORDER BY, and of those that it holds equal, is nobody's to rely on; so
// are the last bits of a sum of fractions.
[[nodiscard]] bool depends_on_row_order(const Syntax& tree, const Facts& facts);

// The expression that a term of ORDER BY means: a result by its alias or number, or its own; -1:
// a number of no result.
[[nodiscard]] int meant_by(const Syntax& tree, const Core& core, int term);
[[nodiscard]] std::vector<int> ordered_by(const Syntax& tree, const Select& select,
                                          const Core& core);

}  // namespace mcp::query
