// workload.h: a workload made ready for the advisor: one entry a fingerprint, compiled, with the
// schema of all tables that it touches.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "query/candidates.h"
#include "query/footprint.h"
#include "query/outline.h"
#include "query/requests.h"
#include "query/samples.h"
#include "query/schema.h"

namespace mcp::query {

struct WorkloadEntry {
  std::string sql;
  double weight = 1;
  GivenParameters parameters;  // null: values are taken from the tables
};

struct WorkloadQuery {
  std::vector<std::string> texts;  // with other literals, the first ones that came
  std::vector<std::pair<std::size_t, GivenParameters>> given;  // by text, the first ones that came
  std::string fingerprint;
  double weight = 0;
  Footprint footprint;
  std::vector<std::string> hidden;      // of triggers and foreign keys
  std::set<std::string> hidden_tables;  // that those touch
  bool runnable = true;  // false: it needs functions or collations of the application

  [[nodiscard]] const std::string& sql() const { return texts.front(); }
  [[nodiscard]] bool touches(const std::string& table) const;
};

struct Workload {
  std::vector<WorkloadQuery> queries;
  std::set<std::string> tables;
  std::vector<std::string> refused;  // fingerprints, with the reason
};

// Throws Error for a bad weight.
[[nodiscard]] Workload prepare_workload(sqlite3* source, const std::vector<WorkloadEntry>& entries);

// Every candidate of every query, each once.
[[nodiscard]] std::vector<CandidateIndex> workload_candidates(sqlite3* source, const Schema& schema,
                                                              const Workload& workload);

// VM steps that the index adds to one run of the statement: each row inserted or removed, and each
// update of one of its columns, has an entry made, placed or taken out.
[[nodiscard]] double write_cost(const CandidateIndex& index, const WorkloadQuery& query);

}  // namespace mcp::query
