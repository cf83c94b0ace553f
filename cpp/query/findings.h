// findings.h: the findings that have a file of their own. One more is a file with its find_X() and
// its name in the two lists below; `Issue.code` in query/_report.py tells users of its codes.
#pragma once

#include <vector>

#include "query/issues.h"

namespace mcp::query {

using Finding = std::vector<Issue>(const IssueInput& input);

Finding find_pitfalls, find_random_order;

inline constexpr Finding* kFindings[] = {find_random_order, find_pitfalls};

}  // namespace mcp::query
