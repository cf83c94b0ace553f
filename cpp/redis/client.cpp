// client.cpp: the I/O thread, and the commands in flight.
#include "redis/client.h"

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

std::string seconds(Duration duration) {
  std::string text = std::to_string(static_cast<double>(duration) / kSecond);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

void count_error(std::map<std::string, std::uint64_t>& counts, std::string_view text) {
  constexpr std::size_t kCodes = 32;
  std::string code(error_code(text).substr(0, kCodes));
  if (counts.size() >= kCodes && !counts.contains(code)) code = "other";
  ++counts[code];
}

}  // namespace

Client::Client(ClientOptions options, std::shared_ptr<cache::InvalidationFeed> feed)
    : options_(std::move(options)),
      feed_(std::move(feed)),
      breaker_(std::random_device{}()),
      leases_(options_.renewal_interval) {
  if (options_.tls) static_cast<void>(TlsContext(*options_.tls));
  if (options_.sentinels) sentinels_.emplace(options_.sentinels->nodes);
}

// -- Any thread

void Client::submit(Request request) { static_cast<void>(admit(std::move(request), false)); }

bool Client::gather(Request request) { return admit(std::move(request), true); }

void Client::flush() {
  const MutexLock lock(mutex_);
  gathers_since_.reset();
  if (state_ != State::kReady || outbox_.empty()) return;
  outbox_.send_to(*data_);
  if (!outbox_.empty()) wake();
}

// Whether something waits for flush().
bool Client::admit(Request request, bool gathers) {
  std::optional<Error> refused;
  {
    const MutexLock lock(mutex_);
    refused = refusal();
    if (!refused) {
      try {
        start_thread();
        push(std::move(request), gathers);
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

void Client::push(Request request, bool gathers) {
  const bool alone = in_flight_.empty();
  const bool ready = state_ == State::kReady;
  Pending pending{request.commands,        {},           {}, kNoFill, std::move(request.changes),
                  std::move(request.done), now_precise()};
  if (ready && !request.fill_key.empty()) {
    pending.fill = coherence_.begin(request.fill_key);
  } else {
    pending.fill_key = std::move(request.fill_key);  // begins when the connection is ready
  }
  outbox_.append(request.bytes);
  const Instant deadline = pending.submitted_at + options_.timeout;
  in_flight_.push_back(std::move(pending));
  ++stats_.requests;
  if (!ready) {
    if (state_ == State::kIdle) state_ = State::kConnecting;
    wake();
    return;
  }
  if (!timer_armed_) arm_timer(deadline);
  if (alone) outbox_.send_to(*data_);
  if (outbox_.empty()) return;
  if (!gathers) return wake();
  if (!gathers_since_) gathers_since_ = now_precise();
}

// Whether the I/O thread sends what waits: not while it is still gathered.
bool Client::may_send(Instant now) const {
  return state_ == State::kReady && !outbox_.empty() &&
         (!gathers_since_ || now - *gathers_since_ >= kGatherLimit);
}

Outcome Client::call(Request request) {
  struct Call {
    Mutex mutex;
    CondVar ended;
    std::optional<Outcome> outcome GUARDED_BY(mutex);
  };
  const auto call = std::make_shared<Call>();
  request.done = [call](Outcome outcome) {
    const MutexLock lock(call->mutex);
    call->outcome = std::move(outcome);
    call->ended.notify_one();
  };
  submit(std::move(request));
  const MutexLock lock(call->mutex);
  while (!call->outcome) call->ended.wait(call->mutex);
  return std::move(*call->outcome);
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

void Client::arm_timer(Instant at) {
  itimerspec spec{};
  spec.it_value = to_timespec(at);
  timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &spec, nullptr);
  timer_armed_ = true;
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
  bool data_waits = false;
  while (prepare_turn(wait, data_waits)) {
    wait_for_events(polls, wait, data_waits);
    turn(polls);
  }
  lose(unavailable("the redis client was closed"), false);
}

// Begins a connection when one is due, and finds how long to sleep. False: closed.
bool Client::prepare_turn(Duration& wait, bool& data_waits) {
  const Instant now = now_precise();
  bool connect = false;
  {
    const MutexLock lock(mutex_);
    if (state_ == State::kClosed) return false;
    connect =
        !session_ && (state_ == State::kConnecting || (state_ == State::kDown && retry_at_ <= now));
  }
  if (connect) {
    attempt_ends_ = now + options_.timeout;
    try {
      session_ = std::make_unique<Session>(options_, sentinels_ ? &*sentinels_ : nullptr, wake_);
    } catch (const Error& error) {
      lose(error, false);
    } catch (const std::exception& error) {  // no memory, or no thread to look the name up
      lose(unavailable(std::string("redis cannot be reached: ") + error.what()), false);
    }
  }
  const MutexLock lock(mutex_);
  Instant until = std::min(attempt_ends_, next_beat_);
  until = std::min(until, deadline_of_head());
  if (state_ == State::kReady) until = std::min(until, leases_.next());
  if (gathers_since_) until = std::min(until, *gathers_since_ + kGatherLimit);
  if (state_ == State::kDown && !session_) until = std::min(until, retry_at_);
  wait = until == kNever ? -1 : std::max<Duration>(0, until - now_precise());
  data_waits = may_send(now);
  return true;
}

void Client::wait_for_events(std::vector<pollfd>& polls, Duration wait, bool data_waits) {
  polls.clear();
  polls.push_back({wake_->fd(), POLLIN, 0});
  polls.push_back({timer_fd_, POLLIN, 0});
  if (session_) session_->add_polls(polls, data_waits);
  const timespec timeout = to_timespec(wait);
  if (ppoll(polls.data(), polls.size(), wait < 0 ? nullptr : &timeout, nullptr) < 0) {
    for (pollfd& poll : polls) poll.revents = 0;
  }
}

void Client::turn(std::vector<pollfd>& polls) {
  {
    const MutexLock lock(mutex_);
    if (polls[0].revents != 0) {
      wake_->clear();
      woken_ = false;
    }
    if (polls[1].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = read(timer_fd_, &count, sizeof count);
      timer_armed_ = false;
      if (!in_flight_.empty()) arm_timer(deadline_of_head());
    }
  }
  if (!session_) return;
  SessionNews news = session_->advance(std::span<const pollfd>(polls).subspan(2));
  announce(news);
  if (news.became_ready) become_ready(session_->tracks());
  if (!news.replies.empty()) settle(std::move(news.replies));
  if (!session_) return;
  if (!news.lost) {
    const MutexLock lock(mutex_);
    if (may_send(now_precise())) {
      gathers_since_.reset();
      outbox_.send_to(*data_);
    }
  }
  if (news.lost) return lose(*news.lost, false);
  if (auto error = overdue()) return lose(*error, true);
  renew_leases();
  beat();
}

void Client::become_ready(bool tracks) {
  attempt_ends_ = kNever;
  if (tracks || sentinels_) next_beat_ = now_precise() + options_.ping_interval;
  {
    const MutexLock lock(mutex_);
    if (state_ == State::kClosed) return;
    state_ = State::kReady;
    data_ = &session_->data();
    shows_life_ = session_->shows_life();
    breaker_.connected();
    ++stats_.connections;
    if (options_.tracking) {
      coherence_.connected(tracks);
      ++stats_.flushes;
    }
    for (Pending& pending : in_flight_) {
      if (!pending.fill_key.empty()) pending.fill = coherence_.begin(pending.fill_key);
    }
    if (options_.tracking) push(heartbeat());
    if (!in_flight_.empty()) arm_timer(deadline_of_head());
  }
  if (options_.tracking) feed_->flush();
}

void Client::announce(const SessionNews& news) {
  if (!news.heard) return;
  {
    const MutexLock lock(mutex_);
    coherence_.heard();
    stats_.invalidations += news.invalidated.size();
    for (const std::string& key : news.invalidated) coherence_.invalidated(key);
    if (news.invalidated_all) {
      coherence_.invalidated_all();
      ++stats_.flushes;
    }
  }
  if (news.invalidated_all) feed_->flush();
  for (const std::string& key : news.invalidated) feed_->drop(key);
}

void Client::settle(std::vector<Reply> replies) {
  Finished finished;
  std::vector<std::string> changed;
  bool unasked = false;
  bool demoted = false;
  {
    const MutexLock lock(mutex_);
    for (Reply& reply : replies) {
      if (in_flight_.empty()) {
        unasked = true;
        break;
      }
      if (reply.is_error()) {
        count_error(stats_.error_replies, reply.text);
        demoted = demoted || (sentinels_ && refusal_of(reply.text) == "READONLY");
      }
      Pending& head = in_flight_.front();
      head.replies.push_back(std::move(reply));
      if (head.replies.size() < head.commands) continue;
      for (std::string& key : head.changes) {
        coherence_.changed(key, head.fill);
        if (head.fill_key.empty() && head.fill == kNoFill) changed.push_back(std::move(key));
      }
      Outcome outcome;
      outcome.replies = std::move(head.replies);
      outcome.fill = head.fill;
      outcome.submitted_at = head.submitted_at;
      finished.emplace_back(std::move(head.done), std::move(outcome));
      in_flight_.pop_front();
    }
    breaker_.succeeded();
  }
  if (feed_) {
    for (std::string& key : changed) feed_->drop(std::move(key));
  }
  for (auto& [done, outcome] : finished) done(std::move(outcome));
  if (unasked) return lose({ErrorKind::kProtocol, "redis answered what nobody asked"}, false);
  if (demoted) return lose(unavailable(options_.where() + " takes no writes any more"), false);
  if (std::exchange(isolated_, false)) {
    lose(unavailable("redis at " + options_.where() + " has lost touch with its cluster"), false);
  }
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
    // An idle server that hangs up is reconnected when there is something to say.
    const bool counts = !was_ready || !in_flight_.empty();
    data_ = nullptr;
    outbox_.clear();
    gathers_since_.reset();
    failed.swap(in_flight_);
    if (was_ready &&
        options_.tracking) {  // a failed attempt changes nothing: Redis was away before
      coherence_.lost();
      ++stats_.flushes;
    }
    if (timed_out) ++stats_.timeouts;
    if (error.kind() == ErrorKind::kProtocol) ++stats_.protocol_errors;
    if (state_ != State::kClosed) {
      ++(was_ready ? stats_.losses : stats_.failures);
      last_failure_ = error.what();
      first = counts && breaker_.state() == Breaker::State::kClosed;
      if (counts) retry_at_ = now_precise() + breaker_.failed();
      state_ = counts ? State::kDown : State::kIdle;
    }
  }
  session_.reset();
  identity_.reset();
  attempt_ends_ = next_beat_ = kNever;
  if (was_ready && options_.tracking) feed_->flush();
  if (first) logger("redis").info("{}", error.what());
  for (Pending& pending : failed) {
    Outcome outcome;
    outcome.error = error;
    pending.done(std::move(outcome));
  }
}

void Client::beat() {
  const Instant now = now_precise();
  if (!session_ || now < next_beat_) return;
  next_beat_ = now + options_.ping_interval;
  session_->ask_for_master();
  if (!session_->tracks()) return;
  bool alive = false;
  {
    const MutexLock lock(mutex_);
    alive = coherence_.beat();
    // D as well: its timeout is any command's.
    if (alive) push(heartbeat());
  }
  if (!alive) {
    return lose(unavailable("redis at " + options_.where() + " announces nothing any more"), true);
  }
  session_->ping_invalidations();
}

void Client::renew_leases() {
  const MutexLock lock(mutex_);
  if (state_ != State::kReady) return;
  for (std::string& renewal : leases_.due(now_precise())) {
    Request request;
    request.bytes = std::move(renewal);
    request.done = [](const Outcome&) {};
    push(std::move(request));
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
  request.done = [this](const Outcome& outcome) { identified(outcome); };
  return request;
}

// On the I/O thread.
void Client::identified(const Outcome& outcome) {
  if (outcome.error) return;
  if (const auto& time = outcome.replies[0].items; time.size() == 2) {
    const std::int64_t shown = std::strtoll(time[0].text.c_str(), nullptr, 10) * 1'000'000 +
                               std::strtoll(time[1].text.c_str(), nullptr, 10);
    const Instant now = now_precise();
    const MutexLock lock(mutex_);
    server_clock_.saw(shown, outcome.submitted_at, now);
  }
  if (options_.cluster) {
    const std::string& info = outcome.replies[1].text;
    isolated_ = info.find("cluster_state:fail") != std::string::npos;
  }
  if (outcome.replies.size() < 3 || outcome.replies[2].is_error()) return;
  const std::string& found = outcome.replies[2].text;
  if (!identity_ || *identity_ == found) {
    identity_ = found;
    return;
  }
  identity_ = found;
  {
    const MutexLock lock(mutex_);
    coherence_.invalidated_all();
    ++stats_.flushes;
  }
  feed_->flush();
}

}  // namespace mcp::redis
