// expressions.h: candidates over expressions: what a statement compares instead of a bare column.
#pragma once

#include <string_view>
#include <vector>

#include "query/clone.h"
#include "query/schema.h"

namespace mcp::query {

// One for each call or calculation over one column of a table that is compared with values, without
// names; SQLite may still refuse to make it (random(), dates with 'now').
[[nodiscard]] std::vector<CandidateIndex> expression_candidates(const Schema& schema,
                                                                std::string_view sql);

}  // namespace mcp::query
