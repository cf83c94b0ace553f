// advisor.cpp: tries candidates on a copy, and keeps the sets that pay.
#include "query/advisor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "query/choice.h"
#include "query/plan.h"
#include "query/planning.h"
#include "query/proof.h"

namespace mcp::query {
namespace {

// An index of the table has the same columns in other directions: what that spares is little.
bool differs_in_direction_only(const Schema& schema, const CandidateIndex& candidate) {
  const Table* table = schema.find(candidate.table);
  const std::vector<IndexColumn>& columns = candidate.columns;
  const bool mixed = std::any_of(columns.begin(), columns.end(),
                                 [](const IndexColumn& column) { return column.descending; });
  if (table == nullptr || mixed || !candidate.where.empty()) return false;
  const auto is_same = [table](const IndexColumn& wanted, const IndexColumn& there) {
    const Column* column = table->find_column(wanted.name);
    return column != nullptr && same_name(wanted.name, there.name) &&
           same_name(wanted.collation.empty() ? column->collation : wanted.collation,
                     there.collation);
  };
  return std::any_of(table->indexes.begin(), table->indexes.end(), [&](const Index& index) {
    return !index.partial && index.columns.size() >= columns.size() &&
           std::equal(columns.begin(), columns.end(), index.columns.begin(), is_same);
  });
}

// What a second of the budget is worth: SQLite does up to three times as much on an idle machine,
// so the clock hardly ever decides.
constexpr double kUnitsASecond = 15e6;
constexpr double kCreating_units = 20;    // a row
constexpr double kPlanned_units = 1'000;  // a statement that is compiled on the clone
constexpr double kCopied_units = 100;     // a page
constexpr double kPage_bytes = 4096;
// The search goes in rounds, each with so many times the units of the one before. They are the same
// whatever the budget: a larger one goes on where a smaller one stops.
constexpr double kFirstRound_units = 10e6;  // at least
constexpr double kLong_units = 3e6;         // for each statement that takes long
constexpr double kNextRound = 4;
// Of the budget: what the search leaves for fresh statistics, and what tidying up after it may
// take.
constexpr double kShareOfStatistics = 0.35;
constexpr double kShareOfTidying = 0.05;
constexpr double kShareOfCreating = 0.4;
constexpr double kShareOfProof = 0.25;
constexpr std::size_t kMostMade = 56;
constexpr double kCoveringPromise = 0.2;
constexpr std::int64_t kMostMade_bytes = 128LL << 20;
constexpr std::int64_t kAlwaysAllowed_bytes = 4LL << 20;
// The statements as they are: how far each is run at first, how much further each time, and what
// share of the budget it all may take.
constexpr double kFirst_steps = 3e5;
constexpr double kFurther = 8;
constexpr double kShareOfBefore = 0.25;
constexpr double kServedWell = 8;  // times cheaper: what it cost before is known well enough
// Of what is left then: what the first picks may take.
constexpr double kShareOfFirst = 0.7;
// A statement whose first pick served it well still counts so much for what else is made.
constexpr double kServed = 0.2;
constexpr std::int64_t kManyOfThem = 5;  // that should have room together
// A VM step of keeping an index in order looks up pages, too.
constexpr double kWritten_units = 6;
constexpr int kSamples = 3;
constexpr double kAnalyzePays = 0.95;    // of the cost without fresh statistics
constexpr double kIndexValue_bytes = 3;  // that each value in an index takes besides itself

class Advisor {
 public:
  Advisor(const std::string& path, const std::vector<WorkloadEntry>& entries,
          const AdviceOptions& options)
      : options_(options),
        early_(options.stop),
        end_(TimeLimit::after(options.budget_ns, &early_)),
        choosing_(TimeLimit::after(
            static_cast<Duration>((1 - kShareOfProof) * static_cast<double>(options.budget_ns)),
            &early_)),
        units_(static_cast<double>(options.budget_ns) / kSecond * kUnitsASecond),
        meter_((1 - kShareOfStatistics - kShareOfTidying) * units_, choosing_),
        source_(opened(path)),
        workload_(prepare_workload(source(), entries)),
        schema_(source(), workload_.tables) {}

  Advice run() {
    advice_.notes = workload_.refused;
    Planning planning(source(), schema_, workload_);
    tell("planning", 0);
    candidates_ = planning.candidates();
    meter_.spend(kPlanned_units * static_cast<double>(planning.compiled()));
    std::set<std::size_t> by_word_only;
    if (!options_.measure || !start_trial()) {
      for (std::size_t i = 0; i < workload_.queries.size(); ++i) by_word_only.insert(i);
      advice_.indexes = planning.advice(candidates_, by_word_only);
      return std::move(advice_);
    }
    choose();
    for (std::size_t i = 0; i < workload_.queries.size(); ++i) {
      if (!workload_.queries[i].runnable) by_word_only.insert(i);
    }
    if (!by_word_only.empty()) add_planned(planning.advice(candidates_, by_word_only));
    return std::move(advice_);
  }

 private:
  static Database opened(const std::string& path) {
    Database db = open_and_leave_nothing(path);
    // Then compiling a write shows what its foreign keys do.
    execute(db.get(), "PRAGMA foreign_keys=1");
    return db;
  }

  [[nodiscard]] sqlite3* source() const { return source_.get(); }

  void tell(const char* what, double share) const {
    if (options_.progress) options_.progress(what, share);
  }

  // Copies, and runs every statement as things are. False when nothing can be run, or that does not
  // fit the budget.
  bool start_trial() {
    try {
      tell("copying", 0.05);
      trial_.emplace(source(), schema_, options_.copy, choosing_);
    } catch (const Error& error) {
      advice_.notes.push_back(std::string("nothing was run: ") + error.what());
      return false;
    }
    meter_.spend(kCopied_units * static_cast<double>(trial_->bytes()) / kPage_bytes);
    advice_.sampled = trial_->sampled();
    advice_.database_bytes = trial_->bytes();
    tell("running", 0.1);
    costs_.emplace(*trial_, costed_, meter_);
    for (std::size_t i = 0; i < workload_.queries.size(); ++i) run_before(i);
    if (meter_.is_all_spent()) {
      advice_.notes.emplace_back(
          "nothing was tried: the statements as they are took the whole budget");
      return false;
    }
    return !costed_.empty();
  }

  // Those that were stopped again, further each time, as long as that leaves most of the round.
  void run_further() {
    trial_->show({});
    const double least_left = (1 - kShareOfBefore) * meter_.whole();
    std::map<std::size_t, Cost> stopped = run_to(depth_);
    while (!stopped.empty()) {
      const double each = (meter_.left() - least_left) / static_cast<double>(stopped.size());
      const double next = std::min(kFurther * depth_, each);
      if (next < 2 * depth_) break;
      stopped = run_to(depth_ = next);
    }
    lacks_units_ = !stopped.empty();
    costs_->bound(std::move(stopped));
  }

  // Those that did not come to an end, without those that are known to be served well.
  std::map<std::size_t, Cost> run_to(double most_steps) {
    std::map<std::size_t, Cost> stopped;
    for (std::size_t i = 0; i < costed_.size() && !meter_.is_all_spent(); ++i) {
      if (i < best_.costs.size() && kServedWell * best_.costs[i] < before_.costs[i]) continue;
      const Cost& cost = costs_->of(i, most_steps).cost;
      before_.costs[i] = cost.units();
      if (cost.stopped) stopped[i] = cost;
    }
    return stopped;
  }

  void run_before(std::size_t number) {
    WorkloadQuery& query = workload_.queries[number];
    const bool only_inserts =
        !query.footprint.readonly && query.footprint.reads.empty() && query.hidden.empty();
    if (!query.runnable || only_inserts) return;
    try {
      costed_.push_back(costed_query(query));
      before_.costs.push_back(costs_->of(costed_.size() - 1, kFirst_steps).cost.units());
      numbers_.push_back(number);
    } catch (const Error& error) {
      costed_.pop_back();
      query.runnable = false;
      advice_.notes.push_back(query.fingerprint + ": not run: " + error.what());
    }
  }

  CostedQuery costed_query(const WorkloadQuery& query) {
    CostedQuery costed;
    costed.weight = query.weight;
    costed.hidden_tables = query.hidden.empty() ? std::set<std::string>() : query.hidden_tables;
    costed.trial.readonly = query.footprint.readonly;
    for (std::size_t text = 0; text < query.texts.size(); ++text) {
      outlines_.push_back(std::make_unique<Outline>(outline_of(query.texts[text])));
      const Outline* outline = outlines_.back().get();
      bool given = false;
      for (const auto& [number, values] : query.given) {
        if (number != text) continue;
        costed.trial.runs.push_back({query.texts[text], outline, ParameterSet(values)});
        given = true;
      }
      if (given) continue;
      costed.sampled_values = costed.sampled_values || outline->parameters > 0;
      for (ParameterSet& set : sample_parameters(trial_->db(), schema_, *outline, kSamples)) {
        costed.trial.runs.push_back({query.texts[text], outline, std::move(set)});
      }
    }
    return costed;
  }

  [[nodiscard]] double units_to_create(const Candidate& candidate) const {
    const Table* table = schema_.find(candidate.index.table);
    std::int64_t rows = table->rows.value_or(1'000'000);
    if (trial_->sampled()) rows = std::min(rows, options_.copy.sample_rows);
    return static_cast<double>(rows) * kCreating_units;
  }

  // Makes a candidate for real, once; false where that would leave less than `least_left` of the
  // budget, or there is no room.
  bool make_option(std::size_t number, double least_left) {
    if (option_of_.count(number) != 0) return true;
    const Candidate& candidate = candidates_[number];
    const double units = units_to_create(candidate);
    if (made_bytes_ > kMostMade_bytes || options_made_.size() >= kMostMade ||
        refused_.count(number) != 0) {
      return false;
    }
    if (meter_.left() - units < least_left) {
      lacks_units_ = true;
      return false;
    }
    meter_.spend(units);
    try {
      IndexOption option{.index = candidate.index, .bytes = trial_->create(candidate.index)};
      made_bytes_ += option.bytes;
      option_of_[number] = options_made_.size();
      add_option(std::move(option), candidate);
      return true;
    } catch (const Error& error) {
      logger("query").info("no trial of {}: {}", candidate.index.name, error.what());
      refused_.insert(number);
      return false;
    }
  }

  // The most promising first, as long as they fit.
  void make_options() {
    const double least_left = (1 - kShareOfCreating) * meter_.left();
    for (const std::size_t number : by_promise()) make_option(number, least_left);
  }

  // The beginning of an index that takes much of the room, as an option; itself where there is
  // none.
  std::size_t shorter(std::size_t option, double least_left) {
    if (options_made_[option].bytes < limits().bytes / kManyOfThem) return option;
    const CandidateIndex longer = options_made_[option].index;
    std::size_t longest = candidates_.size();
    for (std::size_t k = 0; k < candidates_.size(); ++k) {
      if (!begins_with(longer, candidates_[k].index)) continue;
      if (longest == candidates_.size() ||
          candidates_[k].index.columns.size() > candidates_[longest].index.columns.size()) {
        longest = k;
      }
    }
    const bool made = longest < candidates_.size() && make_option(longest, least_left);
    return made ? option_of_.at(longest) : option;
  }

  void add_picks(Choice& choice, const OptionSet& picks, std::size_t query, double least_left) {
    const ChoiceState with = choice.with(best_, picks, query);
    if (with.chosen != best_.chosen) {
      best_ = with;
      return;
    }
    std::int64_t bytes = best_.bytes;
    for (const std::size_t option : picks) {
      if (best_.chosen.count(option) == 0) bytes += options_made_[option].bytes;
    }
    if (bytes <= limits().bytes) return;  // they did not pay
    OptionSet smaller;
    for (const std::size_t option : picks) smaller.insert(shorter(option, least_left));
    if (smaller != picks) best_ = choice.with(best_, smaller, query);
  }

  // What takes much of the room makes way for its beginning, where that is nearly as good.
  void make_room(Choice& choice, double least_left) {
    const OptionSet chosen = best_.chosen;
    for (const std::size_t option : chosen) {
      if (meter_.is_spent()) return;
      const std::size_t other = shorter(option, least_left);
      if (other != option) best_ = choice.with_shorter(best_, option, other);
    }
  }

  // What the planner would take for a statement.
  [[nodiscard]] bool is_pick(std::size_t candidate, std::size_t query) const {
    return candidates_[candidate].picked.count(numbers_[query]) != 0 ||
           candidates_[candidate].hidden.count(numbers_[query]) != 0;
  }

  [[nodiscard]] double units_of_picks(std::size_t query) const {
    double units = kFirst_steps;
    for (std::size_t k = 0; k < candidates_.size(); ++k) {
      if (is_pick(k, query) && option_of_.count(k) == 0) units += units_to_create(candidates_[k]);
    }
    return units;
  }

  // A set that is good soon: for one statement after the other what the planner would take, where
  // most may be saved for what trying it takes first.
  void pick_first(Choice& choice) {
    const double least_left = (1 - kShareOfFirst) * meter_.left();
    std::vector<std::size_t> order(numbers_.size());
    std::vector<double> worth(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      order[i] = i;
      worth[i] = costed_[i].weight * best_.costs[i] / units_of_picks(i);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&worth](std::size_t a, std::size_t b) { return worth[a] > worth[b]; });
    for (int turn = 0; turn < 2; ++turn) {
      for (const std::size_t i : order) {
        OptionSet picks;
        for (std::size_t k = 0; k < candidates_.size(); ++k) {
          if (is_pick(k, i) && make_option(k, least_left)) picks.insert(option_of_.at(k));
        }
        if (meter_.is_spent()) return;
        add_picks(choice, picks, i, least_left);
      }
      if (turn == 0) make_room(choice, least_left);
    }
    best_ = choice.without_the_useless(std::move(best_));
  }

  void add_option(IndexOption option, const Candidate& candidate) {
    for (std::size_t i = 0; i < numbers_.size(); ++i) {
      const WorkloadQuery& query = workload_.queries[numbers_[i]];
      if (query.touches(option.index.table)) option.concerns.insert(i);
      if (candidate.hidden.count(numbers_[i]) != 0) groups_[i].insert(options_made_.size());
    }
    for (std::size_t i = 0; i < workload_.queries.size(); ++i) {
      const WorkloadQuery& query = workload_.queries[i];
      if (std::find(numbers_.begin(), numbers_.end(), i) != numbers_.end()) continue;
      option.write_units += query.weight * write_cost(option.index, query) * kWritten_units;
    }
    options_made_.push_back(std::move(option));
  }

  // What serves more for its share of the budgets: keys rather than what covers, and what is small.
  // Where a statement is served already, more of them promise less.
  [[nodiscard]] std::vector<std::size_t> by_promise() {
    std::vector<std::size_t> order(candidates_.size());
    std::vector<double> promise(candidates_.size());
    for (std::size_t k = 0; k < candidates_.size(); ++k) {
      order[k] = k;
      std::set<std::size_t> users = candidates_[k].users;
      users.insert(candidates_[k].hidden.begin(), candidates_[k].hidden.end());
      for (std::size_t i = 0; i < numbers_.size(); ++i) {
        if (users.count(numbers_[i]) == 0) continue;
        promise[k] +=
            costed_[i].weight * (kServed * before_.costs[i] + (1 - kServed) * best_.costs[i]);
      }
      if (candidates_[k].index.covering) promise[k] *= kCoveringPromise;
      promise[k] /= 1 / static_cast<double>(limits().indexes) +
                    estimated_bytes(candidates_[k].index) / static_cast<double>(limits().bytes);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&promise](std::size_t a, std::size_t b) { return promise[a] > promise[b]; });
    return order;
  }

  [[nodiscard]] double estimated_bytes(const CandidateIndex& index) {
    const Table* table = schema_.find(index.table);
    std::vector<double>& columns = column_bytes_[table];
    if (columns.empty()) columns = average_bytes(trial_->db(), *table);
    double entry = kIndexValue_bytes;
    for (const IndexColumn& column : index.columns) {
      const int number = table->column_number(column.name);
      entry += kIndexValue_bytes + (number < 0 ? 0 : columns[static_cast<std::size_t>(number)]);
    }
    return index.share * static_cast<double>(table->rows.value_or(1)) * entry;
  }

  [[nodiscard]] ChoiceLimits limits() const {
    const std::int64_t bytes = options_.most_bytes > 0
                                   ? options_.most_bytes
                                   : std::max(trial_->bytes() * 6 / 10, kAlwaysAllowed_bytes);
    return {.indexes = options_.most_indexes, .bytes = bytes};
  }

  // True when a round with more units could find more.
  bool search_round(double units) {
    meter_.begin_round(units);
    run_further();
    Choice choice(*trial_, *costs_, options_made_, limits(), meter_, before_);
    ChoiceState before = choice.evaluate({});
    ChoiceState best = choice.evaluate(best_.chosen);
    if (meter_.is_all_spent()) return true;  // as they are known is as good as it gets
    before_ = std::move(before);
    best_ = std::move(best);
    pick_first(choice);
    make_options();
    best_ = choice.run(best_, groups());
    return meter_.is_spent() || lacks_units_;
  }

  // More where more of the statements take long.
  [[nodiscard]] double first_round_units() {
    const auto is_long = [this](double cost) { return cost >= kFirst_steps; };
    const auto found = std::count_if(before_.costs.begin(), before_.costs.end(), is_long);
    return std::max(kFirstRound_units, static_cast<double>(found) * kLong_units);
  }

  void choose() {
    tell("choosing", 0.2);
    for (double units = first_round_units(); search_round(units); units *= kNextRound) {
      is_cut_ = meter_.is_all_spent();
      if (is_cut_) break;
      tell("choosing", std::min(0.2 + 0.5 * (1 - meter_.all() / units_), 0.8));
    }
    is_late_ = meter_.is_late();
    meter_.begin_round(kShareOfTidying * units_);
    meter_.extend(kShareOfTidying * units_);
    Choice choice(*trial_, *costs_, options_made_, limits(), meter_, before_);
    ChoiceState chosen = choice.without_the_useless(choice.evaluate(best_.chosen));
    tell("trying ANALYZE", 0.8);
    try_fresh_statistics(choice, chosen);
    tell("proving", 0.9);
    trial_->stop_at(end_);
    Proof proof({*trial_, *costs_, workload_, schema_, costed_, numbers_, options_made_}, end_);
    proof.add_to(advice_, before_, chosen);
    note_what_was_not_tried();
  }

  [[nodiscard]] std::set<OptionSet> groups() const {
    std::set<OptionSet> groups;
    for (const auto& [query, group] : groups_) groups.insert(group);
    return groups;
  }

  void note_what_was_not_tried() {
    if (is_late_) {
      advice_.notes.emplace_back(
          "the time of the budget was over before its work was done: how far it went depended on "
          "the machine");
    }
    if (is_cut_) {
      advice_.notes.push_back("the budget was spent before all was tried (" +
                              std::to_string(options_made_.size()) + " of " +
                              std::to_string(candidates_.size()) +
                              " candidate indexes were made): a larger one may find more");
    }
    for (std::size_t i = 0; i < costed_.size(); ++i) {
      if (!costs_->is_endless(i)) continue;
      advice_.notes.push_back(workload_.queries[numbers_[i]].fingerprint +
                              ": stopped each time that it was run; no index was seen to help it");
    }
  }

  // Takes what is chosen after ANALYZE where the workload is better off so.
  void try_fresh_statistics(Choice& choice, ChoiceState& chosen) {
    meter_.begin_round(kShareOfStatistics * units_);
    meter_.extend(kShareOfStatistics * units_);
    try {
      trial_->use(Statistics::kFresh);
      const ChoiceState alone = choice.evaluate({});
      Choice again(*trial_, *costs_, options_made_, limits(), meter_, alone);
      const ChoiceState found = again.run(again.evaluate(chosen.chosen), groups());
      const ChoiceState fresh = again.evaluate(found.chosen);
      if (!fresh.uncertain && choice.judged(fresh) <= kAnalyzePays * choice.judged(chosen)) {
        advice_.statistics =
            StatisticsAdvice{.cost_before = chosen.total, .cost_after = fresh.total};
        chosen = fresh;
        return;
      }
    } catch (const Error& error) {
      logger("query").info("ANALYZE was not tried: {}", error.what());
    }
    trial_->use(Statistics::kAsTheyAre);
  }

  // What the planner says of statements that cannot be run, unless it has been advised anyway.
  void add_planned(std::vector<IndexAdvice> planned) {
    for (IndexAdvice& index : planned) {
      const bool known =
          std::any_of(advice_.indexes.begin(), advice_.indexes.end(),
                      [&index](const IndexAdvice& other) { return other.ddl == index.ddl; });
      if (!known) advice_.indexes.push_back(std::move(index));
    }
  }

  const AdviceOptions& options_;
  EarlyEnd early_;
  const TimeLimit end_;
  const TimeLimit choosing_;  // the proof comes after it
  const double units_;
  Meter meter_;
  const Database source_;
  Workload workload_;
  const Schema schema_;
  Advice advice_;
  std::vector<Candidate> candidates_;
  std::optional<Trial> trial_;
  std::vector<std::unique_ptr<Outline>> outlines_;
  std::vector<CostedQuery> costed_;
  std::vector<std::size_t> numbers_;  // in the workload, of those that are run
  std::optional<WorkloadCosts> costs_;
  double depth_ = kFirst_steps;  // how far statements as they are were run
  bool lacks_units_ = false;     // in this round something was left undone
  bool is_cut_ = false;
  bool is_late_ = false;
  ChoiceState before_;
  ChoiceState best_;  // so far
  std::vector<IndexOption> options_made_;
  std::map<std::size_t, std::size_t> option_of_;  // by candidate
  std::set<std::size_t> refused_;                 // candidates that could not be made
  std::int64_t made_bytes_ = 0;
  std::map<const Table*, std::vector<double>> column_bytes_;
  std::map<std::size_t, OptionSet> groups_;  // by statement: for its triggers and foreign keys
};

}  // namespace

Advice advise(const std::string& path, const std::vector<WorkloadEntry>& workload,
              const AdviceOptions& options) {
  return Advisor(path, workload, options).run();
}

std::vector<IndexAdvice> planned_advice(sqlite3* source, const Schema& schema,
                                        std::string_view sql) {
  std::vector<CandidateIndex> indexes =
      candidates_for(schema, lookup_requests(source, schema, sql), {});
  std::erase_if(indexes, [&schema](const CandidateIndex& index) {
    return index.covering || differs_in_direction_only(schema, index);
  });
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
    for (const PlanStep& step : plan) {
      if (step.index == index.name) advice.back().reason = step.detail;
    }
  }
  return advice;
}

}  // namespace mcp::query
