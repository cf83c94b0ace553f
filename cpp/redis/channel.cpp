// channel.cpp: looks up, connects, shakes hands, writes and reads.
#include "redis/channel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/mutex.h"
#include "base/thread.h"
#include "redis/command.h"

namespace mcp::redis {
namespace {

constexpr std::size_t kReadBytes = std::size_t{16} << 10;
constexpr int kReadsATurn = 64;  // so that a flood on one connection leaves room for the others

}  // namespace

// Shared with the thread that looks the name up, which may outlive the channel.
struct Channel::LookUp {
  Mutex mutex;  // a leaf
  bool done GUARDED_BY(mutex) = false;
  std::vector<Address> addresses GUARDED_BY(mutex);
  std::optional<Error> failure GUARDED_BY(mutex);
};

Error Channel::unavailable(const std::string& what, int code) const {
  return {ErrorKind::kBackendUnavailable, "redis at " + where_ + " " + what, code};
}

// -- On the way up

void Channel::start(std::string where, std::string host) {
  close();
  where_ = std::move(where);
  host_ = std::move(host);
  reader_.emplace(limits_);
}

void Channel::close() {
  state_ = State::kClosed;
  look_up_.reset();
  addresses_.clear();
  stream_ = nullptr;
  socket_.close();
  out_.clear();
  asked_.clear();
  end_.reset();
}

void Channel::reach(const Node& node) {
  start(node.text(), node.host);
  if (auto numeric = resolve_numeric(node.host, node.port)) {
    addresses_ = std::move(*numeric);
    connect();
  } else {
    look_up(node);
  }
}

void Channel::reach_unix(const std::string& path) {
  start(path, "localhost");
  addresses_.push_back(unix_address(path));
  connect();
}

void Channel::reach_with(const Channel& other) {
  start(other.where_, other.host_);
  addresses_.push_back(other.address_);
  connect();
}

void Channel::look_up(const Node& node) {
  state_ = State::kLooksUp;
  look_up_ = std::make_shared<LookUp>();
  const auto work = [shared = look_up_, wake = wake_, node] {
    std::vector<Address> addresses;
    std::optional<Error> failure;
    try {
      addresses = resolve(node.host, node.port);
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

bool Channel::looked_up() {
  {
    const MutexLock lock(look_up_->mutex);
    if (!look_up_->done) return false;
    if (look_up_->failure) throw Error(*look_up_->failure);
    addresses_ = std::move(look_up_->addresses);
  }
  look_up_.reset();
  return true;
}

void Channel::connect() {
  state_ = State::kConnecting;
  while (true) {
    address_ = addresses_.back();
    addresses_.pop_back();
    try {
      socket_ = Socket(address_);
      return;
    } catch (const Error& error) {
      if (addresses_.empty()) throw unavailable(error.what(), error.code());
    }
  }
}

// True: the socket is connected.
bool Channel::connected() {
  const int error = socket_.connect_error();
  if (error == 0) return true;
  if (addresses_.empty()) {
    throw unavailable("cannot be reached: " + std::system_category().message(error), error);
  }
  connect();
  return false;
}

bool Channel::shake_hands() {
  try {
    const TlsStream::Progress progress = stream_->shake_hands();
    handshake_events_ = progress == TlsStream::Progress::kWaitsToWrite ? POLLOUT : POLLIN;
    if (progress != TlsStream::Progress::kUp) return false;
  } catch (const Error& error) {
    throw unavailable(std::string("takes no TLS connection from us: ") + error.what(),
                      error.code());
  }
  state_ = State::kUp;
  return true;
}

std::string_view Channel::waits_for() const noexcept {
  switch (state_) {
    case State::kLooksUp:
      return "the address of its host";
    case State::kConnecting:
      return "the connection";
    case State::kShakesHands:
      return "the TLS handshake";
    default:
      return "the first answers";
  }
}

void Channel::add_poll(std::vector<pollfd>& polls, bool waits, bool reads) const {
  if (socket_.fd() < 0) return;
  int events = reads ? POLLIN : POLLRDHUP;
  if (state_ == State::kConnecting) {
    events = POLLOUT;
  } else if (state_ == State::kShakesHands) {
    events = handshake_events_;
  } else if (waits || !out_.empty()) {
    events |= POLLOUT;
  }
  polls.push_back({socket_.fd(), static_cast<short>(events), 0});
}

bool Channel::advance(std::span<const pollfd> polls, std::vector<Reply>& replies) {
  if (state_ == State::kLooksUp) {
    if (looked_up()) connect();
    return false;
  }
  if (state_ == State::kClosed) return false;
  const auto poll = std::find_if(polls.begin(), polls.end(),
                                 [this](const pollfd& each) { return each.fd == socket_.fd(); });
  if (poll == polls.end() || poll->revents == 0) return false;
  if (state_ == State::kConnecting) {
    if (!connected()) return false;
    if (!tls_) {
      state_ = State::kUp;
      return true;
    }
    stream_ = &socket_.secure(*tls_, host_);
    state_ = State::kShakesHands;
  }
  if (state_ == State::kShakesHands) return shake_hands();
  flush();
  if ((poll->revents & ~POLLOUT) != 0) look(replies, kReadsATurn);
  return false;
}

// -- Up

void Channel::ask(std::initializer_list<std::string_view> command) {
  tell(command);
  // Kept for messages: the name alone, and its subcommand where it has one.
  std::string name(*command.begin());
  if (name == "CLIENT" || name == "SUBSCRIBE") name += " " + std::string(*(command.begin() + 1));
  asked_.push_back(std::move(name));
}

void Channel::tell(std::initializer_list<std::string_view> command) {
  append_command(out_.tail(), command);
}

void Channel::authenticate(const std::string& username, const std::string& password) {
  if (password.empty()) return;
  if (username.empty()) {
    ask({"AUTH", password});
  } else {
    ask({"AUTH", username, password});
  }
}

std::string Channel::take_asked() {
  std::string asked = std::move(asked_.front());
  asked_.pop_front();
  return asked;
}

void Channel::flush() {
  if (!out_.empty()) out_.send_to(socket_);
}

// Replies that came whole before the connection ended are taken; then check() throws.
bool Channel::look(std::vector<Reply>& replies, int pieces) {
  std::array<char, kReadBytes> buffer;
  try {
    for (int piece = 0; piece < pieces; ++piece) {
      const ssize_t got = socket_.receive(buffer.data(), buffer.size());
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
      if (got < 0) {
        const int code = errno;
        throw unavailable("closed the connection: " + socket_.failure(), code);
      }
      if (got == 0) throw unavailable("closed the connection");
      reader_->feed({buffer.data(), static_cast<std::size_t>(got)});
      while (auto reply = reader_->next()) replies.push_back(std::move(*reply));
      if (static_cast<std::size_t>(got) < buffer.size()) return false;
    }
    return true;
  } catch (const Error& error) {
    end_ = error;
    return false;
  }
}

void Channel::check() const {
  if (end_) throw Error(*end_);
}

}  // namespace mcp::redis
