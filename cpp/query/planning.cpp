// planning.cpp: shows candidates to the planner, and reads which of them it takes.
#include "query/planning.h"

#include <algorithm>

#include "base/error.h"
#include "query/choice.h"
#include "query/plan.h"

namespace mcp::query {
namespace {

constexpr std::size_t kMostPlanned = 400;

}  // namespace

IndexAdvice describe(const CandidateIndex& index) {
  IndexAdvice made;
  made.ddl = index.ddl();
  made.name = index.name;
  made.table = index.table;
  for (const IndexColumn& column : index.columns) {
    made.columns.push_back(column.name.empty() ? column.expression : column.name);
  }
  return made;
}

Planning::Planning(sqlite3* source, const Schema& schema, const Workload& workload)
    : source_(source), schema_(schema), workload_(workload), clone_(clone_schema(source)) {}

// False for what SQLite does not index (an expression that is not deterministic).
bool Planning::add(const CandidateIndex& index) {
  try {
    add_hypothetical(clone_.get(), source_, schema_, index);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::set<std::string> Planning::indexes_of(std::string_view sql) {
  ++compiled_;
  std::set<std::string> names;
  for (const PlanStep& step : explain(clone_.get(), sql)) {
    if (!step.index.empty()) names.insert(step.index);
  }
  return names;
}

std::vector<Candidate> Planning::candidates() {
  std::vector<Candidate> found;
  for (CandidateIndex& index : workload_candidates(source_, schema_, workload_)) {
    const Table* table = schema_.find(index.table);
    if (table == nullptr || is_tiny(*table) || found.size() >= kMostPlanned) continue;
    found.push_back({.index = std::move(index), .users = {}, .hidden = {}, .picked = {}});
  }
  std::erase_if(found, [this](Candidate& candidate) {
    if (!add(candidate.index)) return true;
    note_users(candidate);
    drop_index(clone_.get(), candidate.index.name);
    return false;
  });
  note_users_of_all(found, false);
  note_users_of_all(found, true);
  std::erase_if(found, [](const Candidate& candidate) {
    return candidate.users.empty() && candidate.hidden.empty();
  });
  return found;
}

// When it is the only new index.
void Planning::note_users(Candidate& candidate) {
  for (std::size_t i = 0; i < workload_.queries.size(); ++i) {
    const WorkloadQuery& query = workload_.queries[i];
    if (!query.touches(candidate.index.table)) continue;
    if (indexes_of(query.sql()).count(candidate.index.name) != 0) {
      candidate.users.insert(i);
    }
    for (const std::string& sql : query.hidden) {
      if (indexes_of(sql).count(candidate.index.name) != 0) {
        candidate.hidden.insert(i);
      }
    }
  }
}

// When all are there, or all that do not cover: the arms of an OR are used together or not at all,
// and the planner takes what covers where it may.
void Planning::note_users_of_all(std::vector<Candidate>& candidates, bool keys_only) {
  std::set<std::string> shown;
  for (const Candidate& candidate : candidates) {
    if (keys_only && candidate.index.covering) continue;
    if (add(candidate.index)) shown.insert(candidate.index.name);
  }
  for (std::size_t i = 0; i < workload_.queries.size(); ++i) {
    const std::set<std::string> used = indexes_of(workload_.queries[i].sql());
    for (Candidate& candidate : candidates) {
      if (used.count(candidate.index.name) == 0) continue;
      candidate.users.insert(i);
      if (keys_only) candidate.picked.insert(i);
    }
  }
  for (const std::string& name : shown) drop_index(clone_.get(), name);
}

std::vector<std::set<std::size_t>> Planning::picked(const std::vector<const Candidate*>& indexes,
                                                    const std::set<std::size_t>& queries) {
  std::vector<std::set<std::size_t>> users(indexes.size());
  for (const Candidate* candidate : indexes) static_cast<void>(add(candidate->index));
  for (const std::size_t i : queries) {
    std::vector<std::string> texts = workload_.queries[i].hidden;
    texts.push_back(workload_.queries[i].sql());
    for (const std::string& sql : texts) {
      const std::set<std::string> used = indexes_of(sql);
      for (std::size_t k = 0; k < indexes.size(); ++k) {
        if (used.count(indexes[k]->index.name) != 0) users[k].insert(i);
      }
    }
  }
  for (const Candidate* candidate : indexes) drop_index(clone_.get(), candidate->index.name);
  return users;
}

std::vector<IndexAdvice> Planning::advice(const std::vector<Candidate>& candidates,
                                          const std::set<std::size_t>& queries) {
  std::vector<const Candidate*> kept;
  for (const Candidate& candidate : candidates) {
    if (!candidate.index.covering) kept.push_back(&candidate);
  }
  const std::vector<std::set<std::size_t>> first = picked(kept, queries);
  std::vector<const Candidate*> used;
  for (std::size_t k = 0; k < kept.size(); ++k) {
    if (!first[k].empty()) used.push_back(kept[k]);
  }
  const std::vector<const Candidate*> all = used;
  std::erase_if(used, [&all](const Candidate* candidate) {
    return std::any_of(all.begin(), all.end(), [candidate](const Candidate* other) {
      return begins_with(other->index, candidate->index);
    });
  });
  const std::vector<std::set<std::size_t>> users = picked(used, queries);
  std::vector<IndexAdvice> advice;
  for (std::size_t k = 0; k < used.size(); ++k) {
    if (users[k].empty()) continue;
    IndexAdvice made = describe(used[k]->index);
    for (const std::size_t query : users[k]) {
      made.used_by.push_back(workload_.queries[query].fingerprint);
    }
    for (const WorkloadQuery& query : workload_.queries) {
      const double cost = write_cost(used[k]->index, query);
      if (cost > 0) made.write_costs.emplace_back(query.fingerprint, cost);
      made.write_cost += query.weight * cost;
    }
    made.reason = "the planner uses it; nothing was run";
    advice.push_back(std::move(made));
  }
  return advice;
}

}  // namespace mcp::query
