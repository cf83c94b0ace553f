// workload.h: a workload made ready for the advisor: one entry a fingerprint, compiled, with the
// schema of all tables that it touches.
#pragma once

#include <string>
#include <vector>

#include "query/advisor.h"
#include "query/candidates.h"
#include "query/footprint.h"
#include "query/outline.h"
#include "query/requests.h"
#include "query/schema.h"

namespace mcp::query {

struct WorkloadQuery {
  std::string sql;
  std::string fingerprint;
  double weight = 0;
  Footprint footprint;
  bool runnable = true;  // false: it needs functions of the application
};

struct Workload {
  std::vector<WorkloadQuery> queries;
  std::set<std::string> tables;
};

// Throws Error for a bad weight.
[[nodiscard]] Workload prepare_workload(sqlite3* source, const std::vector<WorkloadEntry>& entries);

// Every candidate of every query, each once.
[[nodiscard]] std::vector<CandidateIndex> workload_candidates(sqlite3* source, const Schema& schema,
                                                              const Workload& workload);

// VM steps that the index adds to the workload's writes: each row inserted or removed, and each
// update of one of its columns, has an entry made, placed or taken out.
[[nodiscard]] double write_cost(const CandidateIndex& index, const Workload& workload);

}  // namespace mcp::query
