// random_order.h: ORDER BY random(), which sorts every row to give a few.
#pragma once

#include <vector>

#include "query/issues.h"

namespace mcp::query {

// "random-order", once a statement at most.
[[nodiscard]] std::vector<Issue> find_random_order(const IssueInput& input);

}  // namespace mcp::query
