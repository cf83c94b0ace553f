#include "query/workload.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "sqlite/fingerprint.h"

namespace mcp::query {
namespace {

constexpr std::size_t kMostQueries = 500;
// Opcodes that place or remove one index entry, besides one for each column of its record.
constexpr double kEntrySteps = 4;

}  // namespace

Workload prepare_workload(sqlite3* source, const std::vector<WorkloadEntry>& entries) {
  Workload workload;
  std::unordered_map<std::string, std::size_t> known;
  for (const WorkloadEntry& entry : entries) {
    if (!(entry.weight > 0) || std::isinf(entry.weight)) {
      throw invalid_argument("weight", std::to_string(entry.weight), "a positive number");
    }
    std::string fingerprint = sqlite::fingerprint(entry.sql);
    const auto [found, is_new] = known.try_emplace(fingerprint, workload.queries.size());
    if (!is_new) {
      workload.queries[found->second].weight += entry.weight;
      continue;
    }
    workload.queries.push_back({.sql = entry.sql,
                                .fingerprint = std::move(fingerprint),
                                .weight = entry.weight,
                                .footprint = {}});
  }
  // The heaviest first; what the bound cuts off is the lightest.
  std::stable_sort(workload.queries.begin(), workload.queries.end(),
                   [](const auto& a, const auto& b) { return a.weight > b.weight; });
  if (workload.queries.size() > kMostQueries) workload.queries.resize(kMostQueries);
  std::vector<WorkloadQuery> compiled;
  for (WorkloadQuery& query : workload.queries) {
    if (outline_of(query.sql).verb == Verb::kOther) continue;
    try {
      query.footprint = footprint_of(source, query.sql, Trust::kTrusted);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kDatabaseCorrupt) throw;
      continue;
    }
    // Stand-ins stay on the connection: from the first one on, trust no run.
    query.runnable = !has_stand_ins(source);
    workload.tables.merge(query.footprint.tables());
    compiled.push_back(std::move(query));
  }
  workload.queries = std::move(compiled);
  return workload;
}

std::vector<CandidateIndex> workload_candidates(sqlite3* source, const Schema& schema,
                                                const Workload& workload) {
  std::vector<LookupRequest> requests;
  EqualityWeights weights;
  for (const WorkloadQuery& query : workload.queries) {
    for (LookupRequest& request : lookup_requests(source, schema, query.sql)) {
      for (const RequestedColumn& column : request.equal) {
        weights[{request.table, column.column}] += query.weight;
      }
      requests.push_back(std::move(request));
    }
  }
  return candidates_for(schema, requests, weights);
}

double write_cost(const CandidateIndex& index, const Workload& workload) {
  const double entry = kEntrySteps + static_cast<double>(index.columns.size());
  double cost = 0;
  for (const WorkloadQuery& query : workload.queries) {
    for (const auto& [table, changes] : query.footprint.writes) {
      if (!same_name(table, index.table)) continue;
      if (changes.inserts) cost += query.weight * entry;
      if (changes.deletes) cost += query.weight * entry;
      const bool updates = std::any_of(
          index.columns.begin(), index.columns.end(), [&changes = changes](const auto& column) {
            return std::any_of(
                changes.updated.begin(), changes.updated.end(),
                [&column](const auto& name) { return same_name(name, column.name); });
          });
      if (updates) cost += query.weight * entry * 2;
    }
  }
  return cost;
}

}  // namespace mcp::query
