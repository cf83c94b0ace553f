// candidates.h: indexes worth trying for a request, in the classic shape: columns compared for
// equality, then one range or the order, then what makes the index cover the query.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "query/clone.h"
#include "query/requests.h"
#include "query/schema.h"

namespace mcp::query {

// How often a column is compared for equality in the workload: by table and column. Columns that
// are asked for more often come first, so that queries share prefixes.
using EqualityWeights = std::map<std::pair<std::string, int>, double>;

// Without those that an index of the table already
// begins with, or that its rowid or a unique index answers better. Each once. Names are free in the
// schema.
[[nodiscard]] std::vector<CandidateIndex> candidates_for(const Schema& schema,
                                                         const std::vector<LookupRequest>& requests,
                                                         const EqualityWeights& weights);
// Also those with some of the columns that are compared for equality: fewer may do as well, and
// serve other statements too. `others` come as they are, and get a name.
[[nodiscard]] std::vector<CandidateIndex> all_candidates_for(
    const Schema& schema, const std::vector<LookupRequest>& requests,
    const EqualityWeights& weights, const std::vector<CandidateIndex>& others);

}  // namespace mcp::query
