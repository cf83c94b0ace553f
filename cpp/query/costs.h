// costs.h: what each statement of a workload costs with the indexes that a trial shows. A statement
// is run once for each plan that it is seen to have, and remembered.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "query/trial.h"

namespace mcp::query {

// How much work is left, of all and of the round under way. It is counted in units, so that the
// same workload gets the same advice on an idle machine and on a busy one; the time limit has the
// last word. Rounds do not depend on how much there is of all: with more, those of less come first.
class Meter {
 public:
  Meter(double units, TimeLimit limit) : round_(units), left_(units), all_(units), limit_(limit) {}

  void spend(double units) noexcept { left_ -= units, all_ -= units; }
  void begin_round(double units) noexcept { round_ = left_ = units; }
  void extend(double units) noexcept { all_ += units; }
  // The round, or all.
  [[nodiscard]] bool is_spent() const { return left_ <= 0 || is_all_spent(); }
  [[nodiscard]] bool is_all_spent() const { return all_ <= 0 || limit_.passed(); }
  // By the time limit, with units left: how far things went depends on the machine.
  [[nodiscard]] bool is_late() const { return all_ > 0 && limit_.passed(); }
  [[nodiscard]] double all() const noexcept { return all_; }
  [[nodiscard]] double left() const noexcept { return left_; }    // of the round
  [[nodiscard]] double whole() const noexcept { return round_; }  // that it began with

 private:
  double round_;
  double left_;
  double all_;
  TimeLimit limit_;
};

struct PlanCost {
  Cost cost;
  double most_steps = 0;          // where the run would have been stopped
  std::set<std::string> indexes;  // that the plan names
};

struct CostedQuery {
  TrialQuery trial;
  // Its plan does not show all that it does (triggers, foreign keys): these are the tables where it
  // does that, and any change of their indexes may change its cost.
  std::set<std::string> hidden_tables;
  double weight = 1;
  bool sampled_values = false;  // parameters whose values are taken from the tables
};

class WorkloadCosts {
 public:
  WorkloadCosts(Trial& trial, const std::vector<CostedQuery>& queries, Meter& meter)
      : trial_(trial), queries_(queries), meter_(meter) {}

  // With the indexes that the trial shows now. Runs are stopped at `most_steps`, and where the
  // meter has no more. Throws Error.
  const PlanCost& of(std::size_t query, double most_steps);

  // These statements were stopped before anything was tried, at that cost. The runs of those that
  // never came to an end get a share of each round together; then they are run no more in it, and
  // cost the same whatever the plan.
  void bound(std::map<std::size_t, Cost> endless);
  [[nodiscard]] bool gave_up(std::size_t query) const;
  // It was never seen to come to an end.
  [[nodiscard]] bool is_endless(std::size_t query) const { return endless_.count(query) != 0; }

  [[nodiscard]] std::size_t size() const { return queries_.size(); }
  [[nodiscard]] double weight(std::size_t query) const { return queries_[query].weight; }

 private:
  Trial& trial_;
  const std::vector<CostedQuery>& queries_;
  Meter& meter_;
  std::map<std::pair<std::size_t, std::string>, PlanCost> known_;  // by query and plan
  std::map<std::size_t, Cost> endless_;
  double left_for_endless_ = 0;
};

}  // namespace mcp::query
