// costs.cpp: runs statements on a trial, once for each plan, and remembers what they cost.
#include "query/costs.h"

#include <algorithm>

#include "query/plan.h"

namespace mcp::query {
namespace {

constexpr double kPlanning_units = 5'000;
// A run that was stopped is not repeated for a limit that is hardly higher.
constexpr double kHardlyHigher = 1.6;
// Of the meter, for runs of statements that seem to have no end: beside others, and alone.
constexpr double kShareOfEndless = 0.25;
constexpr double kShareOfEndlessAlone = 0.5;

// Names of the indexes of a table that are there now, as a text.
std::string indexes_on(sqlite3* db, const std::string& table) {
  const Statement names =
      prepare(db,
              "SELECT group_concat(name, '/') FROM (SELECT name FROM pragma_index_list(?1) "
              "ORDER BY name)");
  bind_text(names.get(), 1, table);
  return step(names.get()) ? column_text(names.get(), 0) : std::string();
}

// A pattern that begins with text searches an index; one that begins with a wildcard cannot. What
// other values are shows in the plan only with the samples of sqlite_stat4.
bool plan_depends_on_values(const Outline& outline) {
  static const bool has_samples = sqlite3_compileoption_used("ENABLE_STAT4") != 0;
  if (outline.parameters == 0) return false;
  return has_samples ||
         std::any_of(outline.tokens.begin(), outline.tokens.end(),
                     [](const auto& token) { return token.is("LIKE") || token.is("GLOB"); });
}

}  // namespace

const PlanCost& WorkloadCosts::of(std::size_t number, double most_steps) {
  const CostedQuery& query = queries_[number];
  std::string plan;
  std::set<std::string> indexes;
  std::string_view explained;
  for (const TrialRun& run : query.trial.runs) {
    const bool by_values = plan_depends_on_values(*run.outline);
    if (!by_values && run.sql == explained) continue;  // other values for the same text
    explained = run.sql;
    for (const PlanStep& step : by_values ? trial_.explained(run) : explain(trial_.db(), run.sql)) {
      plan += step.detail + '\n';
      if (!step.index.empty()) indexes.insert(step.index);
    }
    meter_.spend(kPlanning_units);
  }
  for (const std::string& table : query.hidden_tables) {
    plan += table + ": " + indexes_on(trial_.db(), table) + '\n';
  }
  PlanCost& known = known_[{number, std::move(plan)}];
  const bool is_known = known.cost.runs > 0;
  const double tried = std::max(known.most_steps, known.cost.units());
  if (is_known && (!known.cost.stopped || tried * kHardlyHigher >= most_steps)) return known;
  known.indexes = std::move(indexes);
  if (gave_up(number)) {
    if (!is_known) known.cost = endless_.at(number);
    return known;
  }
  known.most_steps = std::min(most_steps, std::max(meter_.all(), kPlanning_units));
  known.cost = trial_.measure(query.trial, known.most_steps);
  const double spent = known.cost.units() * known.cost.runs;
  meter_.spend(spent);
  if (!known.cost.stopped) {
    endless_.erase(number);
  } else if (endless_.count(number) != 0) {
    left_for_endless_ -= spent;
  }
  return known;
}

void WorkloadCosts::bound(std::map<std::size_t, Cost> endless) {
  endless_ = std::move(endless);
  const bool alone = endless_.size() == queries_.size();
  left_for_endless_ = (alone ? kShareOfEndlessAlone : kShareOfEndless) * meter_.whole();
}

bool WorkloadCosts::gave_up(std::size_t query) const {
  return left_for_endless_ <= 0 && endless_.count(query) != 0;
}

}  // namespace mcp::query
