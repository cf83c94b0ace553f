// hidden.h: what a write does besides what its text and its plan say: the statements inside
// triggers, and the look-ups that foreign keys ask for, as statements that can be planned.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "query/footprint.h"
#include "query/handle.h"

namespace mcp::query {

// For a statement that writes what `footprint` says. NEW and OLD are parameters in the statements
// of triggers. Not those of the triggers of triggers. Throws Error.
[[nodiscard]] std::vector<std::string> hidden_statements(sqlite3* source,
                                                         const Footprint& footprint);

}  // namespace mcp::query
