// client.cpp: takes a kept connection or makes one, and sends again where that is safe.
#include "http/client.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/fork.h"
#include "http/redirect.h"

namespace mcp::http {
namespace {

constexpr int kMostHops = 5;
constexpr int kMostRepeats = 3;  // of a request that an HTTP/2 peer has not looked at
constexpr Duration kSignalLook = 50 * kMillisecond;
constexpr std::size_t kBufferBytes = 16 << 10;
constexpr std::string_view kOwnLimit = "generator-limited: ";

std::string without_prefix(const std::string& why) {
  return why.starts_with(kOwnLimit) ? why.substr(kOwnLimit.size()) : why;
}

std::string described(const Message& message, const std::string& authority,
                      const std::string& why) {
  return message.method + " " + authority + message.target.substr(0, message.target.find('?')) +
         ": " + without_prefix(why);
}

Reply reply_of(const Response& response) {
  return {response.status(), response.headers(), response.body(), response.location(),
          response.trailers()};
}

}  // namespace

Client::Client(ClientOptions options) : options_(std::move(options)) {
  if (options_.endpoints.empty()) throw invalid_argument("url", "", "an address");
  if (options_.http2 && !Http2Session::built_in()) {
    throw invalid_argument("http2", "True", "False: this build has no HTTP/2");
  }
  if (options_.use_tls) {
    TlsOptions tls = options_.tls;
    tls.http2 = options_.http2;
    ssl_context_ = make_ssl_context(tls);
  }
  for (const Endpoint& endpoint : options_.endpoints) {
    connects_.push_back(
        {endpoint, options_.host, ssl_context_.get(), options_.body_limit, options_.http2});
  }
}

Client::~Client() {
  close();
  Hub* const hub = hub_.load();
  if (hub != nullptr && hub->generation == process_generation()) delete hub;
}

void Client::close() noexcept {
  for (auto& place : free_) delete place.exchange(nullptr);
  Hub* const hub = hub_.load();
  if (hub == nullptr || hub->generation != process_generation()) return;
  std::shared_ptr<Http2Channel> last;  // outlives the lock
  const MutexLock lock(hub->mutex);
  last.swap(hub->current);
}

// That of the parent of a forked child stays as it is: its lock may be held by a thread that is
// gone.
Client::Hub& Client::hub() {
  Hub* known = hub_.load(std::memory_order_acquire);
  while (known == nullptr || known->generation != process_generation()) {
    auto made = std::make_unique<Hub>();
    made->generation = process_generation();
    if (hub_.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) {
      return *made.release();
    }
  }
  return *known;
}

// The connection, or a new one to the first endpoint that can be tried.
std::shared_ptr<Http2Channel> Client::channel(Hub& hub) {
  const MutexLock lock(hub.mutex);
  if (hub.current != nullptr && hub.current->takes_more()) return hub.current;
  for (std::size_t left = connects_.size(); left > 0; --left) {
    std::size_t at = answered_first_.load(std::memory_order_relaxed);
    try {
      return hub.current = std::make_shared<Http2Channel>(connects_[at], at);
    } catch (const Error&) {
      if (left == 1) throw;
      answered_first_.compare_exchange_strong(at, (at + 1) % connects_.size());
    }
  }
  return nullptr;
}

Reply Client::exchange_http2(const Message& message, Instant deadline) {
  using Shared = Http2Channel::Outcome;
  const std::string bytes = serialize(message, options_.authority);
  const Http2Channel::Request request{bytes, message.method == "HEAD", deadline,
                                      options_.interrupted};
  Http2Exchange mine;
  const Response& response = mine.response;
  std::size_t unreachable = 0;
  int repeats = 0;
  while (true) {
    const std::shared_ptr<Http2Channel> shared = channel(hub());
    switch (shared->exchange(mine, request)) {
      case Shared::kReply:
        return reply_of(response);
      case Shared::kTimedOut:
        throw Error(ErrorKind::kHttpTimeout, shared->is_up() ? "timeout" : "connect timeout");
      case Shared::kInterrupted:
        throw Interrupted{};
      case Shared::kUnreachable: {
        std::size_t at = shared->endpoint();
        answered_first_.compare_exchange_strong(at, (at + 1) % connects_.size());
        if (++unreachable < connects_.size()) continue;
        break;
      }
      case Shared::kTakesNoMore:
      case Shared::kUnprocessed:
        if (shared->has_answered()) continue;  // it has brought others forward
        [[fallthrough]];
      case Shared::kRefused:
        if (++repeats <= kMostRepeats) continue;
        break;
      case Shared::kGivenUp:
        if (is_idempotent(message.method) && ++repeats <= 1) continue;
        break;
      case Shared::kFailed:
        break;
    }
    throw Error(ErrorKind::kHttp, response.error());
  }
}

Client::LinePtr Client::take_free() noexcept {
  for (auto& place : free_) {
    if (place.load(std::memory_order_relaxed) == nullptr) continue;
    LinePtr line(place.exchange(nullptr, std::memory_order_acquire));
    if (line == nullptr || line->generation != process_generation()) continue;
    if (line->connection.still_usable()) return line;
  }
  return nullptr;
}

void Client::give_back(LinePtr line) noexcept {
  if (!line->connection.is_reusable()) return;
  for (auto& place : free_) {
    Line* none = nullptr;
    if (place.load(std::memory_order_relaxed) == nullptr &&
        place.compare_exchange_strong(none, line.get(), std::memory_order_release,
                                      std::memory_order_relaxed)) {
      static_cast<void>(line.release());
      return;
    }
  }
}

Client::Outcome Client::wait(Connection& connection, Instant deadline) const {
  std::array<char, kBufferBytes> buffer;
  while (true) {
    const Duration left = deadline - now_precise();
    if (left <= 0) return Outcome::kTimedOut;
    pollfd event{connection.fd(), POLLIN | POLLRDHUP, 0};
    if (connection.wants_to_write()) event.events |= POLLOUT;
    const Duration slice = options_.interrupted != nullptr ? std::min(left, kSignalLook) : left;
    const timespec patience{slice / kSecond, slice % kSecond};
    const int count = ::ppoll(&event, 1, &patience, nullptr);
    if (count <= 0) {
      if (options_.interrupted != nullptr && options_.interrupted()) throw Interrupted{};
      continue;
    }
    const bool hung_up = (event.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
    switch (connection.advance(buffer, hung_up)) {
      case Connection::Progress::kComplete:
        return Outcome::kReply;
      case Connection::Progress::kFailed:
        return Outcome::kFailed;
      case Connection::Progress::kPending:
        break;
    }
  }
}

// On a new connection, to the first endpoint that takes one.
Client::LinePtr Client::connect(std::string_view request, bool is_head, Instant deadline,
                                Outcome& outcome) {
  const std::size_t first = answered_first_.load(std::memory_order_relaxed);
  LinePtr line;
  std::string failure;
  for (std::size_t i = 0; i < connects_.size(); ++i) {
    const std::size_t at = (first + i) % connects_.size();
    line = std::make_unique<Line>();
    line->generation = process_generation();
    if (const int code = line->connection.open(connects_[at]); code != 0) {
      failure = describe_errno(code);
      continue;
    }
    line->connection.begin(request, is_head, Keep::kBodyAndHeaders);
    outcome = wait(line->connection, deadline);
    const bool was_up = line->connection.up_at() != 0;
    if (was_up) answered_first_.store(at, std::memory_order_relaxed);
    if (was_up || outcome == Outcome::kTimedOut) return line;
    failure = line->connection.failure();
  }
  throw Error(ErrorKind::kHttp, failure);
}

Reply Client::exchange(const Message& message, Instant deadline) {
  const std::string request = serialize(message, options_.authority);
  const bool is_head = message.method == "HEAD";
  LinePtr line = take_free();
  Outcome outcome = Outcome::kFailed;
  if (line != nullptr) {
    static_cast<void>(line->connection.take_bytes_sent());  // of earlier requests
    line->connection.begin(request, is_head, Keep::kBodyAndHeaders);
    line->connection.send_now();
    outcome = wait(line->connection, deadline);
    const bool unheard = outcome == Outcome::kFailed && line->connection.bytes_received() == 0;
    const bool unsent = line->connection.take_bytes_sent() == 0;
    if (unheard && (unsent || is_idempotent(message.method))) line = nullptr;
  }
  if (line == nullptr) line = connect(request, is_head, deadline, outcome);
  switch (outcome) {
    case Outcome::kTimedOut:
      throw Error(ErrorKind::kHttpTimeout,
                  line->connection.is_connected() ? "timeout" : "connect timeout");
    case Outcome::kFailed:
      throw Error(ErrorKind::kHttp, line->connection.failure());
    case Outcome::kReply:
      break;
  }
  Reply reply = reply_of(line->connection.response());
  give_back(std::move(line));
  return reply;
}

Reply Client::send(Message message) {
  check(message);
  const Instant now = now_precise();
  const Instant deadline = options_.timeout_ns < kNever - now ? now + options_.timeout_ns : kNever;
  const Origin origin{options_.use_tls, options_.host, options_.port};
  try {
    for (int hops = 0;; ++hops) {
      Reply reply =
          options_.http2 ? exchange_http2(message, deadline) : exchange(message, deadline);
      if (!options_.follow_redirects || !is_redirect(reply.status)) return reply;
      auto target = same_origin_target(reply.location, message.target, origin);
      if (!target) return reply;
      if (hops == kMostHops) throw Error(ErrorKind::kHttp, "too many redirects");
      message = redirected(message, reply.status, std::move(*target));
    }
  } catch (const Error& error) {
    throw Error(error.kind(), described(message, options_.authority, error.what()));
  }
}

}  // namespace mcp::http
