// choice.cpp: tries sets of indexes, keeps the best under the budgets.
#include "query/choice.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

namespace mcp::query {
namespace {

constexpr double kShowing_units = 15'000;
// Of its cost before: what one statement must fall below, and by how much of its first cost.
constexpr double kWorthwhile = 0.8;
constexpr double kNegligible = 0.03;
// Of what the workload costs now: what is not worth an index.
constexpr double kLittle = 0.003;
// A shorter index is taken for a longer one when it leaves so little more to pay.
constexpr double kNearlyAsGood = 0.15;
constexpr double kHardlyMore = 0.001;      // of its first cost
constexpr double kCovering_units = 4'000;  // of each run
constexpr double kBetter = 0.99;
// A plan that costs so many times what the statement costs now, and so much of its first cost more,
// is as bad as any.
constexpr double kHopeless = 1.5;
constexpr double kHopelessMore = 0.05;
constexpr double kLeastTried_steps = 200'000;
// Nor is it run on where it costs so many times the least that was seen, and more than that share
// of the workload at its best.
constexpr double kFar = 4;
constexpr double kFarOfAll = 0.05;
constexpr double kStillAsGood = 0.5;  // of what a move was worth when it was first tried

constexpr int kExchanges = 2;

}  // namespace

bool begins_with(const CandidateIndex& longer, const CandidateIndex& shorter) {
  const auto& columns = shorter.columns;
  const auto& more = longer.columns;
  return longer.table == shorter.table && longer.where == shorter.where &&
         more.size() > columns.size() &&
         std::equal(columns.begin(), columns.end(), more.begin(),
                    [](const IndexColumn& a, const IndexColumn& b) {
                      return a.name == b.name && a.expression == b.expression &&
                             a.collation == b.collation && a.descending == b.descending;
                    });
}

std::set<std::string> Choice::names_of(const OptionSet& set) const {
  std::set<std::string> names;
  for (const std::size_t option : set) names.insert(options_[option].index.name);
  return names;
}

void Choice::finish(ChoiceState& state) const {
  state.total = 0;
  state.bytes = 0;
  for (std::size_t i = 0; i < state.costs.size(); ++i) {
    state.total += costs_.weight(i) * state.costs[i];
  }
  for (const std::size_t option : state.chosen) {
    state.total += options_[option].write_units;
    state.bytes += options_[option].bytes;
  }
}

double Choice::judged(const ChoiceState& state) const {
  double total = state.total;
  for (std::size_t i = 0; i < state.costs.size(); ++i) {
    if (costs_.is_endless(i)) total -= costs_.weight(i) * state.costs[i];
  }
  return total;
}

ChoiceState Choice::evaluate(const OptionSet& chosen) {
  trial_.show(names_of(chosen));
  ChoiceState state{.chosen = chosen, .costs = {}};
  for (std::size_t i = 0; i < costs_.size(); ++i) {
    const Cost& cost = costs_.of(i, until_hopeless(i, before_[i])).cost;
    state.costs.push_back(cost.units());
    state.uncertain = state.uncertain || (cost.stopped && !costs_.is_endless(i));
    if (!cost.stopped) least_[i] = std::min(least_[i], cost.units());
  }
  finish(state);
  return state;
}

std::set<std::size_t> Choice::concerned_by(const OptionSet& from, const OptionSet& to) const {
  OptionSet difference;
  std::set_symmetric_difference(from.begin(), from.end(), to.begin(), to.end(),
                                std::inserter(difference, difference.end()));
  std::set<std::size_t> concerned;
  for (const std::size_t option : difference) {
    concerned.insert(options_[option].concerns.begin(), options_[option].concerns.end());
  }
  return concerned;
}

// False when the run was stopped, and worse than before. One that was stopped earlier is no better,
// as far as is known, nor is one of a statement that was never seen to come to an end.
bool Choice::run_again(ChoiceState& state, const ChoiceState& from, std::size_t query,
                       double most) {
  const bool endless = costs_.is_endless(query);
  const Cost& cost = costs_.of(query, endless ? from.costs[query] : most).cost;
  const bool worse = cost.stopped && !endless && cost.units() > from.costs[query];
  state.costs[query] = cost.stopped && !worse ? from.costs[query] : cost.units();
  if (!cost.stopped) least_[query] = std::min(least_[query], cost.units());
  state.uncertain = state.uncertain || worse || (cost.stopped && meter_.is_all_spent());
  return !worse;
}

ChoiceState Choice::changed(const ChoiceState& from, const OptionSet& to) {
  trial_.show(names_of(to));
  meter_.spend(kShowing_units);
  ChoiceState state{.chosen = to, .costs = from.costs};
  for (const std::size_t i : concerned_by(from.chosen, to)) {
    run_again(state, from, i, most_steps(i, from.costs[i]));
  }
  finish(state);
  return state;
}

ChoiceState Choice::improved(const ChoiceState& from, const OptionSet& to,
                             std::optional<std::size_t> hopeful) {
  trial_.show(names_of(to));
  meter_.spend(kShowing_units);
  const std::set<std::size_t> concerned = concerned_by(from.chosen, to);
  std::vector<std::size_t> order(concerned.begin(), concerned.end());
  const auto hope = [&](std::size_t i) {
    return costs_.weight(i) * (from.costs[i] - (i == hopeful ? 0 : least_[i]));
  };
  std::stable_sort(order.begin(), order.end(),
                   [&hope](std::size_t a, std::size_t b) { return hope(a) > hope(b); });
  double rest = 0;
  for (const std::size_t i : order) rest += hope(i);
  double gained = 0;
  ChoiceState state{.chosen = to, .costs = from.costs};
  for (const std::size_t i : order) {
    rest -= hope(i);
    const double most =
        std::min(from.costs[i] + (gained + rest) / costs_.weight(i), far_from_best(i));
    const bool better = run_again(state, from, i, std::max(most, kLeastTried_steps));
    gained += costs_.weight(i) * (from.costs[i] - state.costs[i]);
    if (!better || gained + rest <= 0) {
      state.uncertain = true;
      break;
    }
  }
  finish(state);
  return state;
}

// What is added does nothing but cover.
bool Choice::only_covers(const OptionSet& without, const OptionSet& with) const {
  return std::all_of(with.begin(), with.end(), [&](std::size_t option) {
    return without.count(option) != 0 || options_[option].index.covering;
  });
}

bool Choice::is_worthwhile(const ChoiceState& without, const ChoiceState& with) const {
  if (with.total > without.total - kLittle * judged(without)) return false;
  const double least = only_covers(without.chosen, with.chosen) ? kCovering_units : 0;
  for (std::size_t i = 0; i < with.costs.size(); ++i) {
    const double saved = without.costs[i] - with.costs[i];
    if (with.costs[i] < kWorthwhile * without.costs[i] && saved > least &&
        saved > kNegligible * before_[i]) {
      return true;
    }
  }
  return false;
}

double Choice::far_from_best(std::size_t query) const {
  double all = 0;
  for (std::size_t i = 0; i < least_.size(); ++i) {
    if (!costs_.is_endless(i)) all += costs_.weight(i) * least_[i];
  }
  return std::max(kFar * least_[query], kFarOfAll * all / costs_.weight(query));
}

double Choice::until_hopeless(std::size_t query, double now) const {
  return std::max({kHopeless * now, now + kHopelessMore * before_[query], kLeastTried_steps});
}

double Choice::most_steps(std::size_t query, double now) const {
  return std::max(std::min(until_hopeless(query, now), far_from_best(query)), kLeastTried_steps);
}

// One index does what another one that it begins with does: both are never advised.
bool Choice::has_beginning(const OptionSet& set) const {
  return std::any_of(set.begin(), set.end(), [&](std::size_t longer) {
    return std::any_of(set.begin(), set.end(), [&](std::size_t shorter) {
      return begins_with(options_[longer].index, options_[shorter].index);
    });
  });
}

bool Choice::fits(const OptionSet& set) const {
  std::int64_t bytes = 0;
  for (const std::size_t option : set) bytes += options_[option].bytes;
  return set.size() <= limits_.indexes && bytes <= limits_.bytes && !has_beginning(set);
}

// Of both budgets.
double Choice::share_of(const ChoiceState& from, const ChoiceState& to) const {
  const auto indexes = static_cast<double>(to.chosen.size() - from.chosen.size());
  const auto bytes = static_cast<double>(to.bytes - from.bytes);
  return indexes / static_cast<double>(limits_.indexes) +
         bytes / static_cast<double>(std::max<std::int64_t>(limits_.bytes, 1));
}

// No more than this can be saved by the move, as far as is known.
double Choice::most_gain(const ChoiceState& from, const OptionSet& move) const {
  std::set<std::size_t> concerned;
  for (const std::size_t option : move) {
    concerned.insert(options_[option].concerns.begin(), options_[option].concerns.end());
  }
  double gain = 0;
  for (const std::size_t i : concerned) gain += costs_.weight(i) * (from.costs[i] - least_[i]);
  return gain;
}

// What the planner uses for a statement when it may use all that is visible.
void Choice::add_used_together(std::set<OptionSet>& moves, const OptionSet& visible) {
  trial_.show(names_of(visible));
  for (std::size_t i = 0; i < costs_.size() && !meter_.is_spent(); ++i) {
    const PlanCost& found = costs_.of(i, most_steps(i, before_[i]));
    if (!found.cost.stopped) least_[i] = std::min(least_[i], found.cost.units());
    OptionSet together;
    for (const std::size_t option : visible) {
      if (found.indexes.count(options_[option].index.name) != 0) together.insert(option);
    }
    used_.insert(together.begin(), together.end());
    if (!together.empty()) together_.try_emplace(i, together);
    if (together.size() > 1) moves.insert(std::move(together));
  }
}

std::vector<OptionSet> Choice::moves(const std::set<OptionSet>& groups) {
  std::set<OptionSet> moves = groups;
  OptionSet all;
  OptionSet keys_only;
  for (std::size_t option = 0; option < options_.size(); ++option) {
    all.insert(option);
    if (!options_[option].index.covering) keys_only.insert(option);
  }
  add_used_together(moves, all);
  add_used_together(moves, keys_only);
  for (const std::size_t option : keys_only) moves.insert({option});
  for (const std::size_t option : used_) moves.insert({option});
  return {moves.begin(), moves.end()};
}

// With the move, where it pays; its score is what it saves for its share of the budgets.
std::optional<ChoiceState> Choice::with_move(const ChoiceState& state, const OptionSet& move,
                                             double least_score, double& score) {
  OptionSet to = state.chosen;
  to.insert(move.begin(), move.end());
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (to.size() == state.chosen.size() || !fits(to)) return std::nullopt;
    ChoiceState with{.chosen = to, .costs = state.costs};
    finish(with);
    const double share = share_of(state, with);
    if (most_gain(state, to) / share <= least_score) return std::nullopt;
    with = improved(state, to);
    score = (state.total - with.total) / share;
    if (!with.uncertain && score > least_score && is_worthwhile(state, with)) return with;
    // Good for one statement and bad for another: perhaps with what that one would use.
    const OptionSet* remedy = remedy_for(state, with);
    if (remedy == nullptr) return std::nullopt;
    to.insert(remedy->begin(), remedy->end());
  }
  return std::nullopt;
}

// What the statement that got worst would use if it might have all.
const OptionSet* Choice::remedy_for(const ChoiceState& from, const ChoiceState& with) const {
  std::size_t worst = 0;
  double most = 0;
  for (std::size_t i = 0; i < with.costs.size(); ++i) {
    const double more = costs_.weight(i) * (with.costs[i] - from.costs[i]);
    if (more > most) {
      most = more;
      worst = i;
    }
  }
  const auto found = most > 0 ? together_.find(worst) : together_.end();
  return found == together_.end() ? nullptr : &found->second;
}

// Scores every move, and takes the best, then each of the next that still is about as good.
bool Choice::add_round(ChoiceState& state, const std::vector<OptionSet>& moves) {
  // The most promising first: what there is no time for is the least of them.
  std::vector<std::pair<double, const OptionSet*>> promising;
  for (const OptionSet& move : moves) promising.emplace_back(most_gain(state, move), &move);
  std::stable_sort(promising.begin(), promising.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::pair<double, const OptionSet*>> scored;
  for (const auto& [most, move] : promising) {
    if (meter_.is_spent()) break;
    double score = 0;
    if (with_move(state, *move, 0, score).has_value()) scored.emplace_back(score, move);
  }
  std::stable_sort(scored.begin(), scored.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  bool added = false;
  for (const auto& [before, move] : scored) {
    double score = 0;
    std::optional<ChoiceState> with =
        with_move(state, *move, added ? kStillAsGood * before : 0, score);
    if (!with.has_value()) continue;
    state = *std::move(with);
    added = true;
  }
  return added;
}

void Choice::take_out_the_useless(ChoiceState& state) {
  const OptionSet chosen = state.chosen;
  for (const std::size_t option : chosen) {
    if (meter_.is_spent()) return;
    OptionSet fewer = state.chosen;
    fewer.erase(option);
    ChoiceState without = changed(state, fewer);
    if (!without.uncertain && !is_worthwhile(without, state)) state = std::move(without);
  }
}

bool Choice::is_nearly_as_good(const ChoiceState& longer, const ChoiceState& shorter,
                               bool uncovers) const {
  double left = 0;
  double before = 0;
  double runs = 0;
  for (std::size_t i = 0; i < longer.costs.size(); ++i) {
    if (longer.costs[i] == shorter.costs[i]) continue;
    left += costs_.weight(i) * longer.costs[i];
    before += costs_.weight(i) * before_[i];
    runs += costs_.weight(i);
  }
  const double covering_pays =
      uncovers ? std::max(kNegligible * before, kCovering_units * runs) : kHardlyMore * before;
  return shorter.total <= longer.total + std::max(kNearlyAsGood * left, covering_pays);
}

// More columns where they pay.
void Choice::lengthen(ChoiceState& state) {
  const OptionSet chosen = state.chosen;
  for (const std::size_t option : chosen) {
    ChoiceState best = state;
    for (std::size_t other = 0; other < options_.size(); ++other) {
      if (meter_.is_spent()) return;
      if (state.chosen.count(other) != 0 ||
          !begins_with(options_[other].index, options_[option].index)) {
        continue;
      }
      OptionSet longer = state.chosen;
      longer.erase(option);
      longer.insert(other);
      if (!fits(longer)) continue;
      ChoiceState with = improved(state, longer);
      const bool uncovers = options_[other].index.covering && !options_[option].index.covering;
      if (!with.uncertain && with.total < best.total && !is_nearly_as_good(with, state, uncovers)) {
        best = std::move(with);
      }
    }
    state = std::move(best);
  }
}

// Columns must pay: a prefix that is nearly as good takes the place of the whole.
void Choice::shorten(ChoiceState& state) {
  const OptionSet chosen = state.chosen;
  for (const std::size_t option : chosen) {
    std::vector<std::size_t> prefixes;
    for (std::size_t other = 0; other < options_.size(); ++other) {
      if (begins_with(options_[option].index, options_[other].index)) prefixes.push_back(other);
    }
    std::stable_sort(prefixes.begin(), prefixes.end(), [this](std::size_t a, std::size_t b) {
      return options_[a].index.columns.size() < options_[b].index.columns.size();
    });
    for (const std::size_t prefix : prefixes) {
      if (meter_.is_spent()) return;
      OptionSet shorter = state.chosen;
      shorter.erase(option);
      shorter.insert(prefix);
      ChoiceState with = changed(state, shorter);
      const bool uncovers = options_[option].index.covering && !options_[prefix].index.covering;
      if (with.uncertain || !is_nearly_as_good(state, with, uncovers)) continue;
      state = std::move(with);
      break;
    }
  }
}

// One index for another on the same table: for less to pay.
void Choice::exchange(ChoiceState& state) {
  const OptionSet chosen = state.chosen;
  for (const std::size_t option : chosen) {
    if (state.chosen.count(option) == 0) continue;
    for (std::size_t other = 0; other < options_.size(); ++other) {
      if (meter_.is_spent()) return;
      if (options_[other].index.table != options_[option].index.table ||
          state.chosen.count(other) != 0 || state.chosen.count(option) == 0) {
        continue;
      }
      if (most_gain(state, {other}) < (1 - kBetter) * judged(state)) continue;
      OptionSet to = state.chosen;
      to.erase(option);
      to.insert(other);
      if (!fits(to)) continue;
      ChoiceState with = improved(state, to);
      if (with.uncertain || with.total >= state.total - (1 - kBetter) * judged(state)) continue;
      if (is_worthwhile(state, with)) state = std::move(with);
    }
  }
}

// What the workload loses with each chosen option, the least first.
std::vector<std::pair<double, std::size_t>> Choice::losses(const ChoiceState& state) {
  std::vector<std::pair<double, std::size_t>> found;
  for (const std::size_t option : state.chosen) {
    if (meter_.is_spent()) return {};
    OptionSet fewer = state.chosen;
    fewer.erase(option);
    const ChoiceState without = changed(state, fewer);
    if (!without.uncertain) found.emplace_back(without.total - state.total, option);
  }
  std::sort(found.begin(), found.end());
  return found;
}

// What the budget has no room for, in the place of what is worth less.
void Choice::swap(ChoiceState& state, const std::vector<OptionSet>& moves) {
  std::vector<std::pair<double, std::size_t>> least = losses(state);
  for (const OptionSet& move : moves) {
    OptionSet with_it = state.chosen;
    with_it.insert(move.begin(), move.end());
    if (with_it.size() == state.chosen.size() || fits(with_it)) continue;
    for (const auto& [loss, option] : least) {
      if (meter_.is_spent()) return;
      if (most_gain(state, move) < loss + (1 - kBetter) * judged(state)) break;
      OptionSet to = with_it;
      if (move.count(option) != 0 || to.erase(option) == 0 || !fits(to)) continue;
      ChoiceState with = improved(state, to);
      if (with.uncertain || with.total >= state.total - (1 - kBetter) * judged(state)) continue;
      state = std::move(with);
      least = losses(state);
      break;
    }
  }
}

// A partial index, alone or with another one, for a whole one.
void Choice::slim(ChoiceState& state) {
  const OptionSet chosen = state.chosen;
  for (const std::size_t option : chosen) {
    for (std::size_t partial = 0; partial < options_.size(); ++partial) {
      const bool smaller = !options_[partial].index.where.empty() &&
                           options_[partial].index.table == options_[option].index.table &&
                           options_[partial].bytes < options_[option].bytes / 2;
      if (smaller && state.chosen.count(partial) == 0) slim_by(state, option, partial);
    }
  }
}

void Choice::slim_by(ChoiceState& state, std::size_t option, std::size_t partial) {
  OptionSet base = state.chosen;
  if (base.erase(option) == 0) return;
  base.insert(partial);
  const ChoiceState alone = changed(state, base);
  if (!alone.uncertain && alone.total <= state.total + kLittle * judged(state)) {
    state = alone;
    return;
  }
  for (std::size_t other = 0; other < options_.size() && !meter_.is_spent(); ++other) {
    OptionSet to = base;
    const bool fitting = options_[other].index.table == options_[option].index.table &&
                         other != option && to.insert(other).second && fits(to);
    if (!fitting || most_gain(state, {other}) < (1 - kBetter) * judged(state)) continue;
    ChoiceState with = improved(state, to);
    if (with.uncertain || with.total >= state.total - (1 - kBetter) * judged(state)) continue;
    state = std::move(with);
    return;
  }
}

ChoiceState Choice::with(const ChoiceState& state, const OptionSet& more, std::size_t query) {
  OptionSet to = state.chosen;
  to.insert(more.begin(), more.end());
  if (to == state.chosen || !fits(to)) return state;
  ChoiceState with = improved(state, to, query);
  return !with.uncertain && is_worthwhile(state, with) ? with : state;
}

ChoiceState Choice::with_shorter(const ChoiceState& state, std::size_t longer,
                                 std::size_t shorter) {
  OptionSet to = state.chosen;
  to.erase(longer);
  to.insert(shorter);
  ChoiceState with = changed(state, to);
  const bool uncovers = options_[longer].index.covering && !options_[shorter].index.covering;
  return !with.uncertain && is_nearly_as_good(state, with, uncovers) ? with : state;
}

ChoiceState Choice::without_the_useless(ChoiceState state) {
  take_out_the_useless(state);
  shorten(state);
  return state;
}

ChoiceState Choice::run(const ChoiceState& so_far, const std::set<OptionSet>& groups) {
  const std::vector<OptionSet> all = moves(groups);
  // From what is known to be good: something is better soon.
  ChoiceState other = so_far;
  refine(other, all);
  if (meter_.is_spent()) return other;
  ChoiceState state = start_;
  while (!meter_.is_spent() && add_round(state, all)) {
  }
  refine(state, all);
  const double about_same = std::max((1 - kBetter) * judged(state), kLittle * judged(start_));
  if (std::abs(other.total - state.total) <= about_same) {
    return other.bytes < state.bytes ? other : state;
  }
  return other.total < state.total ? other : state;
}

void Choice::refine(ChoiceState& state, const std::vector<OptionSet>& moves) {
  for (int turn = 0; turn < kExchanges; ++turn) {
    const OptionSet start = state.chosen;
    take_out_the_useless(state);
    exchange(state);
    lengthen(state);
    shorten(state);
    slim(state);
    swap(state, moves);
    while (!meter_.is_spent() && add_round(state, moves)) {
    }
    if (state.chosen == start) break;
  }
  take_out_the_useless(state);
}

}  // namespace mcp::query
