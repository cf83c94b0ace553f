// channel.h: one connection to a server, from its name to replies: looked up (on a thread of its
// own), connected, shaken hands with where there is TLS, then commands out and replies in.
//
// Thread-compatible; only socket().send() may be called by another thread, see client.h. What
// throws, throws Error, and the channel is of no further use then but for reach().
#pragma once

#include <poll.h>

#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redis/node.h"
#include "redis/reply_reader.h"
#include "redis/send_buffer.h"
#include "redis/socket.h"
#include "redis/wake_fd.h"

namespace mcp::redis {

class Channel {
 public:
  // `wake` is woken when a name was looked up. Null `tls`: plain.
  Channel(const ReplyLimits& limits, std::shared_ptr<const TlsContext> tls,
          std::shared_ptr<WakeFd> wake)
      : limits_(limits), tls_(std::move(tls)), wake_(std::move(wake)) {}

  // Begins to connect; what there was is closed.
  void reach(const Node& node);
  void reach_unix(const std::string& path);
  // To where `other` is connected.
  void reach_with(const Channel& other);
  void close();

  // Appends what to poll for, if anything. `waits`: bytes that another sends did not fit. Unless it
  // `reads`, what arrives is left to others, and only the end of the connection is looked for.
  void add_poll(std::vector<pollfd>& polls, bool waits, bool reads = true) const;
  // Goes on with what its poll among `polls` found, and with a name that was looked up. True: it
  // has come up by this. Replies that came are appended.
  bool advance(std::span<const pollfd> polls, std::vector<Reply>& replies);
  // Appends the replies that lie here now, read in so many pieces at most. True: there may be more.
  // check() says whether the connection has ended. REQUIRES: is_up()
  bool look(std::vector<Reply>& replies, int pieces);

  // A command of which the reply will be next in line.
  void ask(std::initializer_list<std::string_view> command);
  // AUTH, where there is a password.
  void authenticate(const std::string& username, const std::string& password);
  // The name of the oldest command that was asked and is not answered; it is taken off.
  [[nodiscard]] std::string take_asked();
  [[nodiscard]] bool awaits_reply() const noexcept { return !asked_.empty(); }
  // A command that take_asked() does not tell of.
  void tell(std::initializer_list<std::string_view> command);
  // Throws what the connection has ended with, if it has: to be called when the replies that came
  // before have been taken.
  void check() const;
  void flush();

  [[nodiscard]] bool is_up() const noexcept { return state_ == State::kUp; }
  [[nodiscard]] bool is_closed() const noexcept { return state_ == State::kClosed; }
  [[nodiscard]] const Socket& socket() const noexcept { return socket_; }
  // For messages: the server, and what is waited for.
  [[nodiscard]] std::string_view waits_for() const noexcept;
  [[nodiscard]] const std::string& where() const noexcept { return where_; }

 private:
  enum class State { kClosed, kLooksUp, kConnecting, kShakesHands, kUp };
  struct LookUp;

  void start(std::string where, std::string host);
  void look_up(const Node& node);
  bool looked_up();
  void connect();
  bool connected();
  bool shake_hands();
  [[nodiscard]] Error unavailable(const std::string& what, int code = 0) const;

  const ReplyLimits limits_;
  const std::shared_ptr<const TlsContext> tls_;
  const std::shared_ptr<WakeFd> wake_;
  State state_ = State::kClosed;
  std::string where_;
  std::string host_;  // what a certificate must be for
  std::shared_ptr<LookUp> look_up_;
  std::vector<Address> addresses_;  // to be tried, the last one first
  Address address_;                 // in use
  Socket socket_;
  TlsStream* stream_ = nullptr;  // of socket_
  short handshake_events_ = 0;   // what the handshake waits for
  std::optional<ReplyReader> reader_;
  SendBuffer out_;
  std::deque<std::string> asked_;
  std::optional<Error> end_;  // what reading ended with
};

}  // namespace mcp::redis
