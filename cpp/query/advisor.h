// advisor.h: which indexes a workload lacks, and the proof.
//
// Candidates come from what the planner asks for (requests.h, hidden.h) and from expressions that
// are compared. Those that it would use on a clone of schema and statistics are made for real on a
// copy of the data, or on a sample of a large one. A set of them is chosen by running the
// statements with it (choice.h), and the statements are run before and after. An index is advised
// only when it is used, and what uses it got cheaper.
//
// The same workload on the same data has the same advice, unless the budget's clock cuts it short.
// Safe from any thread; every call opens its own connections. The database is only read.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "query/advice.h"
#include "query/schema.h"
#include "query/trial.h"
#include "query/workload.h"

namespace mcp::query {

struct AdviceOptions {
  Duration budget_ns = 10 * kSecond;  // for copying and measuring; planning comes on top
  bool measure = true;
  std::size_t most_indexes = 16;
  std::int64_t most_bytes = 0;  // of all advised indexes; 0: 0.6 times the database
  TrialLimits copy;
  // Told now and then what is done and how far that is, from 0 to 1. It may throw.
  std::function<void(const char*, double)> progress;
  // Asked now and then whether to end with what was found so far. It must not throw.
  std::function<bool()> stop;
};

// Entries that SQLite refuses, and those that are no queries, are left out and noted. Throws Error
// when the database cannot be read, and for a weight that is not a positive number.
[[nodiscard]] Advice advise(const std::string& path, const std::vector<WorkloadEntry>& workload,
                            const AdviceOptions& options);

// For one statement, by the planner alone: nothing is copied or run.
[[nodiscard]] std::vector<IndexAdvice> planned_advice(sqlite3* source, const Schema& schema,
                                                      std::string_view sql);

}  // namespace mcp::query
