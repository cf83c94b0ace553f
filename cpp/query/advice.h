// advice.h: what the advisor has to say, as values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "query/clone.h"

namespace mcp::query {

struct IndexAdvice {
  std::string ddl;
  std::string name;
  std::string table;
  std::vector<std::string> columns;
  std::vector<std::string> used_by;  // fingerprints
  // Weighted sums over `used_by`, a run each; empty where nothing was run. Costs are VM steps, rows
  // are those that full scans and automatic indexes go over.
  std::optional<double> cost_before;
  std::optional<double> cost_after;
  std::optional<double> seconds_before;
  std::optional<double> seconds_after;
  std::optional<double> rows_before;
  std::optional<double> rows_after;
  int runs = 0;                       // behind those figures, the fewest of any statement
  std::optional<std::int64_t> bytes;  // on the copy
  double write_cost = 0;  // VM steps that it adds to the workload's writes, weighted likewise
  std::vector<std::pair<std::string, double>> write_costs;  // by fingerprint, of one run
  const char* confidence = "low";                           // "low", "medium", "high"
  std::string reason;
  bool verified = false;  // made and measured on a copy of the data
};

struct DropAdvice {
  std::string ddl;
  std::string index;
  std::string table;
  const char* reason = "";  // "redundant" or "unused"
  std::string evidence;
  std::optional<std::int64_t> bytes;
  double write_cost = 0;  // VM steps that it saves
};

// ANALYZE, where it is what helps.
struct StatisticsAdvice {
  std::string ddl = "ANALYZE";
  double cost_before = 0;  // of the workload with the advised indexes
  double cost_after = 0;
};

// What one statement of the workload costs, a run.
struct StatementEffect {
  std::string fingerprint;
  double weight = 1;
  double cost_before = 0, cost_after = 0;
  double seconds_before = 0, seconds_after = 0;
  double rows_before = 0, rows_after = 0;
  int runs = 0;
  bool at_least = false;  // it was stopped: it cost more than that before
};

struct Advice {
  std::vector<IndexAdvice> indexes;
  std::vector<DropAdvice> drops;
  std::optional<StatisticsAdvice> statistics;
  std::vector<StatementEffect> statements;
  std::vector<std::string> notes;  // what was left out, and plans that depend on values
  std::optional<std::int64_t> database_bytes;
  bool sampled = false;
};

[[nodiscard]] IndexAdvice describe(const CandidateIndex& index);

}  // namespace mcp::query
