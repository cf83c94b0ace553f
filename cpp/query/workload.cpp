// workload.cpp: compiles the statements of a workload, and leaves out what fails.
#include "query/workload.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "query/expressions.h"
#include "query/hidden.h"
#include "query/partial.h"
#include "sqlite/fingerprint.h"
#include "sqlite/tokenizer.h"

namespace mcp::query {
namespace {

constexpr std::size_t kMostQueries = 500;
constexpr std::size_t kMostTexts = 3;
constexpr std::size_t kMostGiven = 5;
// Opcodes that place or remove one index entry, besides one for each column of its record.
constexpr double kEntrySteps = 4;

void add_text(WorkloadQuery& query, const WorkloadEntry& entry) {
  auto text = std::find(query.texts.begin(), query.texts.end(), entry.sql);
  if (text == query.texts.end()) {
    if (query.texts.size() >= kMostTexts) return;
    text = query.texts.insert(text, entry.sql);
  }
  if (entry.parameters != nullptr && query.given.size() < kMostGiven) {
    query.given.emplace_back(text - query.texts.begin(), entry.parameters);
  }
}

std::vector<WorkloadQuery> by_fingerprint(const std::vector<WorkloadEntry>& entries) {
  std::vector<WorkloadQuery> queries;
  std::unordered_map<std::string, std::size_t> known;
  for (const WorkloadEntry& entry : entries) {
    if (!(entry.weight > 0) || std::isinf(entry.weight)) {
      throw invalid_argument("weight", std::to_string(entry.weight), "a positive number");
    }
    std::string fingerprint = sqlite::fingerprint(entry.sql);
    const auto [found, is_new] = known.try_emplace(fingerprint, queries.size());
    if (is_new) {
      queries.emplace_back();
      queries.back().fingerprint = std::move(fingerprint);
    }
    WorkloadQuery& query = queries[found->second];
    query.weight += entry.weight;
    add_text(query, entry);
  }
  // The heaviest first; what the bound cuts off is the lightest.
  std::stable_sort(queries.begin(), queries.end(),
                   [](const auto& a, const auto& b) { return a.weight > b.weight; });
  if (queries.size() > kMostQueries) queries.resize(kMostQueries);
  return queries;
}

std::set<std::string> functions_of_sqlite() {
  const Database db = open_memory();
  std::set<std::string> names;
  const Statement list = prepare(db.get(), "SELECT DISTINCT lower(name) FROM pragma_function_list");
  while (step(list.get())) names.insert(column_text(list.get(), 0));
  return names;
}

std::string foreign_function(const std::set<std::string>& called,
                             const std::set<std::string>& known) {
  for (const std::string& name : called) {
    if (known.count(name) == 0) return name;
  }
  return {};
}

bool is_query(const std::string& sql) {
  const Verb verb = outline_of(sql).verb;
  return verb != Verb::kOther && verb != Verb::kNone;
}

// Transactions and settings stand in every log: not worth a note.
bool says_when(const std::string& sql) {
  sqlite::Tokenizer tokens(sql);
  const sqlite::Token first = tokens.next();
  for (const std::string_view word :
       {"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA"}) {
    if (first.is(word)) return true;
  }
  return false;
}

// Triggers and foreign keys: what they do and where.
void add_hidden(sqlite3* source, WorkloadQuery& query) {
  for (std::string& sql : hidden_statements(source, query.footprint)) {
    try {
      const Footprint footprint = footprint_of(source, sql, Trust::kTrusted);
      query.hidden_tables.merge(footprint.tables());
      query.hidden.push_back(std::move(sql));
    } catch (const Error&) {
      continue;  // RAISE and the like stand nowhere else
    }
  }
}

}  // namespace

bool WorkloadQuery::touches(const std::string& table) const {
  return footprint.reads.count(table) != 0 || footprint.writes.count(table) != 0 ||
         hidden_tables.count(table) != 0;
}

Workload prepare_workload(sqlite3* source, const std::vector<WorkloadEntry>& entries) {
  Workload workload;
  const std::set<std::string> functions = functions_of_sqlite();
  for (WorkloadQuery& query : by_fingerprint(entries)) {
    if (!is_query(query.sql())) {
      if (!says_when(query.sql())) {
        workload.refused.push_back(query.fingerprint +
                                   ": expected SELECT, INSERT, UPDATE or DELETE");
      }
      continue;
    }
    try {
      query.footprint = footprint_of(source, query.sql(), Trust::kTrusted);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kDatabaseCorrupt) throw;
      workload.refused.push_back(query.fingerprint + ": " + error.what());
      continue;
    }
    if (!query.footprint.readonly) add_hidden(source, query);
    query.runnable =
        std::includes(functions.begin(), functions.end(), query.footprint.functions.begin(),
                      query.footprint.functions.end());
    if (!query.runnable) {
      workload.refused.push_back(query.fingerprint + ": not run: it calls " +
                                 foreign_function(query.footprint.functions, functions) +
                                 "(), which is not SQLite's own");
    }
    std::set<std::string> tables = query.footprint.tables();
    workload.tables.merge(tables);
    workload.tables.insert(query.hidden_tables.begin(), query.hidden_tables.end());
    workload.queries.push_back(std::move(query));
  }
  // A stand-in for a collation has another order: no run tells anything then.
  if (has_stand_in_collations(source)) {
    for (WorkloadQuery& query : workload.queries) query.runnable = false;
  }
  return workload;
}

std::vector<CandidateIndex> workload_candidates(sqlite3* source, const Schema& schema,
                                                const Workload& workload) {
  std::vector<LookupRequest> requests;
  EqualityWeights weights;
  std::vector<CandidateIndex> others;
  for (const WorkloadQuery& query : workload.queries) {
    std::vector<std::string> texts = query.hidden;
    texts.push_back(query.sql());
    for (const std::string& sql : texts) {
      std::vector<LookupRequest> asked = lookup_requests(source, schema, sql);
      if (query.texts.size() == 1) {  // else the constant is another one each time
        for (CandidateIndex& index : partial_candidates(source, schema, sql, asked)) {
          others.push_back(std::move(index));
        }
      }
      for (LookupRequest& request : asked) {
        for (const RequestedColumn& column : request.equal) {
          weights[{request.table, column.column}] += query.weight;
        }
        requests.push_back(std::move(request));
      }
      for (CandidateIndex& index : expression_candidates(schema, sql)) {
        others.push_back(std::move(index));
      }
    }
  }
  return all_candidates_for(schema, requests, weights, others);
}

double write_cost(const CandidateIndex& index, const WorkloadQuery& query) {
  const double entry = index.share * (kEntrySteps + static_cast<double>(index.columns.size()));
  double cost = 0;
  for (const auto& [table, changes] : query.footprint.writes) {
    if (!same_name(table, index.table)) continue;
    if (changes.inserts) cost += entry;
    if (changes.deletes) cost += entry;
    const bool moves =
        std::any_of(changes.updated.begin(), changes.updated.end(),
                    [&index](const auto& name) { return same_name(name, index.where_column); });
    const bool updates =
        moves ||
        std::any_of(
            index.columns.begin(), index.columns.end(), [&changes = changes](const auto& column) {
              return std::any_of(
                  changes.updated.begin(), changes.updated.end(), [&column](const auto& name) {
                    return same_name(name, column.name) ||
                           (column.name.empty() &&
                            lower(column.expression).find(lower(name)) != std::string::npos);
                  });
            });
    if (updates) cost += entry * 2;
  }
  return cost;
}

}  // namespace mcp::query
