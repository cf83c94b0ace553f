// http2_channel.cpp: threads take turns at driving the connection that they share.
#include "http/http2_channel.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace mcp::http {
namespace {

constexpr std::size_t kChannelBufferBytes = 32 << 10;
constexpr Duration kLookForSignals = 50 * kMillisecond;

int make_wake_fd() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw Error(ErrorKind::kHttp, describe_errno(errno));
  return fd;
}

Http2Channel::Outcome outcome_of(Http2Session::End how, bool was_up) {
  using End = Http2Session::End;
  using Outcome = Http2Channel::Outcome;
  if (!was_up) return Outcome::kUnreachable;
  switch (how) {
    case End::kComplete:
      return Outcome::kReply;
    case End::kFailed:
      return Outcome::kFailed;
    case End::kUnprocessed:
      return Outcome::kUnprocessed;
    case End::kRefused:
      return Outcome::kRefused;
    case End::kGivenUp:
      return Outcome::kGivenUp;
  }
  return Outcome::kFailed;
}

}  // namespace

Http2Channel::Http2Channel(const ConnectOptions& connect, std::size_t endpoint)
    : endpoint_(endpoint), wake_fd_(make_wake_fd()), buffer_(kChannelBufferBytes) {
  if (const int code = connection_.open(connect); code != 0) {
    ::close(wake_fd_);
    throw Error(ErrorKind::kHttp, describe_errno(code));
  }
}

Http2Channel::~Http2Channel() { ::close(wake_fd_); }

bool Http2Channel::is_up() {
  const MutexLock lock(mutex_);
  return connection_.is_up();
}

bool Http2Channel::has_answered() {
  const MutexLock lock(mutex_);
  return connection_.has_answered();
}

bool Http2Channel::takes_more() {
  const MutexLock lock(mutex_);
  if (!driven_ && connection_.is_up()) step(false);
  return connection_.takes_more();
}

// Goes as far as the socket lets it, and tells those whose exchanges have ended.
void Http2Channel::step(bool hung_up) {
  connection_.advance(buffer_, hung_up);
  for (const auto& [stream, how] : connection_.ended()) {
    auto& exchange = static_cast<Http2Exchange&>(*stream);
    exchange.how = how;
    exchange.done = true;
    exchange.wake.notify_one();
  }
  connection_.ended().clear();
}

// Waits for the socket without the lock.
void Http2Channel::drive(Duration most) {
  driven_ = true;
  pollfd events[] = {{connection_.fd(), POLLIN | POLLRDHUP, 0}, {wake_fd_, POLLIN, 0}};
  if (connection_.wants_to_write()) events[0].events |= POLLOUT;
  const timespec patience{most / kSecond, most % kSecond};
  mutex_.unlock();
  const int count = ::ppoll(events, 2, &patience, nullptr);
  mutex_.lock();
  driven_ = false;
  if (count <= 0) return;
  if (events[1].revents != 0) {
    std::uint64_t told = 0;
    (void)!::read(wake_fd_, &told, sizeof told);
  }
  step((events[0].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0);
}

// The driver has to watch for room to write as well.
void Http2Channel::nudge() {
  if (!driven_ || !connection_.wants_to_write()) return;
  const std::uint64_t one = 1;
  (void)!::write(wake_fd_, &one, sizeof one);
}

void Http2Channel::wait_or_drive(Http2Exchange& mine, Duration most) {
  if (!driven_) return drive(most);
  waiting_.push_back(&mine);
  mine.wake.wait_for(mutex_, most);
  std::erase(waiting_, &mine);
}

// Whoever goes leaves the socket to one who stays.
void Http2Channel::leave(Http2Exchange& mine) {
  if (!mine.done) {
    connection_.cancel(mine);
    connection_.send_now();
  }
  if (!driven_ && !waiting_.empty()) waiting_.front()->wake.notify_one();
}

Http2Channel::Outcome Http2Channel::exchange(Http2Exchange& mine, const Request& request) {
  const MutexLock lock(mutex_);
  mine.done = false;
  if (!connection_.submit(mine, request.bytes, request.is_head, Keep::kBodyAndHeaders)) {
    return Outcome::kTakesNoMore;
  }
  connection_.send_now();
  nudge();
  while (!mine.done) {
    const Duration left = request.deadline - now_precise();
    if (left <= 0) {
      leave(mine);
      return Outcome::kTimedOut;
    }
    const bool looks = request.interrupted != nullptr;
    const Instant slice_ends = now_precise() + kLookForSignals;
    wait_or_drive(mine, looks ? std::min(left, kLookForSignals) : left);
    if (mine.done || !looks || now_precise() < slice_ends) continue;
    mutex_.unlock();
    const bool interrupted = request.interrupted();
    mutex_.lock();
    if (interrupted && !mine.done) {
      leave(mine);
      return Outcome::kInterrupted;
    }
  }
  const Outcome outcome = outcome_of(mine.how, connection_.up_at() != 0);
  leave(mine);
  return outcome;
}

}  // namespace mcp::http
