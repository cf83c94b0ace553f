// client.cpp: the I/O thread, and the commands in flight.
#include "redis/client.h"

#include <sched.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <span>
#include <system_error>

#include "base/log.h"
#include "base/thread.h"
#include "redis/command.h"

namespace mcp::redis {
namespace {

Error unavailable(const std::string& what) { return {ErrorKind::kBackendUnavailable, what}; }

timespec to_timespec(Duration duration) {
  return {static_cast<time_t>(duration / kSecond), static_cast<long>(duration % kSecond)};
}

// That this process may use.
int processors() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::string seconds(Duration duration) {
  std::string text = std::to_string(static_cast<double>(duration) / kSecond);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

}  // namespace

Client::Client(ClientOptions options, std::shared_ptr<cache::InvalidationFeed> feed)
    : options_(std::move(options)),
      feed_(std::move(feed)),
      busy_wait_(processors()),
      breaker_(std::random_device{}()),
      leases_(options_.renewal_interval) {
  if (options_.tls) static_cast<void>(TlsContext(*options_.tls));
  if (options_.sentinels) sentinels_.emplace(options_.sentinels->nodes);
}

// -- Any thread

void Client::submit(Request request) { static_cast<void>(admit(std::move(request), {})); }

bool Client::gather(Request request, std::shared_ptr<Watcher> loop) {
  return admit(std::move(request), {std::move(loop), true, false});
}

void Client::flush() {
  const MutexLock lock(mutex_);
  gathers_since_.reset();
  if (state_ == State::kReady && !is_stale_ && !outbox_.empty()) send_out();
}

// Whether something waits for flush().
bool Client::admit(Request request, Sender sender) {
  std::optional<Error> refused;
  {
    const MutexLock lock(mutex_);
    refused = refusal();
    if (!refused) {
      try {
        start_thread();
        push(std::move(request), std::move(sender));
        return gathers_since_.has_value();
      } catch (const std::system_error& error) {
        refused = unavailable(std::string("no thread or descriptor for redis: ") + error.what());
      }
    }
    ++stats_.refused;
  }
  Outcome outcome;
  outcome.error = std::move(refused);
  request.done(std::move(outcome));
  return false;
}

std::optional<Error> Client::refusal() {
  if (state_ == State::kClosed) return unavailable("the redis client is closed");
  if (!breaker_.admits(in_flight_.size())) {
    return unavailable("redis at " + options_.where() + " is away: " + last_failure_);
  }
  if (in_flight_.size() >= options_.max_in_flight) {
    return unavailable("redis has " + std::to_string(in_flight_.size()) +
                       " commands in flight, the most allowed");
  }
  return std::nullopt;
}

void Client::push(Request request, Sender sender) {
  const bool alone = in_flight_.empty();
  if (alone && state_ == State::kReady && !is_stale_ && data_->holds_bytes()) {
    is_stale_ = true;  // nobody asked for what lies there, or the server has hung up
  }
  const bool ready = state_ == State::kReady && !is_stale_;
  Pending pending{request.commands,        {},           {}, kNoFill, std::move(request.changes),
                  std::move(request.done), now_precise()};
  if (ready && !request.fill_key.empty()) {
    pending.fill = coherence_.begin(request.fill_key);
  } else {
    pending.fill_key = std::move(request.fill_key);  // begins when the connection is ready
  }
  outbox_.append(request.bytes);
  const Instant now = pending.submitted_at;
  in_flight_.push_back(std::move(pending));
  ++stats_.requests;
  if (!ready) {
    if (state_ == State::kIdle) state_ = State::kConnecting;
    wake();
    return;
  }
  const bool patient = !sender.loop && !sender.gathers;
  arm_timer(now + (patient ? options_.timeout : std::min(kPatience, options_.timeout)));
  if (alone || !sender.gathers) {
    send_out();
  } else if (!gathers_since_) {
    gathers_since_ = now;
  }
  expect_reply(std::move(sender));
}

void Client::send_out() {
  outbox_.send_to(*data_);
  if (outbox_.empty()) {
    gathers_since_.reset();
  } else {
    wake();  // which sends the rest as soon as it fits
  }
}

// Whether the I/O thread sends what waits: not while it is still gathered.
bool Client::may_send(Instant now) const {
  return state_ == State::kReady && !is_stale_ && !outbox_.empty() &&
         (!gathers_since_ || now - *gathers_since_ >= kPatience);
}

bool Client::keep(FillId fill) {
  const MutexLock lock(mutex_);
  const bool kept = coherence_.keep(fill) && state_ != State::kClosed;
  ++(kept ? stats_.fills_kept : stats_.fills_dropped);
  return kept;
}

void Client::abandon(FillId fill) {
  const MutexLock lock(mutex_);
  coherence_.abandon(fill);
}

bool Client::holds(FillId fill) const {
  const MutexLock lock(mutex_);
  return coherence_.holds(fill);
}

void Client::changed(std::string_view key) {
  const MutexLock lock(mutex_);
  coherence_.changed(key);
}

void Client::drop_all() {
  {
    const MutexLock lock(mutex_);
    coherence_.invalidated_all();
    ++stats_.flushes;
  }
  if (feed_) feed_->flush();
}

bool Client::shows_life() const {
  const MutexLock lock(mutex_);
  return shows_life_;
}

std::optional<std::int64_t> Client::latest_server_time() const {
  const MutexLock lock(mutex_);
  return server_clock_.latest(now_precise());
}

bool Client::was_lost_within(Duration span) const {
  const MutexLock lock(mutex_);
  return lost_at_ && now_precise() - *lost_at_ < span;
}

void Client::hold(const std::string& token, std::string renewal) {
  const MutexLock lock(mutex_);
  if (state_ == State::kClosed) return;
  const Instant before = leases_.next();
  leases_.hold(token, std::move(renewal), now_precise());
  if (leases_.next() < before && thread_.joinable()) wake();
}

void Client::let_go(const std::string& token) {
  const MutexLock lock(mutex_);
  leases_.let_go(token);
}

FillId Client::begin_away(std::string_view key) {
  const MutexLock lock(mutex_);
  if (coherence_.state() != Coherence::State::kAway || state_ == State::kClosed) return kNoFill;
  keeps_alone_ = true;
  return coherence_.begin(key);
}

void Client::close() {
  std::thread thread;
  {
    const MutexLock lock(mutex_);
    if (state_ == State::kClosed) return;
    state_ = State::kClosed;
    thread.swap(thread_);
    if (thread.joinable()) wake();
  }
  if (!thread.joinable()) return;
  thread.join();
  ::close(timer_fd_);
}

ClientStats Client::stats() const {
  const MutexLock lock(mutex_);
  ClientStats stats = stats_;
  stats.in_flight = in_flight_.size();
  stats.connected = state_ == State::kReady;
  stats.tracking = coherence_.state() == Coherence::State::kTracking;
  stats.breaker = breaker_.state();
  return stats;
}

void Client::start_thread() {
  if (thread_.joinable()) return;
  if (!wake_) wake_ = std::make_shared<WakeFd>();
  if (timer_fd_ < 0) {
    timer_fd_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer_fd_ < 0) throw std::system_error(errno, std::generic_category(), "timerfd");
  }
  thread_ = mcp::start_thread("mcp-redis", [this] { run(); });
}

// Has the I/O thread look at the clock then.
void Client::arm_timer(Instant at) {
  if (at >= wakes_at_) return;
  itimerspec spec{};
  spec.it_value = to_timespec(at);
  timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &spec, nullptr);
  timer_at_ = wakes_at_ = at;
}

void Client::wake() {
  if (std::exchange(woken_, true)) return;
  wake_->wake();
}

Instant Client::deadline_of_head() const {
  return in_flight_.empty() ? kNever : in_flight_.front().submitted_at + options_.timeout;
}

// -- The I/O thread

void Client::run() {
  pthread_setname_np(pthread_self(), "mcp-redis");
  std::vector<pollfd> polls;
  Duration wait = 0;
  while (true) {
    connect_when_due();
    if (!prepare_turn(polls, wait)) break;
    const timespec timeout = to_timespec(wait);
    if (ppoll(polls.data(), polls.size(), wait < 0 ? nullptr : &timeout, nullptr) < 0) {
      for (pollfd& poll : polls) poll.revents = 0;
    }
    turn(polls);
  }
  lose(unavailable("the redis client was closed"), false);
}

void Client::connect_when_due() {
  const Instant now = now_precise();
  std::optional<Error> failure;
  {
    const MutexLock reading(read_mutex_);
    {
      const MutexLock lock(mutex_);
      const bool due = state_ == State::kConnecting || (state_ == State::kDown && retry_at_ <= now);
      if (session_ || !due) return;
    }
    attempt_ends_ = now + options_.timeout;
    try {
      session_ = std::make_unique<Session>(options_, sentinels_ ? &*sentinels_ : nullptr, wake_);
    } catch (const Error& error) {
      failure = error;
    } catch (const std::exception& error) {  // no memory, or no thread to look the name up
      failure = unavailable(std::string("redis cannot be reached: ") + error.what());
    }
  }
  if (failure) lose(*failure, false);
}

// Finds what to poll for, and how long. False: closed.
bool Client::prepare_turn(std::vector<pollfd>& polls, Duration& wait) {
  const MutexLock reading(read_mutex_);
  const MutexLock lock(mutex_);
  if (state_ == State::kClosed) return false;
  const Instant now = now_precise();
  Instant until = std::min(attempt_ends_, next_beat_);
  until = std::min(until, deadline_of_head());
  if (state_ == State::kReady) until = std::min(until, leases_.next());
  if (gathers_since_) until = std::min(until, *gathers_since_ + kPatience);
  if (duty_.holder() == Duty::Holder::kLoop) {
    until = std::min(until, in_flight_.front().submitted_at + kPatience);
  }
  if (state_ == State::kDown && !session_) until = std::min(until, retry_at_);
  if (broken_ || is_stale_) until = now;
  wakes_at_ = std::min(until, timer_at_);
  wait = until == kNever ? -1 : std::max<Duration>(0, until - now);
  polls.clear();
  polls.push_back({wake_->fd(), POLLIN, 0});
  polls.push_back({timer_fd_, POLLIN, 0});
  const bool reads = duty_.holder() == Duty::Holder::kThread;
  if (session_) session_->add_polls(polls, may_send(now), reads);
  return true;
}

void Client::turn(std::vector<pollfd>& polls) {
  begin_turn(polls[0], polls[1]);
  std::optional<Error> end;
  std::optional<Error> late;
  {
    const MutexLock reading(read_mutex_);
    if (!session_) return;
    end = read_turn(std::span<const pollfd>(polls).subspan(2));
    if (!end) late = overdue();
  }
  if (end) return lose(*end, false);
  if (late) return lose(*late, true);
  {
    const MutexLock lock(mutex_);
    if (may_send(now_precise())) send_out();
  }
  renew_leases();
  beat();
}

void Client::begin_turn(const pollfd& woken, const pollfd& timer) {
  const MutexLock lock(mutex_);
  if (woken.revents != 0) {
    wake_->clear();
    woken_ = false;
  }
  if (timer.revents != 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(timer_fd_, &count, sizeof count);
    timer_at_ = kNever;
  }
  if (!in_flight_.empty() && now_precise() - in_flight_.front().submitted_at >= kPatience &&
      duty_.take_from_loop()) {
    unwatch();
  }
}

// What has come on any connection; what the session has ended with, also by what others found.
std::optional<Error> Client::read_turn(std::span<const pollfd> polls) {
  std::optional<Error> end = receive(session_->advance(polls));
  if (end || !session_->ready()) return end;
  bool looks = false;
  {
    const MutexLock lock(mutex_);
    if (broken_) return broken_;
    looks = is_stale_ || deadline_of_head() <= now_precise();
  }
  if (looks) end = receive(session_->look(kReadsATurn));  // another had the duty
  const MutexLock lock(mutex_);
  if (!end && is_stale_) end = unavailable("redis at " + options_.where() + " hung up");
  return end;
}

std::optional<Error> Client::overdue() {
  const Instant now = now_precise();
  bool unanswered = false;
  {
    const MutexLock lock(mutex_);
    unanswered = deadline_of_head() <= now;
  }
  if (session_->ready()) {
    if (!unanswered) return std::nullopt;
    return unavailable("redis at " + options_.where() + " gave no answer within " +
                       seconds(options_.timeout));
  }
  if (!unanswered && attempt_ends_ > now) return std::nullopt;
  return unavailable("redis at " + options_.where() + " took no connection within " +
                     seconds(options_.timeout) + ": it waited for " + session_->waits_for());
}

void Client::lose(const Error& error, bool timed_out) {
  std::deque<Pending> failed;
  bool was_ready = false;
  bool first = false;
  {
    const MutexLock lock(mutex_);
    was_ready = data_ != nullptr;
    if (was_ready) lost_at_ = now_precise();
    // An idle server that hangs up is reconnected when there is something to say: what was given
    // since then has not been sent, and goes over the new connection.
    const bool keeps = std::exchange(is_stale_, false) && state_ != State::kClosed;
    const bool counts = !keeps && (!was_ready || !in_flight_.empty());
    broken_.reset();
    gathers_since_.reset();
    if (!keeps) {
      outbox_.clear();
      failed.swap(in_flight_);
    }
    if (was_ready &&
        options_.tracking) {  // a failed attempt changes nothing: Redis was away before
      coherence_.lost();
      ++stats_.flushes;
      feed_->flush();  // before anybody sees that the connection is lost
    }
    if (timed_out) ++stats_.timeouts;
    if (error.kind() == ErrorKind::kProtocol) ++stats_.protocol_errors;
    if (state_ != State::kClosed) {
      ++(was_ready ? stats_.losses : stats_.failures);
      last_failure_ = error.what();
      first = counts && breaker_.state() == Breaker::State::kClosed;
      if (counts) retry_at_ = now_precise() + breaker_.failed();
      state_ = counts ? State::kDown : in_flight_.empty() ? State::kIdle : State::kConnecting;
    }
    if (was_ready) leave_data();
  }
  end_session();
  attempt_ends_ = next_beat_ = kNever;
  if (first) logger("redis").info("{}", error.what());
  for (Pending& pending : failed) {
    Outcome outcome;
    outcome.error = error;
    pending.done(std::move(outcome));
  }
}

// Nothing is sent or read over the connection any more, and no caller waits for it.
void Client::leave_data() {
  unwatch();
  const Socket* data = std::exchange(data_, nullptr);
  if (duty_.holder() == Duty::Holder::kCaller) data->shut_down();  // which wakes it
  while (duty_.holder() == Duty::Holder::kCaller) duty_left_.wait(mutex_);
  duty_.ended();
}

void Client::end_session() {
  const MutexLock reading(read_mutex_);
  session_.reset();
  identity_.reset();
}

void Client::beat() {
  const Instant now = now_precise();
  if (now < next_beat_) return;
  next_beat_ = now + options_.ping_interval;
  bool alive = true;
  {
    const MutexLock reading(read_mutex_);
    session_->ask_for_master();
    if (!session_->tracks()) return;
    const MutexLock lock(mutex_);
    alive = coherence_.beat();
    // D as well: its timeout is any command's.
    if (alive) {
      push(heartbeat(), {});
      session_->ping_invalidations();
    }
  }
  if (!alive) {
    lose(unavailable("redis at " + options_.where() + " announces nothing any more"), true);
  }
}

void Client::renew_leases() {
  const MutexLock lock(mutex_);
  if (state_ != State::kReady) return;
  for (std::string& renewal : leases_.due(now_precise())) {
    Request request;
    request.bytes = std::move(renewal);
    request.done = [](const Outcome&) {};
    push(std::move(request), {});
  }
}

Request Client::heartbeat() {
  Request request;
  request.commands = 1;
  append_command(request.bytes, {"TIME"});
  if (!options_.identity_key.empty()) {
    const std::string identity = options_.identity + ":" + std::to_string(++identities_);
    append_command(request.bytes, {"SET", options_.identity_key, identity, "NX"});
    append_command(request.bytes, {"GET", options_.identity_key});
    request.commands = 3;
  } else if (options_.cluster) {
    append_command(request.bytes, {"CLUSTER", "INFO"});
    request.commands = 2;
  }
  request.done = [this](const Outcome& outcome) NO_THREAD_SAFETY_ANALYSIS {
    if (!outcome.error) identified(outcome);  // read just now, under read_mutex_
  };
  return request;
}

}  // namespace mcp::redis
