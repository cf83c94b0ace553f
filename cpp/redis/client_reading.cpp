// client_reading.cpp: who reads replies, and what is done with them.
#include <poll.h>

#include <cerrno>
#include <cstdlib>

#include "redis/client.h"

namespace mcp::redis {
namespace {

Error leave(const std::string& what) { return {ErrorKind::kBackendUnavailable, what}; }

void count_error(std::map<std::string, std::uint64_t>& counts, std::string_view text) {
  constexpr std::size_t kCodes = 32;
  std::string code(error_code(text).substr(0, kCodes));
  if (counts.size() >= kCodes && !counts.contains(code)) code = "other";
  ++counts[code];
}

}  // namespace

// -- Those who wait

void Client::submit_and_wait(std::span<Request> requests, Countdown& ended, Duration longest) {
  const bool gathers = requests.size() > 1;
  bool flushes = false;
  for (Request& request : requests) {
    flushes = admit(std::move(request), {nullptr, gathers, true}) || flushes;
  }
  if (flushes) flush();
  wait(ended, longest);
}

void Client::wait(Countdown& ended, Duration longest) {
  const Instant end = later(now_precise(), longest);
  if (read_until(ended, end)) static_cast<void>(ended.wait_until(end));
}

Outcome Client::call(Request request) {
  struct Call {
    Countdown ended{1};
    Outcome outcome;
  };
  const auto call = std::make_shared<Call>();
  request.done = [call](Outcome outcome) {
    call->outcome = std::move(outcome);
    call->ended.count_down();
  };
  submit_and_wait({&request, 1}, call->ended, kNever);
  while (!call->ended.has_ended()) wait(call->ended, kNever);
  return std::move(call->outcome);
}

// Looks for replies as long as that is ours to do. False: a signal came.
bool Client::read_until(Countdown& ended, Instant end) {
  Duration busy = 0;
  const Socket* data = take_duty(busy);
  if (data == nullptr) return true;
  const Instant began = now_precise();
  Instant now = began;
  bool interrupted = false;
  while (!ended.has_ended() && now < end && !interrupted) {
    pollfd poll{data->fd(), POLLIN, 0};
    const Duration sleep = now - began < busy ? 0 : end - now;
    const timespec timeout{static_cast<time_t>(sleep / kSecond),
                           static_cast<long>(sleep % kSecond)};
    const int found = ppoll(&poll, 1, &timeout, nullptr);
    interrupted = found < 0;
    if (found > 0 && read_now(kReadsATurn) == Read::kEnded) break;
    now = now_precise();
  }
  leave_duty();
  return !interrupted;
}

const Socket* Client::take_duty(Duration& busy) {
  const MutexLock lock(mutex_);
  if (data_ == nullptr || is_stale_ || broken_ || in_flight_.empty() || !duty_.waits()) {
    return nullptr;
  }
  unwatch();
  busy = in_flight_.size() == 1 ? busy_wait_.begin() : 0;
  return data_;
}

void Client::leave_duty() {
  const MutexLock lock(mutex_);
  give_to_thread(duty_.left(!in_flight_.empty()));
  duty_left_.notify_all();
}

// The command that was given last was sent, or will be.
void Client::expect_reply(Sender sender) {
  if (sender.waits) return;  // and takes the duty then
  give_to_thread(duty_.sent(sender.loop.get()));
  if (!sender.loop || !duty_.is_of(sender.loop.get()) || watcher_ == sender.loop) return;
  unwatch();
  if (sender.loop->watch(data_->fd())) {
    watcher_ = std::move(sender.loop);
  } else {
    give_to_thread(duty_.take_from_loop());
  }
}

void Client::give_to_thread(bool given) {
  if (!given) return;
  unwatch();
  wake();
}

void Client::unwatch() {
  if (!watcher_) return;
  if (data_ != nullptr) watcher_->unwatch(data_->fd());
  watcher_.reset();
}

void Client::look() {
  if (read_now(kReadsOfALoop) != Read::kSome) return;
  const MutexLock lock(mutex_);
  give_to_thread(duty_.take_from_loop());  // a long reply would keep the loop from its other work
}

Duration Client::busy_wait(const Watcher& loop) {
  const MutexLock lock(mutex_);
  return in_flight_.size() == 1 && duty_.is_of(&loop) ? busy_wait_.begin() : 0;
}

// -- Replies

Client::Read Client::read_now(int pieces) {
  const MutexLock reading(read_mutex_);
  if (!session_ || !session_->ready()) return Read::kEnded;
  SessionNews news = session_->look(pieces);
  const bool more = news.more;
  std::optional<Error> end = receive(std::move(news));
  if (!end) return more ? Read::kSome : Read::kAll;
  const MutexLock lock(mutex_);
  if (data_ != nullptr) {
    if (!broken_) broken_ = std::move(end);
    unwatch();
    wake();
  }
  return Read::kEnded;
}

// Takes in what the session found; what it has ended with.
std::optional<Error> Client::receive(SessionNews news) {
  announce(news);
  if (news.became_ready) become_ready(session_->tracks());
  std::optional<Error> end;
  if (!news.replies.empty()) end = settle(std::move(news.replies));
  return news.lost ? std::move(news.lost) : std::move(end);
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
    // Before the first connection nothing is kept, unless it is ours alone; and loads under way, of
    // which other nodes may know, are not to be ended by it.
    const bool flushes = stats_.connections != 0 || keeps_alone_;
    ++stats_.connections;
    if (options_.tracking) {
      coherence_.connected(tracks);
      if (flushes) {
        ++stats_.flushes;
        feed_->flush();
      }
    }
    for (Pending& pending : in_flight_) {
      if (!pending.fill_key.empty()) pending.fill = coherence_.begin(pending.fill_key);
    }
    if (options_.tracking) push(heartbeat(), {});
    if (!in_flight_.empty()) static_cast<void>(duty_.sent(nullptr));  // we are the I/O thread
  }
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

std::optional<Error> Client::settle(std::vector<Reply> replies) {
  Finished finished;
  std::vector<std::string> changed;
  bool unasked = false;
  bool demoted = false;
  {
    const MutexLock lock(mutex_);
    if (data_ == nullptr) return std::nullopt;  // what is in flight now is the next session's
    unasked = is_stale_;
    if (unasked) replies.clear();
    for (Reply& reply : replies) {
      if (in_flight_.empty()) {
        unasked = true;
        break;
      }
      if (reply.is_error()) {
        count_error(stats_.error_replies, reply.text);
        demoted = demoted || (options_.sentinels && refusal_of(reply.text) == "READONLY");
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
    if (finished.size() == 1 && in_flight_.empty()) {
      busy_wait_.came_after(now_precise() - finished.back().second.submitted_at);
    } else if (!finished.empty()) {
      busy_wait_.disturbed();
    }
    if (in_flight_.empty()) duty_.ended();
    breaker_.succeeded();
  }
  if (feed_) {
    for (std::string& key : changed) feed_->drop(std::move(key));
  }
  for (auto& [done, outcome] : finished) done(std::move(outcome));
  if (unasked) return Error(ErrorKind::kProtocol, "redis answered what nobody asked");
  if (demoted) return leave(options_.where() + " takes no writes any more");
  if (!std::exchange(isolated_, false)) return std::nullopt;
  return leave("redis at " + options_.where() + " has lost touch with its cluster");
}

void Client::identified(const Outcome& outcome) {
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
