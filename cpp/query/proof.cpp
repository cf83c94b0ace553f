// proof.cpp: runs the statements before and after, and says what each index is worth.
#include "query/proof.h"

#include <algorithm>
#include <cstddef>
#include <map>

#include "base/error.h"
#include "query/plan.h"

namespace mcp::query {
namespace {

constexpr double kCheaper = 0.9;  // of its units before: what a statement that uses an index costs
constexpr double kSame = 1.02;
constexpr int kRuns = 3;
constexpr double kLong_s = 0.2;  // such runs are not repeated
constexpr double kLeast_steps = 1e6;
constexpr double kMostWorse =
    2;  // times its cost before: a run that takes longer tells nothing more

double bytes_of(sqlite3* db, const std::string& index) {
  try {
    const Statement size = prepare(db, "SELECT sum(pgsize) FROM dbstat WHERE name = ?1");
    bind_text(size.get(), 1, index);
    return step(size.get()) ? sqlite3_column_double(size.get(), 0) : 0;
  } catch (const Error&) {
    return 0;  // built without that table
  }
}

// Without it, SQLite reads the whole table whenever a row of the table that is referred to goes.
bool serves_foreign_key(sqlite3* db, const Table& table, const Index& index) {
  if (index.partial) return false;
  std::map<int, std::set<std::string>> keys;
  const Statement columns =
      prepare(db, "SELECT id, \"from\" FROM pragma_foreign_key_list(?1, 'main')");
  bind_text(columns.get(), 1, table.name);
  while (step(columns.get())) {
    keys[sqlite3_column_int(columns.get(), 0)].insert(lower(column_text(columns.get(), 1)));
  }
  return std::any_of(keys.begin(), keys.end(), [&index](const auto& key) {
    const std::set<std::string>& names = key.second;
    if (names.size() > index.columns.size()) return false;
    return std::all_of(
        index.columns.begin(), index.columns.begin() + static_cast<std::ptrdiff_t>(names.size()),
        [&names](const auto& column) { return names.count(lower(column.name)) != 0; });
  });
}

std::string column_list(const std::vector<IndexColumn>& columns) {
  std::string text;
  for (const IndexColumn& column : columns) text += (text.empty() ? "" : ", ") + column.name;
  return text;
}

// True when an index on `more` can do all that one on `columns` does.
bool is_prefix(const Table& table, const std::vector<IndexColumn>& columns,
               const std::vector<IndexColumn>& more) {
  const auto collation_of = [&table](const IndexColumn& column) {
    const Column* own = table.find_column(column.name);
    return column.collation.empty() && own != nullptr ? own->collation : column.collation;
  };
  return columns.size() <= more.size() &&
         std::equal(columns.begin(), columns.end(), more.begin(),
                    [&](const IndexColumn& a, const IndexColumn& b) {
                      return !a.name.empty() && same_name(a.name, b.name) &&
                             same_name(collation_of(a), collation_of(b)) &&
                             a.descending == b.descending;
                    });
}

}  // namespace

std::set<std::string> Proof::names_of(const OptionSet& set) const {
  std::set<std::string> names;
  for (const std::size_t option : set) names.insert(tried_.options[option].index.name);
  return names;
}

// The least time of a few runs, as long as there is time for them.
Cost Proof::timed(std::size_t query, Cost known) const {
  const double most_steps = std::max(2 * known.steps, kLeast_steps);
  for (int turn = 1; turn < kRuns && known.seconds < kLong_s && !known.stopped; ++turn) {
    if (end_.passed()) break;
    const Cost again = tried_.trial.measure(tried_.costed[query].trial, most_steps);
    if (again.stopped) break;
    known.seconds = std::min(known.seconds, again.seconds);
    known.runs += again.runs;
  }
  return known;
}

void Proof::add_to(Advice& advice, const ChoiceState& before, const ChoiceState& chosen) {
  tried_.trial.show(names_of(chosen.chosen));
  for (std::size_t i = 0; i < tried_.costed.size(); ++i) {
    most_.push_back(std::max(kMostWorse * before.costs[i], kLeast_steps));
    plans_.push_back(tried_.costs.of(i, most_[i]));
    after_.push_back(timed(i, plans_.back().cost));
  }
  note_plans_that_flip(advice);
  std::vector<IndexAdvice> made;
  for (const std::size_t option : chosen.chosen) made.push_back(advice_on(option, chosen));
  add_drops(advice, chosen);
  if (advice.statistics.has_value()) tried_.trial.use(Statistics::kAsTheyAre);
  tried_.trial.show({});
  for (std::size_t i = 0; i < tried_.costed.size(); ++i) {
    before_.push_back(timed(i, tried_.costs.of(i, kLeast_steps).cost));
  }
  for (IndexAdvice& index : made) {
    std::set<std::size_t> users;
    for (std::size_t i = 0; i < tried_.costed.size(); ++i) {
      const std::string& fingerprint = tried_.workload.queries[tried_.numbers[i]].fingerprint;
      const bool used =
          std::find(index.used_by.begin(), index.used_by.end(), fingerprint) != index.used_by.end();
      if (used && after_[i].units() < kCheaper * before_[i].units()) users.insert(i);
    }
    if (users.empty()) continue;
    add_figures(index, users);
    if (advice.sampled) index.confidence = "medium";
    advice.indexes.push_back(std::move(index));
  }
  std::stable_sort(advice.indexes.begin(), advice.indexes.end(), [](const auto& a, const auto& b) {
    return *a.cost_before - *a.cost_after > *b.cost_before - *b.cost_after;
  });
  add_statements(advice);
}

bool Proof::uses(std::size_t query, std::size_t option, const ChoiceState& chosen) {
  const CandidateIndex& index = tried_.options[option].index;
  if (plans_[query].indexes.count(index.name) != 0) return true;
  // What a trigger or a foreign key uses shows in no plan: it shows when it is gone.
  if (tried_.costed[query].hidden_tables.count(index.table) == 0) return false;
  OptionSet fewer = chosen.chosen;
  fewer.erase(option);
  tried_.trial.show(names_of(fewer));
  const double without = tried_.costs.of(query, most_[query]).cost.units();
  tried_.trial.show(names_of(chosen.chosen));
  return plans_[query].cost.units() < kCheaper * without;
}

IndexAdvice Proof::advice_on(std::size_t option, const ChoiceState& chosen) {
  const IndexOption& made = tried_.options[option];
  IndexAdvice advice = describe(made.index);
  advice.bytes = made.bytes;
  advice.verified = true;
  add_write_costs(advice, made.index);
  for (const std::size_t query : made.concerns) {
    if (!uses(query, option, chosen)) continue;
    advice.used_by.push_back(tried_.workload.queries[tried_.numbers[query]].fingerprint);
  }
  return advice;
}

void Proof::add_figures(IndexAdvice& made, const std::set<std::size_t>& users) const {
  made.used_by.clear();
  double cost[2] = {}, seconds[2] = {}, rows[2] = {};
  made.runs = 0;
  bool sampled_values = false;
  bool stopped = false;
  for (const std::size_t i : users) {
    const WorkloadQuery& query = tried_.workload.queries[tried_.numbers[i]];
    made.used_by.push_back(query.fingerprint);
    const Cost* costs[2] = {&before_[i], &after_[i]};
    for (int k = 0; k < 2; ++k) {
      cost[k] += query.weight * costs[k]->steps;
      seconds[k] += query.weight * costs[k]->seconds;
      rows[k] += query.weight * costs[k]->visited;
    }
    const int runs = std::min(before_[i].runs, after_[i].runs);
    made.runs = made.runs == 0 ? runs : std::min(made.runs, runs);
    sampled_values = sampled_values || tried_.costed[i].sampled_values;
    stopped = stopped || before_[i].stopped;
  }
  made.cost_before = cost[0], made.cost_after = cost[1];
  made.seconds_before = seconds[0], made.seconds_after = seconds[1];
  made.rows_before = rows[0], made.rows_after = rows[1];
  made.confidence = sampled_values ? "medium" : "high";
  made.reason = std::string("made on a copy; ") + std::to_string(users.size()) +
                (users.size() == 1 ? " statement uses" : " statements use") + " it" +
                (sampled_values ? ", with values from the tables" : "") +
                (stopped ? "; before, a run was stopped: it cost at least that" : "");
}

void Proof::add_write_costs(IndexAdvice& made, const CandidateIndex& index) const {
  for (const WorkloadQuery& query : tried_.workload.queries) {
    const double cost = write_cost(index, query);
    if (cost <= 0) continue;
    made.write_costs.emplace_back(query.fingerprint, cost);
    made.write_cost += query.weight * cost;
  }
}

void Proof::add_statements(Advice& advice) const {
  for (std::size_t i = 0; i < tried_.costed.size(); ++i) {
    const WorkloadQuery& query = tried_.workload.queries[tried_.numbers[i]];
    advice.statements.push_back({.fingerprint = query.fingerprint,
                                 .weight = query.weight,
                                 .cost_before = before_[i].steps,
                                 .cost_after = after_[i].steps,
                                 .seconds_before = before_[i].seconds,
                                 .seconds_after = after_[i].seconds,
                                 .rows_before = before_[i].visited,
                                 .rows_after = after_[i].visited,
                                 .runs = std::min(before_[i].runs, after_[i].runs),
                                 .at_least = before_[i].stopped});
  }
}

// The same statement with other values has another plan.
void Proof::note_plans_that_flip(Advice& advice) const {
  for (std::size_t i = 0; i < tried_.costed.size(); ++i) {
    std::set<std::string> plans;
    for (const TrialRun& run : tried_.costed[i].trial.runs) {
      std::string plan;
      for (const PlanStep& step : tried_.trial.explained(run)) plan += step.detail + '\n';
      plans.insert(std::move(plan));
    }
    if (plans.size() < 2) continue;
    advice.notes.push_back(tried_.workload.queries[tried_.numbers[i]].fingerprint + ": " +
                           std::to_string(plans.size()) + " plans, depending on the values");
  }
}

void Proof::add_drops(Advice& advice, const ChoiceState& chosen) {
  for (const auto& [name, table] : tried_.schema.tables()) {
    if (table.kind != TableKind::kTable) continue;
    for (const Index& index : table.indexes) {
      if (!index.unique && !index.name.starts_with("sqlite_")) {
        consider_drop(advice, table, index, chosen);
      }
    }
  }
  tried_.trial.show(names_of(chosen.chosen));
}

// What another index of the table, or one that is advised, does as well; empty when none does.
std::string Proof::covered_by(const Table& table, const Index& index,
                              const ChoiceState& chosen) const {
  if (index.partial) return {};
  for (const Index& other : table.indexes) {
    const bool same = other.columns.size() == index.columns.size();
    if (&other == &index || other.partial || dropped_.count(other.name) != 0) continue;
    if (same && !other.unique && other.name > index.name) continue;  // one of two goes
    if (is_prefix(table, index.columns, other.columns)) return other.name;
  }
  for (const std::size_t option : chosen.chosen) {
    const CandidateIndex& made = tried_.options[option].index;
    if (made.where.empty() && same_name(made.table, table.name) &&
        is_prefix(table, index.columns, made.columns)) {
      return made.name;
    }
  }
  return {};
}

// By a statement that reads the table and could not be run.
bool Proof::may_be_used_elsewhere(const Table& table) const {
  const std::vector<WorkloadQuery>& queries = tried_.workload.queries;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const bool tried =
        std::find(tried_.numbers.begin(), tried_.numbers.end(), i) != tried_.numbers.end();
    const bool reads = queries[i].footprint.reads.count(table.name) != 0 ||
                       queries[i].hidden_tables.count(table.name) != 0;
    if (!tried && reads) return true;
  }
  return false;
}

void Proof::consider_drop(Advice& advice, const Table& table, const Index& index,
                          const ChoiceState& chosen) {
  const std::string covering = covered_by(table, index, chosen);
  const bool used = std::any_of(plans_.begin(), plans_.end(), [&index](const PlanCost& plan) {
    return plan.indexes.count(index.name) != 0;
  });
  if (covering.empty() && (used || may_be_used_elsewhere(table) ||
                           serves_foreign_key(tried_.trial.db(), table, index))) {
    return;
  }
  tried_.trial.show(names_of(chosen.chosen), dropped_);
  const double bytes = bytes_of(tried_.trial.db(), index.name);
  std::set<std::string> without = dropped_;
  without.insert(index.name);
  tried_.trial.show(names_of(chosen.chosen), without);
  for (std::size_t i = 0; i < tried_.costed.size(); ++i) {
    const double units = tried_.costs.of(i, most_[i]).cost.units();
    if (units > kSame * plans_[i].cost.units() + 200) return;
  }
  dropped_.insert(index.name);
  DropAdvice drop;
  drop.ddl = "DROP INDEX " + quoted_if_needed(index.name);
  drop.index = index.name;
  drop.table = table.name;
  drop.reason = covering.empty() ? "unused" : "redundant";
  drop.evidence = covering.empty() ? "no statement of this workload uses it; others may"
                                   : covering + " begins with the same columns (" +
                                         column_list(index.columns) + ")";
  if (bytes > 0) drop.bytes = static_cast<std::int64_t>(bytes);
  CandidateIndex as_candidate{.name = index.name, .table = table.name, .columns = index.columns};
  for (const WorkloadQuery& query : tried_.workload.queries) {
    drop.write_cost += query.weight * write_cost(as_candidate, query);
  }
  advice.drops.push_back(std::move(drop));
}

}  // namespace mcp::query
