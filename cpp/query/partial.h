// partial.h: candidates for partial indexes: where a statement asks for a constant that few rows
// have, an index of those rows alone is small, and costs the others' writes nothing.
#pragma once

#include <string_view>
#include <vector>

#include "query/clone.h"
#include "query/requests.h"
#include "query/schema.h"

namespace mcp::query {

// For comparisons of a column with a literal, and IS NULL, that hold for a small share of a bounded
// sample; the columns of the index are the others that `requests`, those of the statement, ask for.
// Without names. Throws Error.
[[nodiscard]] std::vector<CandidateIndex> partial_candidates(
    sqlite3* source, const Schema& schema, std::string_view sql,
    const std::vector<LookupRequest>& requests);

}  // namespace mcp::query
