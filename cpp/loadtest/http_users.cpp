// The two models of an HttpWorker: who sends the next request, and when.
#include <algorithm>

#include "loadtest/http_worker.h"

namespace mcp::loadtest {
namespace {

constexpr Duration kLongestBackoff = 10 * kMillisecond;
constexpr Duration kParked = 100 * kMillisecond;

}  // namespace

// Closed model.

bool HttpWorker::is_active(std::uint32_t user, Instant now) const {
  return !options_.user_ramp || options_.user_ramp->level_at(now - start_) >= user_level(user);
}

// The level of the ramp from which on this user takes part: user g of all when it rounds to g + 1.
double HttpWorker::user_level(std::uint32_t user) const {
  return static_cast<double>(number_here(user) * options_.shares + options_.share) + 0.5;
}

void HttpWorker::finish_user(std::uint32_t user) {
  users_[user].done = true;
  --users_left_;
}

void HttpWorker::start_batch(std::uint32_t user, Instant now) {
  User& state = users_[user];
  if (!is_active(user, now)) {
    const Duration active_at = options_.user_ramp->time_of_level(user_level(user), now - start_);
    if (active_at == kNever) return finish_user(user);
    wakes_.push({start_ + active_at, user});
    return;
  }
  const auto per_user = static_cast<std::uint32_t>(options_.batch_size);
  Start last = Start::kSent;
  for (std::uint32_t i = 0; i < per_user && last != Start::kOutOfTickets; ++i) {
    last = start(user * per_user + i, now, now);
    if (last == Start::kSent) ++state.outstanding;
    if (last == Start::kFailed) ++state.refusals;
    if (last == Start::kGeneratorLimited) break;
  }
  if (state.outstanding > 0) return;
  if (last == Start::kOutOfTickets) {
    recorder_.retired(now);
    return finish_user(user);
  }
  const Duration pause = last == Start::kGeneratorLimited ? kParked : backoff(state.refusals);
  wakes_.push({now + pause, user});
}

Duration HttpWorker::backoff(int refusals) noexcept {
  return std::min(kLongestBackoff, kMillisecond << std::min(refusals, 8));
}

void HttpWorker::user_is_free(std::uint32_t user, Instant now) {
  const User& state = users_[user];
  if (!issuing_) return finish_user(user);
  if (state.refusals > 0) {
    wakes_.push({now + backoff(state.refusals), user});
    return;
  }
  if (options_.think_high_ns == 0) return start_batch(user, now);
  const auto spread = static_cast<double>(options_.think_high_ns - options_.think_low_ns);
  const Duration think = options_.think_low_ns + static_cast<Duration>(spread * random_.unit());
  if (measuring_) recorder_.own().think_ns += think;
  wakes_.push({now + think, user});
}

// In the open model the sleepers are lanes that could not get a socket.
void HttpWorker::wake_users(Instant now) {
  while (!wakes_.empty() && wakes_.top().first <= now) {
    const std::uint32_t sleeper = wakes_.top().second;
    wakes_.pop();
    if (pacer_) {
      if (idle_.empty()) idle_since_ = now;
      idle_.push_back(sleeper);
    } else {
      start_batch(sleeper, now);
    }
  }
}

// Open model.

void HttpWorker::note_lag(Instant due, Instant now) {
  if (now < measure_from_) return;
  Report& own = recorder_.own();
  if (idle_since_ > due) ++own.waited_for_user;
  recorder_.sent_late(now - std::max(due, idle_since_));
  own.last_due_ns = due - start_;
  own.last_sent_ns = now - start_;
}

void HttpWorker::dispatch(Instant now) {
  // A thread that is late may be here after the end: what was due then is not part of the run.
  while (next_due_ <= now && next_due_ < issue_until_ && !idle_.empty()) {
    const std::uint32_t lane = idle_.back();
    idle_.pop_back();
    const Instant due = next_due_;
    // The clock is read for each: a burst that is late knows by how much.
    const Instant sent = std::max(now, now_precise());
    const Start started = start(lane, due, sent);
    if (started == Start::kOutOfTickets) {
      next_due_ = kNever;
      recorder_.retired(now);
      idle_.push_back(lane);
      return;
    }
    if (started == Start::kGeneratorLimited) {
      wakes_.push({now + kParked, lane});
      continue;  // the same request, by another lane
    }
    note_lag(due, sent);
    if (started == Start::kFailed) idle_.push_back(lane);
    next_due_ = std::max(due, advance_schedule());
  }
}

Instant HttpWorker::advance_schedule() {
  const Duration offset = pacer_->next();
  return offset >= kNever - start_ ? kNever : start_ + offset;
}

}  // namespace mcp::loadtest
