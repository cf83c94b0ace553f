// analyzer.h: everything that can be said of one statement without running it.
//
// Safe from any thread: each call opens a read-only connection of its own. The database's bytes
// never change.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "query/advisor.h"
#include "query/footprint.h"
#include "query/issues.h"
#include "query/plan.h"
#include "query/rewrite.h"

namespace mcp::query {

struct Report {
  std::string fingerprint;
  std::uint64_t hash = 0;
  std::vector<Issue> issues;
  std::vector<PlanStep> plan;
  std::vector<IndexAdvice> indexes;  // planned, not measured
  std::vector<Rewrite> rewrites;
};

// `bound` holds what is known of the parameters' types, by number less one; it may be empty. A
// statement that is no SELECT, INSERT, UPDATE or DELETE has a fingerprint and nothing else;
// untrusted, it is an Error. Throws Error when SQLite refuses the statement or the database cannot
// be read.
[[nodiscard]] Report analyze(const std::string& path, std::string_view sql,
                             const std::vector<BoundType>& bound, Trust trust);

// The report and the advice as JSON, in UTF-8 whatever bytes the names hold.
[[nodiscard]] std::string to_json(const Report& report);
[[nodiscard]] std::string to_json(const Advice& advice);

}  // namespace mcp::query
