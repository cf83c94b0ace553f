// session.cpp: connects, greets, reads and writes until either connection ends.
#include "redis/session.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "redis/command.h"

namespace mcp::redis {
namespace {

constexpr std::string_view kInvalidationChannel = "__redis__:invalidate";
constexpr std::size_t kIdentBytes = 8;
constexpr std::size_t kReadBytes = std::size_t{16} << 10;
constexpr int kReadsATurn = 64;  // so that a flood on one connection leaves room for the other

}  // namespace

// Shared with the thread that looks the name up, which may outlive the session.
struct Session::LookUp {
  Mutex mutex;  // a leaf
  bool done GUARDED_BY(mutex) = false;
  std::vector<Address> addresses GUARDED_BY(mutex);
  std::optional<Error> failure GUARDED_BY(mutex);
};

Session::Session(const ClientOptions& options, std::shared_ptr<WakeFd> wake)
    : options_(options), wake_(std::move(wake)), data_(options.limits), news_(options.limits) {
  if (!options_.unix_path.empty()) {
    addresses_.push_back(unix_address(options_.unix_path));
  } else if (auto numeric = resolve_numeric(options_.host, options_.port)) {
    addresses_ = std::move(*numeric);
  } else {
    look_up();
    return;
  }
  connect_data();
}

Session::~Session() = default;

void Session::look_up() {
  look_up_ = std::make_shared<LookUp>();
  const auto work = [shared = look_up_, wake = wake_, host = options_.host, port = options_.port] {
    std::vector<Address> addresses;
    std::optional<Error> failure;
    try {
      addresses = resolve(host, port);
      std::reverse(addresses.begin(), addresses.end());
    } catch (const Error& error) {
      failure = error;
    }
    {
      const MutexLock lock(shared->mutex);
      shared->done = true;
      shared->addresses = std::move(addresses);
      shared->failure = std::move(failure);
    }
    wake->wake();
  };
  start_thread("mcp-redis-dns", work).detach();
}

void Session::connect_data() {
  phase_ = Phase::kConnectData;
  while (true) {
    address_ = addresses_.back();
    addresses_.pop_back();
    try {
      data_.socket = Socket(address_);
      return;
    } catch (const Error&) {
      if (addresses_.empty()) throw;
    }
  }
}

void Session::add_polls(std::vector<pollfd>& polls, bool data_waits) const {
  const auto add = [&polls](const Channel& channel, bool connecting, bool waits) {
    if (channel.socket.fd() < 0) return;
    const bool writes = connecting || waits || !channel.out.empty();
    const int events = (connecting ? 0 : POLLIN) | (writes ? POLLOUT : 0);
    polls.push_back({channel.socket.fd(), static_cast<short>(events), 0});
  };
  add(data_, phase_ == Phase::kConnectData, data_waits);
  add(news_, phase_ == Phase::kConnectNews, false);
}

SessionNews Session::advance(const pollfd* polls, std::size_t count) {
  SessionNews news;
  try {
    if (phase_ == Phase::kLookUp) {
      const MutexLock lock(look_up_->mutex);
      if (!look_up_->done) return news;
      if (look_up_->failure) throw *look_up_->failure;
      addresses_ = std::move(look_up_->addresses);
      connect_data();
      return news;
    }
    // I first: what it announces is older than what D answers now.
    if (count > 1) step(polls[1], news_, news);
    if (count > 0) step(polls[0], data_, news);
  } catch (const Error& error) {
    news.lost = error;
  }
  return news;
}

void Session::step(const pollfd& poll, Channel& channel, SessionNews& news) {
  if (poll.revents == 0) return;
  const bool connecting =
      &channel == &data_ ? phase_ == Phase::kConnectData : phase_ == Phase::kConnectNews;
  if (!connecting) {
    flush(channel);
    if ((poll.revents & ~POLLOUT) != 0) read(channel, news);
    return;
  }
  if (const int error = channel.socket.connect_error(); error != 0) {
    if (&channel == &data_ && !addresses_.empty()) return connect_data();
    throw Error(ErrorKind::kBackendUnavailable,
                "redis at " + options_.where() +
                    " cannot be reached: " + std::system_category().message(error),
                error);
  }
  if (&channel == &data_) {
    data_connected();
  } else {
    prepare_news();
  }
}

void Session::data_connected() {
  if (!options_.tracking) return prepare_data();
  phase_ = Phase::kConnectNews;
  news_.socket = Socket(address_);
}

void Session::prepare_news() {
  phase_ = Phase::kPrepareNews;
  authenticate(news_);
  ask(news_, {"CLIENT", "ID"});
  ask(news_, {"SUBSCRIBE", kInvalidationChannel});
  for (const std::string* channel : {&options_.news_channel, &options_.life_channel}) {
    if (!channel->empty()) ask(news_, {"SUBSCRIBE", *channel});
  }
  flush(news_);
}

void Session::prepare_data() {
  phase_ = Phase::kPrepareData;
  authenticate(data_);
  if (options_.database != 0) ask(data_, {"SELECT", std::to_string(options_.database)});
  if (!invalidation_id_.empty()) {
    if (options_.announces_own) {
      ask(data_, {"CLIENT", "TRACKING", "ON", "REDIRECT", invalidation_id_});
    } else {
      ask(data_, {"CLIENT", "TRACKING", "ON", "REDIRECT", invalidation_id_, "NOLOOP"});
    }
  }
  ask(data_, {"PING"});
  flush(data_);
}

void Session::authenticate(Channel& channel) const {
  if (options_.password.empty()) return;
  if (options_.username.empty()) {
    ask(channel, {"AUTH", options_.password});
  } else {
    ask(channel, {"AUTH", options_.username, options_.password});
  }
}

void Session::ask(Channel& channel, std::initializer_list<std::string_view> command) {
  append_command(channel.out.tail(), command);
  // Kept for messages: the name alone, and its subcommand where it has one.
  std::string name(*command.begin());
  if (name == "CLIENT" || name == "SUBSCRIBE") name += " " + std::string(*(command.begin() + 1));
  channel.asked.push_back(std::move(name));
}

void Session::ping_invalidations() {
  append_command(news_.out.tail(), {"PING"});
  flush(news_);
}

void Session::flush(Channel& channel) {
  if (!channel.out.empty()) channel.out.send_to(channel.socket);
}

void Session::read(Channel& channel, SessionNews& news) {
  std::array<char, kReadBytes> buffer;
  for (int turn = 0; turn < kReadsATurn; ++turn) {
    const ssize_t got = channel.socket.receive(buffer.data(), buffer.size());
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) {
      throw Error(ErrorKind::kBackendUnavailable,
                  "redis at " + options_.where() + " closed the connection" +
                      (got < 0 ? ": " + std::system_category().message(errno) : std::string()),
                  got < 0 ? errno : 0);
    }
    channel.reader.feed({buffer.data(), static_cast<std::size_t>(got)});
    while (auto reply = channel.reader.next()) take(channel, std::move(*reply), news);
    if (static_cast<std::size_t>(got) < buffer.size()) return;
  }
}

void Session::take(Channel& channel, Reply reply, SessionNews& news) {
  if (!channel.asked.empty()) return take_start(channel, reply, news);
  if (&channel == &data_) {
    news.replies.push_back(std::move(reply));
  } else {
    news.heard = true;
    take_invalidation(reply, news);
  }
}

void Session::take_start(Channel& channel, const Reply& reply, SessionNews& news) {
  const std::string asked = std::move(channel.asked.front());
  channel.asked.erase(channel.asked.begin());
  if (reply.is_error()) {
    if (!may_go_on_without(asked, reply.text)) {
      // Some servers repeat the arguments of what they refuse: the code is enough of it.
      throw Error(ErrorKind::kBackendUnavailable, "redis at " + options_.where() + " refused " +
                                                      asked + ": " +
                                                      std::string(error_code(reply.text)));
    }
  } else if (asked == "CLIENT ID") {
    if (reply.kind != Reply::Kind::kInteger) {
      throw Error(ErrorKind::kProtocol, "redis answered CLIENT ID with something else");
    }
    invalidation_id_ = std::to_string(reply.integer);
  } else if (asked == "CLIENT TRACKING") {
    tracks_ = true;
  }
  if (!channel.asked.empty()) return;
  if (&channel == &news_) return prepare_data();
  phase_ = Phase::kReady;
  news.became_ready = true;
}

// Whether the session serves without what the server refused. It says what that takes away, and
// which right an ACL user lacks.
bool Session::may_go_on_without(const std::string& asked, const std::string& refusal) {
  const std::string_view channel = std::string_view(asked).substr(asked.find(' ') + 1);
  const bool subscribes = asked.starts_with("SUBSCRIBE ");
  if (subscribes && channel != kInvalidationChannel) {
    if (channel == options_.news_channel) {
      logger("redis").warn(
          "redis at {} refused to subscribe to {}: the user needs the right to it (ACL SETUSER ... "
          "&{}); values that Redis had no room for may be kept until memory_ttl",
          options_.where(), channel, channel);
    } else {
      shows_life_ = false;
    }
    return true;
  }
  if (!subscribes && asked != "CLIENT TRACKING" && asked != "CLIENT ID") return false;
  if (subscribes) {
    invalidation_id_.clear();
    logger("redis").warn(
        "redis at {} refused to announce changes: the user needs the right to a channel (ACL "
        "SETUSER ... &{}); nothing is kept in memory",
        options_.where(), channel);
  } else {
    logger("redis").warn("redis at {} cannot announce changes ({}); nothing is kept in memory",
                         options_.where(), error_code(refusal));
  }
  return true;
}

void Session::take_invalidation(const Reply& reply, SessionNews& news) const {
  // ["message", "__redis__:invalidate", [key, ...] or null], or ["message", news_channel, key];
  // pongs and the rest say nothing.
  if (reply.items.size() != 3 || reply.items[0].text != "message") return;
  if (reply.items[1].text == options_.news_channel) {
    const std::string& said = reply.items[2].text;
    if (said.size() > kIdentBytes && !said.starts_with(options_.ident)) {
      news.invalidated.push_back(said.substr(kIdentBytes));
    }
    return;
  }
  if (reply.items[1].text != kInvalidationChannel) return;
  const Reply& keys = reply.items[2];
  if (keys.kind != Reply::Kind::kArray) {
    news.invalidated_all = true;
    return;
  }
  for (const Reply& key : keys.items) news.invalidated.push_back(key.text);
}

}  // namespace mcp::redis
