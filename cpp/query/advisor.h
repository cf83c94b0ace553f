// advisor.h: which indexes a workload lacks, and the proof.
//
// Candidates come from what the planner asks for (requests.h). Those that it would use on a clone
// of schema and statistics are made for real, one at a time, on a sample of the data, and the
// statements that use them are run before and after. A greedy choice over the weighted workload
// follows, and the proof: the whole choice is made and measured on a copy. An index is advised only
// when the planner uses it in every statement that the advice names, and each of those got cheaper.
//
// Safe from any thread; every call opens its own connections. The database is only read.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "query/schema.h"
#include "query/trial.h"

namespace mcp::query {

struct WorkloadEntry {
  std::string sql;  // literals may be parameters: values are taken from the tables
  double weight = 1;
};

struct AdviceOptions {
  Duration budget_ns = 10 * kSecond;  // for copying and measuring; planning comes on top
  bool measure = true;
  // Choosing is done on this, proving on that.
  TrialLimits choice{.copy_bytes = 4LL << 20, .sample_rows = 40'000};
  TrialLimits proof;
};

struct IndexAdvice {
  std::string ddl;
  std::string name;
  std::string table;
  std::vector<std::string> columns;
  std::vector<std::string> used_by;  // fingerprints
  // Weighted sums over `used_by` of VM steps a run; empty where nothing was run.
  std::optional<double> cost_before;
  std::optional<double> cost_after;
  double write_cost = 0;  // VM steps that it adds to the workload's writes, weighted likewise
  bool verified = false;  // made and measured on a copy of the data
};

// Entries that SQLite refuses, and those that are no queries, are left out. Throws Error when the
// database cannot be read, and for a weight that is not a positive number.
[[nodiscard]] std::vector<IndexAdvice> advise(const std::string& path,
                                              const std::vector<WorkloadEntry>& workload,
                                              const AdviceOptions& options);

// For one statement, by the planner alone: nothing is copied or run.
[[nodiscard]] std::vector<IndexAdvice> planned_advice(sqlite3* source, const Schema& schema,
                                                      std::string_view sql);

}  // namespace mcp::query
