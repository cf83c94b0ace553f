// proof.h: what the choice is worth: each statement run before and after, each index with the
// statements that use it, and the indexes of the database that nothing uses.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "query/advice.h"
#include "query/choice.h"
#include "query/costs.h"
#include "query/schema.h"
#include "query/trial.h"
#include "query/workload.h"

namespace mcp::query {

struct Tried {
  Trial& trial;
  WorkloadCosts& costs;
  const Workload& workload;
  const Schema& schema;
  const std::vector<CostedQuery>& costed;
  const std::vector<std::size_t>& numbers;  // in the workload, of `costed`
  const std::vector<IndexOption>& options;
};

class Proof {
 public:
  // Runs are repeated until `end`.
  Proof(Tried tried, TimeLimit end) : tried_(tried), end_(end) {}

  // Throws Error.
  void add_to(Advice& advice, const ChoiceState& before, const ChoiceState& chosen);

 private:
  [[nodiscard]] Cost timed(std::size_t query, Cost known) const;
  [[nodiscard]] std::set<std::string> names_of(const OptionSet& set) const;
  [[nodiscard]] IndexAdvice advice_on(std::size_t option, const ChoiceState& chosen);
  [[nodiscard]] bool uses(std::size_t query, std::size_t option, const ChoiceState& chosen);
  void add_figures(IndexAdvice& made, const std::set<std::size_t>& users) const;
  void add_write_costs(IndexAdvice& made, const CandidateIndex& index) const;
  void add_statements(Advice& advice) const;
  void note_plans_that_flip(Advice& advice) const;
  [[nodiscard]] bool may_be_used_elsewhere(const Table& table) const;
  void add_drops(Advice& advice, const ChoiceState& chosen);
  void consider_drop(Advice& advice, const Table& table, const Index& index,
                     const ChoiceState& chosen);
  [[nodiscard]] std::string covered_by(const Table& table, const Index& index,
                                       const ChoiceState& chosen) const;

  Tried tried_;
  TimeLimit end_;
  std::vector<Cost> before_;
  std::vector<Cost> after_;
  std::vector<PlanCost> plans_;
  std::vector<double> most_;  // steps of a run, by statement
  std::set<std::string> dropped_;
};

}  // namespace mcp::query
