// choice.h: the set of indexes that a workload is best served by, under a budget of indexes and
// bytes. Every set is tried: made visible on a trial, and the statements that it concerns are
// planned and, where the plan is new, run.
//
// First by the planner's word for one statement after the other: a set that is good soon. Then
// greedy over single indexes and over the groups that the planner uses together for one statement
// (both sides of a join, the arms of an OR), then what no longer pays is taken out and longer
// indexes are exchanged for shorter ones. Decided by units (Cost), so the same workload has the
// same choice.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "query/costs.h"

namespace mcp::query {

struct IndexOption {
  CandidateIndex index;
  std::int64_t bytes = 0;
  double write_units = 0;               // a weighted sum over the writes that are not run
  std::set<std::size_t> concerns = {};  // statements that touch its table
};

struct ChoiceLimits {
  std::size_t indexes = 16;
  std::int64_t bytes = 0;
};

using OptionSet = std::set<std::size_t>;

struct ChoiceState {
  OptionSet chosen;
  std::vector<double> costs;  // units a run, by statement
  double total = 0;           // weighted, with the price of writes
  std::int64_t bytes = 0;
  // A statement got so much worse that its run was stopped: its cost is a lower bound.
  bool uncertain = false;
};

class Choice {
 public:
  // `before` is what each statement costs without any option. Options may be added meanwhile.
  Choice(Trial& trial, WorkloadCosts& costs, const std::vector<IndexOption>& options,
         ChoiceLimits limits, Meter& meter, const ChoiceState& before)
      : trial_(trial),
        costs_(costs),
        options_(options),
        limits_(limits),
        meter_(meter),
        start_(before),
        before_(before.costs),
        least_(before.costs) {
    finish(start_);
  }

  // The best set that is found; `so_far` is one that is known, and is given back where none is
  // better. `groups` are options that may pay only together, besides those that plans show. Throws
  // Error.
  ChoiceState run(const ChoiceState& so_far, const std::set<OptionSet>& groups);
  // With these options too, which `query` may use, where that pays. Throws Error.
  ChoiceState with(const ChoiceState& state, const OptionSet& more, std::size_t query);
  // With the shorter index for the longer one that it begins, where it is nearly as good. Throws
  // Error.
  ChoiceState with_shorter(const ChoiceState& state, std::size_t longer, std::size_t shorter);
  // Without what does not pay. Throws Error.
  ChoiceState without_the_useless(ChoiceState state);
  // The total of the statements that come to an end: what a gain is measured by.
  [[nodiscard]] double judged(const ChoiceState& state) const;
  // The same state anew, for other statistics or further runs. Throws Error.
  ChoiceState evaluate(const OptionSet& chosen);

 private:
  [[nodiscard]] ChoiceState changed(const ChoiceState& from, const OptionSet& to);
  // The same, given up (uncertain) as soon as it can no longer be better, as far as is known. What
  // `hopeful` may gain is not.
  [[nodiscard]] ChoiceState improved(const ChoiceState& from, const OptionSet& to,
                                     std::optional<std::size_t> hopeful = std::nullopt);
  [[nodiscard]] std::set<std::size_t> concerned_by(const OptionSet& from,
                                                   const OptionSet& to) const;
  bool run_again(ChoiceState& state, const ChoiceState& from, std::size_t query, double most);
  [[nodiscard]] std::set<std::string> names_of(const OptionSet& set) const;
  [[nodiscard]] double most_steps(std::size_t query, double now) const;
  [[nodiscard]] double until_hopeless(std::size_t query, double now) const;
  [[nodiscard]] double far_from_best(std::size_t query) const;
  void finish(ChoiceState& state) const;
  [[nodiscard]] std::vector<OptionSet> moves(const std::set<OptionSet>& groups);
  void add_used_together(std::set<OptionSet>& moves, const OptionSet& visible);
  [[nodiscard]] bool is_worthwhile(const ChoiceState& without, const ChoiceState& with) const;
  [[nodiscard]] bool only_covers(const OptionSet& without, const OptionSet& with) const;
  [[nodiscard]] bool has_beginning(const OptionSet& set) const;
  [[nodiscard]] bool fits(const OptionSet& set) const;
  [[nodiscard]] double share_of(const ChoiceState& from, const ChoiceState& to) const;
  [[nodiscard]] double most_gain(const ChoiceState& from, const OptionSet& move) const;
  [[nodiscard]] std::optional<ChoiceState> with_move(const ChoiceState& state,
                                                     const OptionSet& move, double least_score,
                                                     double& score);
  [[nodiscard]] const OptionSet* remedy_for(const ChoiceState& from, const ChoiceState& with) const;
  void refine(ChoiceState& state, const std::vector<OptionSet>& moves);
  bool add_round(ChoiceState& state, const std::vector<OptionSet>& moves);
  void take_out_the_useless(ChoiceState& state);
  void lengthen(ChoiceState& state);
  void shorten(ChoiceState& state);
  void exchange(ChoiceState& state);
  void swap(ChoiceState& state, const std::vector<OptionSet>& moves);
  [[nodiscard]] std::vector<std::pair<double, std::size_t>> losses(const ChoiceState& state);
  void slim(ChoiceState& state);
  void slim_by(ChoiceState& state, std::size_t option, std::size_t partial);
  [[nodiscard]] bool is_nearly_as_good(const ChoiceState& longer, const ChoiceState& shorter,
                                       bool uncovers) const;

  Trial& trial_;
  WorkloadCosts& costs_;
  const std::vector<IndexOption>& options_;
  const ChoiceLimits limits_;
  Meter& meter_;
  ChoiceState start_;
  std::vector<double> before_;
  std::map<std::size_t, OptionSet> together_;  // what a statement uses when it may have all
  std::set<std::size_t> used_;  // options that the planner takes when it may have all
  std::vector<double> least_;   // the least that was ever seen, by statement
};

// True when the longer index can do all that the shorter one does.
[[nodiscard]] bool begins_with(const CandidateIndex& longer, const CandidateIndex& shorter);

}  // namespace mcp::query
