#include "query/advisor.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"
#include "base/log.h"
#include "query/plan.h"
#include "query/workload.h"

namespace mcp::query {
namespace {

constexpr std::size_t kMostPlanned = 96;   // candidates asked about on the clone
constexpr std::size_t kMostMeasured = 32;  // candidates made on the copy
constexpr std::size_t kMostAdvised = 16;
constexpr int kSamples = 3;
constexpr double kWorthwhile = 0.8;  // of its cost before: what one statement must fall below
constexpr double kFewerSteps = 0.9;  // of its steps before: what the proof wants to see,
constexpr double kLessTime = 0.67;   // or this of its time
// Columns that only cover must save this much of what is left to pay without them, or of what the
// statements cost before.
constexpr double kNearlyAsGood = 0.15;
constexpr double kNegligible = 0.03;
constexpr double kCovering_s = 100e-6;  // and this in each run
constexpr double kStep_s = 100e-9;      // a VM step of a write, for weighing it against time

struct Candidate {
  CandidateIndex index;
  std::vector<std::size_t> users;     // queries whose plan has it when it is the only new index
  std::map<std::size_t, Cost> after;  // of users, measured with it alone
  double write_cost = 0;
};

IndexAdvice describe(const CandidateIndex& index) {
  IndexAdvice made;
  made.ddl = index.ddl();
  made.name = index.name;
  made.table = index.table;
  for (const IndexColumn& column : index.columns) made.columns.push_back(column.name);
  return made;
}

bool got_cheaper(const Cost& before, const Cost& after) {
  if (after.stopped || after.steps > before.steps) return false;
  return after.steps < kFewerSteps * before.steps || after.seconds < kLessTime * before.seconds;
}

class Advisor {
 public:
  Advisor(const std::string& path, const std::vector<WorkloadEntry>& entries,
          const AdviceOptions& options)
      : options_(options),
        deadline_(now_precise() + options.budget_ns),
        source_(open_read_only(path)),
        workload_(prepare_workload(source(), entries)),
        schema_(source(), workload_.tables) {}

  std::vector<IndexAdvice> run() {
    plan_candidates();
    if (candidates_.empty()) return {};
    if (!options_.measure || !start_trial(options_.choice)) return planned(candidates_);
    measure_candidates();
    const std::vector<const Candidate*> chosen = choose();
    if (!start_trial(options_.proof)) return planned(candidates_);
    std::vector<IndexAdvice> advice = prove(chosen);
    // What the budget did not reach is advised on the planner's word.
    for (IndexAdvice& index : planned(unmeasured_)) advice.push_back(std::move(index));
    return advice;
  }

 private:
  [[nodiscard]] sqlite3* source() const { return source_.get(); }
  [[nodiscard]] const std::vector<WorkloadQuery>& queries() const { return workload_.queries; }
  [[nodiscard]] bool late() const { return now_precise() > deadline_; }

  // Asks the planner about each candidate, on a clone where it is the only new index.
  void plan_candidates() {
    clone_ = clone_schema(source());
    std::vector<CandidateIndex> indexes = workload_candidates(source(), schema_, workload_);
    std::erase_if(indexes, [this](const CandidateIndex& index) {
      const Table* table = schema_.find(index.table);
      return table == nullptr || is_tiny(*table);
    });
    if (indexes.size() > kMostPlanned) indexes.resize(kMostPlanned);
    for (CandidateIndex& index : indexes) {
      Candidate candidate{.index = std::move(index), .users = {}, .after = {}};
      add_hypothetical(clone_.get(), source(), schema_, candidate.index);
      for (std::size_t i = 0; i < queries().size(); ++i) {
        if (touches(queries()[i], candidate.index.table) &&
            uses_index(explain(clone_.get(), queries()[i].sql), candidate.index.name)) {
          candidate.users.push_back(i);
        }
      }
      drop_index(clone_.get(), candidate.index.name);
      if (candidate.users.empty()) continue;
      candidate.write_cost = write_cost(candidate.index, workload_);
      candidates_.push_back(std::move(candidate));
    }
  }

  static bool touches(const WorkloadQuery& query, const std::string& table) {
    return query.footprint.reads.count(table) != 0 || query.footprint.writes.count(table) != 0;
  }

  // Copies, and measures every statement as things are. False when the statements cannot be run, or
  // that does not fit the budget.
  bool start_trial(const TrialLimits& limits) {
    for (const WorkloadQuery& query : queries()) {
      if (!query.runnable) return false;
    }
    try {
      trial_.emplace(source(), schema_, limits, deadline_);
      trial_queries_.clear();
      for (const WorkloadQuery& query : queries()) {
        TrialQuery made{.sql = query.sql,
                        .outline = {},
                        .parameters = {},
                        .readonly = query.footprint.readonly};
        made.outline = outline_of(query.sql);
        made.parameters = sample_parameters(trial_->db(), schema_, made.outline, kSamples);
        trial_queries_.push_back(std::move(made));
      }
      before_.assign(queries().size(), Cost{});
      for (std::size_t i = 0; i < queries().size(); ++i) {
        if (late()) return false;
        if (measurable(i)) before_[i] = trial_->measure(trial_queries_[i]);
      }
    } catch (const Error& error) {
      logger("query").info("index advice is planned only: {}", error.what());
      return false;
    }
    return true;
  }

  // Inserts and the like gain nothing from an index.
  [[nodiscard]] bool measurable(std::size_t query) const {
    return std::any_of(candidates_.begin(), candidates_.end(), [query](const Candidate& candidate) {
      return std::find(candidate.users.begin(), candidate.users.end(), query) !=
             candidate.users.end();
    });
  }

  void measure_candidates() {
    // The most time at stake first: the budget may not reach all.
    std::stable_sort(
        candidates_.begin(), candidates_.end(),
        [this](const Candidate& a, const Candidate& b) { return stake(a) > stake(b); });
    if (candidates_.size() > kMostMeasured) candidates_.resize(kMostMeasured);
    const Instant half = deadline_ - options_.budget_ns / 2;  // the proof needs the other half
    for (Candidate& candidate : candidates_) {
      if (now_precise() > half) {
        unmeasured_.push_back(candidate);
        continue;
      }
      try {
        trial_->create(candidate.index);
        for (const std::size_t query : candidate.users) {
          if (uses_index(explain(trial_->db(), queries()[query].sql), candidate.index.name)) {
            candidate.after[query] = trial_->measure(trial_queries_[query]);
          }
        }
      } catch (const Error& error) {
        logger("query").info("no trial of {}: {}", candidate.index.name, error.what());
        candidate.after.clear();
      }
      trial_->drop(candidate.index);
    }
    std::erase_if(candidates_, [](const Candidate& candidate) { return candidate.after.empty(); });
  }

  [[nodiscard]] double stake(const Candidate& candidate) const {
    double seconds = 0;
    for (const std::size_t query : candidate.users) {
      seconds += queries()[query].weight * before_[query].seconds;
    }
    return seconds;
  }

  // What the workload costs when `candidate` joins the indexes behind `current`.
  [[nodiscard]] double total_with(const Candidate& candidate, const std::vector<double>& current,
                                  const std::vector<bool>& served) const {
    double total = candidate.write_cost * kStep_s;
    for (std::size_t i = 0; i < current.size(); ++i) {
      const auto found = candidate.after.find(i);
      double cost = current[i];
      // The planner takes the only index it has, for better or worse.
      if (found != candidate.after.end()) {
        cost = served[i] ? std::min(cost, found->second.seconds) : found->second.seconds;
      }
      total += queries()[i].weight * cost;
    }
    return total;
  }

  [[nodiscard]] bool is_worthwhile(const Candidate& candidate,
                                   const std::vector<double>& current) const {
    return std::any_of(candidate.after.begin(), candidate.after.end(), [&](const auto& entry) {
      const auto& [query, cost] = entry;
      return !cost.stopped && cost.seconds < kWorthwhile * current[query] &&
             current[query] - cost.seconds > kNegligible * before_[query].seconds &&
             (!candidate.index.covering || current[query] - cost.seconds > kCovering_s) &&
             cost.steps < before_[query].steps;
    });
  }

  // Greedy: the index that leaves the least to pay, again and again. Among those that leave nearly
  // the same the one with fewer columns.
  std::vector<const Candidate*> choose() {
    std::vector<double> current(queries().size());
    std::vector<bool> served(queries().size());
    double total = 0;
    for (std::size_t i = 0; i < current.size(); ++i) {
      current[i] = before_[i].seconds;
      total += queries()[i].weight * current[i];
    }
    std::vector<const Candidate*> chosen;
    while (chosen.size() < kMostAdvised) {
      const Candidate* best = best_addition(current, served);
      if (best == nullptr) break;
      const double with = total_with(*best, current, served);
      if (with >= total) break;
      chosen.push_back(best);
      total = with;
      for (const auto& [query, cost] : best->after) {
        current[query] = served[query] ? std::min(current[query], cost.seconds) : cost.seconds;
        served[query] = true;
      }
    }
    return chosen;
  }

  [[nodiscard]] double steps_with(const Candidate& candidate) const {
    double steps = 0;
    for (std::size_t i = 0; i < before_.size(); ++i) {
      const auto found = candidate.after.find(i);
      const Cost& cost = found == candidate.after.end() ? before_[i] : found->second;
      steps += queries()[i].weight * cost.steps;
    }
    return steps;
  }

  [[nodiscard]] const Candidate* best_addition(const std::vector<double>& current,
                                               const std::vector<bool>& served) const {
    std::vector<std::pair<double, const Candidate*>> totals;
    for (const Candidate& candidate : candidates_) {
      if (!is_worthwhile(candidate, current)) continue;
      totals.emplace_back(total_with(candidate, current, served), &candidate);
    }
    if (totals.empty()) return nullptr;
    const auto [least, first] = *std::min_element(totals.begin(), totals.end());
    double left = 0;    // what its statements still cost
    double before = 0;  // and what they cost without any
    double runs = 0;
    for (const auto& [query, cost] : first->after) {
      left += queries()[query].weight * cost.seconds;
      before += queries()[query].weight * before_[query].seconds;
      runs += queries()[query].weight;
    }
    const double covering_pays = std::max(kNegligible * before, kCovering_s * runs);
    // Among its relatives that are as good, within what a clock can tell: columns that only cover
    // must pay, then opcodes decide, then columns.
    const auto rank = [this](const Candidate& candidate) {
      return std::tuple(candidate.index.covering, steps_with(candidate),
                        candidate.index.columns.size());
    };
    const Candidate* best = first;
    for (const auto& [total, candidate] : totals) {
      if (!begins_with(*first, *candidate) && !begins_with(*candidate, *first)) continue;
      const bool uncovers = first->index.covering && !candidate->index.covering;
      const double slack = std::max(kNearlyAsGood * left, uncovers ? covering_pays : 0);
      if (total <= least + slack && rank(*candidate) < rank(*best)) best = candidate;
    }
    return best;
  }

  // Makes the whole choice, and keeps what the planner then uses to the good.
  std::vector<IndexAdvice> prove(const std::vector<const Candidate*>& chosen) {
    for (const Candidate* candidate : chosen) trial_->create(candidate->index);
    std::vector<Cost> after(queries().size());
    std::vector<std::vector<PlanStep>> plans(queries().size());
    for (std::size_t i = 0; i < queries().size(); ++i) {
      if (!measurable(i)) continue;
      plans[i] = explain(trial_->db(), queries()[i].sql);
      after[i] = trial_->measure(trial_queries_[i]);
    }
    std::vector<IndexAdvice> advice;
    for (const Candidate* candidate : chosen) {
      IndexAdvice made = describe(candidate->index);
      made.write_cost = candidate->write_cost;
      made.cost_before = 0;
      made.cost_after = 0;
      for (std::size_t i = 0; i < queries().size(); ++i) {
        if (!uses_index(plans[i], candidate->index.name)) continue;
        if (!got_cheaper(before_[i], after[i])) continue;
        made.used_by.push_back(queries()[i].fingerprint);
        *made.cost_before += queries()[i].weight * before_[i].steps;
        *made.cost_after += queries()[i].weight * after[i].steps;
      }
      made.verified = true;
      const bool pays = *made.cost_before > *made.cost_after + made.write_cost;
      if (!made.used_by.empty() && pays) advice.push_back(std::move(made));
    }
    return advice;
  }

  // By the planner alone: with the candidates on the clone, those that it picks; then without the
  // ones whose columns another one begins with. Whether covering pays is not for it to say.
  std::vector<IndexAdvice> planned(const std::vector<Candidate>& candidates) {
    std::vector<const Candidate*> kept;
    for (const Candidate& candidate : candidates) {
      if (!candidate.index.covering) kept.push_back(&candidate);
    }
    std::map<const Candidate*, std::vector<std::size_t>> users = picked(kept);
    std::erase_if(kept, [&](const Candidate* candidate) {
      return users[candidate].empty() || is_prefix_of_another(*candidate, kept, users);
    });
    users = picked(kept);
    std::vector<IndexAdvice> advice;
    for (const Candidate* candidate : kept) {
      if (users[candidate].empty()) continue;
      IndexAdvice made = describe(candidate->index);
      made.write_cost = candidate->write_cost;
      for (const std::size_t query : users[candidate]) {
        made.used_by.push_back(queries()[query].fingerprint);
      }
      advice.push_back(std::move(made));
    }
    return advice;
  }

  std::map<const Candidate*, std::vector<std::size_t>> picked(
      const std::vector<const Candidate*>& indexes) {
    std::map<const Candidate*, std::vector<std::size_t>> users;
    for (const Candidate* candidate : indexes) {
      add_hypothetical(clone_.get(), source(), schema_, candidate->index);
    }
    for (std::size_t i = 0; i < queries().size(); ++i) {
      const std::vector<PlanStep> plan = explain(clone_.get(), queries()[i].sql);
      for (const Candidate* candidate : indexes) {
        if (uses_index(plan, candidate->index.name)) users[candidate].push_back(i);
      }
    }
    for (const Candidate* candidate : indexes) drop_index(clone_.get(), candidate->index.name);
    return users;
  }

  static bool is_prefix_of_another(const Candidate& candidate,
                                   const std::vector<const Candidate*>& others,
                                   std::map<const Candidate*, std::vector<std::size_t>>& users) {
    return std::any_of(others.begin(), others.end(), [&](const Candidate* other) {
      return !users[other].empty() && begins_with(*other, candidate);
    });
  }

  // True when the longer index can do all that the shorter one does.
  static bool begins_with(const Candidate& longer, const Candidate& shorter) {
    const auto& columns = shorter.index.columns;
    const auto& more = longer.index.columns;
    return longer.index.table == shorter.index.table && more.size() > columns.size() &&
           std::equal(columns.begin(), columns.end(), more.begin(),
                      [](const IndexColumn& a, const IndexColumn& b) {
                        return a.name == b.name && a.collation == b.collation &&
                               a.descending == b.descending;
                      });
  }

  const AdviceOptions& options_;
  const Instant deadline_;
  const Database source_;
  const Workload workload_;
  const Schema schema_;
  Database clone_;
  std::vector<Candidate> candidates_;
  std::vector<Candidate> unmeasured_;
  std::optional<Trial> trial_;
  std::vector<TrialQuery> trial_queries_;
  std::vector<Cost> before_;
};

}  // namespace

std::vector<IndexAdvice> advise(const std::string& path, const std::vector<WorkloadEntry>& workload,
                                const AdviceOptions& options) {
  return Advisor(path, workload, options).run();
}

std::vector<IndexAdvice> planned_advice(sqlite3* source, const Schema& schema,
                                        std::string_view sql) {
  const std::vector<LookupRequest> requests = lookup_requests(source, schema, sql);
  std::vector<CandidateIndex> indexes = candidates_for(schema, requests, {});
  std::erase_if(indexes, [](const CandidateIndex& index) { return index.covering; });
  if (indexes.empty()) return {};
  const Database clone = clone_schema(source);
  for (const CandidateIndex& index : indexes) {
    add_hypothetical(clone.get(), source, schema, index);
  }
  const std::vector<PlanStep> plan = explain(clone.get(), sql);
  std::vector<IndexAdvice> advice;
  for (const CandidateIndex& index : indexes) {
    if (!uses_index(plan, index.name)) continue;
    advice.push_back(describe(index));
  }
  return advice;
}

}  // namespace mcp::query
