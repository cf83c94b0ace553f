// call_schedule.cpp: decides what each lane does next.
#include "loadtest/call_schedule.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "loadtest/scenario.h"

namespace mcp::loadtest {
namespace {

CallOptions checked(CallOptions options) {
  if (options.users < 1) {
    throw invalid_argument("concurrent_users", std::to_string(options.users), "1 or more");
  }
  if (options.batch_size < 1) {
    throw invalid_argument("batch_size", std::to_string(options.batch_size), "1 or more");
  }
  if (options.requests < 1) throw invalid_argument("num_requests", "0", "1 or more");
  if (options.think_low_ns < 0 || options.think_high_ns < options.think_low_ns) {
    throw invalid_argument("think_time", std::to_string(options.think_high_ns),
                           "0 or more, the smaller one first");
  }
  if (options.user_ramp) {
    options.duration_ns = std::min(options.duration_ns, options.user_ramp->length());
  }
  if (options.requests == UINT64_MAX && options.duration_ns == kNever &&
      (!options.rate || options.rate->length() == kNever)) {
    throw invalid_argument("num_requests", "None", "a number, or a duration");
  }
  if (options.rate) options.duration_ns = std::min(options.duration_ns, options.rate->length());
  return options;
}

}  // namespace

CallSchedule::CallSchedule(const CallOptions& options, Instant start)
    : options_(checked(options)),
      lanes_per_user_(static_cast<std::uint32_t>(options_.rate ? 1 : options_.batch_size)),
      start_(start),
      measure_from_(start + options_.warmup_ns),
      issue_until_(later(measure_from_, options_.duration_ns)),
      lanes_(static_cast<std::size_t>(options_.users) * lanes_per_user_),
      users_(static_cast<std::size_t>(options_.users)),
      random_(options_.seed + options_.share) {
  if (options_.rate) {
    pacer_.emplace(*options_.rate, options_.arrivals, options_.seed, options_.shares,
                   options_.share);
  }
  for (Lane& lane : lanes_) lane.free_since = start;
}

CallSchedule::Decision CallSchedule::start(Instant intended, Instant now) {
  if (now < measure_from_)
    return {Action::kStart, intended, kWarmupNumber | number(warmup_given_++)};
  if (given_ >= options_.requests) return {Action::kDone, now, 0};
  return {Action::kStart, intended, number(given_++)};
}

CallSchedule::Decision CallSchedule::next(std::uint32_t lane, Instant now, Recorder& recorder) {
  if (now < start_ && !stopped_) return {Action::kWait, start_, 0};
  if (stopped_ || now >= issue_until_) {
    const Instant end = std::min(now, issue_until_);
    if (lanes_[lane].due < end) ++recorder.own().not_sent;
    lanes_[lane].due = kNever;
    count_unsent(end, recorder);
    return {Action::kDone, now, 0};
  }
  Decision decision = pacer_ ? next_due(lane, now, recorder) : next_in_batch(lane, now);
  if (decision.action == Action::kWait) decision.at = std::min(decision.at, issue_until_);
  if (decision.action == Action::kStart) recorder.started(now);
  if (decision.action == Action::kDone && given_ >= options_.requests) recorder.retired(now);
  return decision;
}

// What was due by the end and no lane has taken on.
void CallSchedule::count_unsent(Instant end, Recorder& recorder) {
  if (!pacer_ || closed_) return;
  closed_ = true;
  std::uint64_t room = options_.requests - given_;
  for (; room > 0 && later(start_, pacer_->next()) < end; --room) ++recorder.own().not_sent;
}

CallSchedule::Decision CallSchedule::next_due(std::uint32_t lane, Instant now, Recorder& recorder) {
  Lane& state = lanes_[lane];
  if (state.due == kNever) {
    state.due = later(start_, pacer_->next());
    if (state.due == kNever) return {Action::kDone, now, 0};
  }
  if (state.due > now) return {Action::kWait, state.due, 0};
  const Instant due = state.due;
  const Decision decision = start(due, now);
  state.due = kNever;
  if (decision.action == Action::kStart && now >= measure_from_) {
    Report& own = recorder.own();
    if (state.free_since > due) ++own.waited_for_user;
    recorder.sent_late(now - std::max(due, state.free_since));
    own.last_due_ns = due - start_;
    own.last_sent_ns = now - start_;
  }
  return decision;
}

CallSchedule::Decision CallSchedule::next_in_batch(std::uint32_t lane, Instant now) {
  Lane& state = lanes_[lane];
  const std::uint32_t number = lane / lanes_per_user_;
  User& user = users_[number];
  if (options_.user_ramp) {
    const double level = static_cast<double>(number * options_.shares + options_.share) + 0.5;
    const Duration active = options_.user_ramp->time_of_level(level, now - start_);
    if (active == kNever) return {Action::kDone, now, 0};
    if (start_ + active > now) return {Action::kWait, start_ + active, 0};
  }
  if (now >= measure_from_ && given_ >= options_.requests) return {Action::kDone, now, 0};
  if (state.batches > user.batches) return {Action::kBlocked, now, 0};
  if (user.rested_at > now) return {Action::kWait, user.rested_at, 0};
  ++state.batches;
  ++user.started;
  ++user.running;
  return start(now, now);
}

void CallSchedule::ended(std::uint32_t lane, Instant now, Recorder& recorder) noexcept {
  lanes_[lane].free_since = now;
  if (pacer_) return;
  User& user = users_[lane / lanes_per_user_];
  --user.running;
  if (user.running > 0 || user.started < lanes_per_user_) return;
  user.started = 0;
  ++user.batches;
  if (options_.think_high_ns == 0) return;
  const auto spread = static_cast<double>(options_.think_high_ns - options_.think_low_ns);
  const Duration think = options_.think_low_ns + static_cast<Duration>(spread * random_.unit());
  if (now >= measure_from_) recorder.own().think_ns += think;
  user.rested_at = now + think;
}

}  // namespace mcp::loadtest
