// connection.h: one socket to the target, carrying one request at a time, over HTTP/1.1 or 2.
// Never blocks; the owner watches the file descriptor, edge-triggered for both directions or
// level-triggered for what it waits for, and calls advance(). Thread-compatible. Invariant: idle or
// closed whenever no request is under way.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "http/address.h"
#include "http/http2_session.h"
#include "http/response.h"
#include "http/tls.h"

namespace mcp::http {

struct ConnectOptions {
  Endpoint endpoint;
  std::string host;        // checked against the certificate
  SSL_CTX* tls = nullptr;  // not owned; null: plain
  std::uint64_t body_limit = 64 << 20;
  bool http2 = false;  // by ALPN with TLS, by prior knowledge without
};

class Connection {
 public:
  enum class Progress {
    kPending,   // waits for the socket
    kComplete,  // response() is there
    kFailed,    // failure() says why; the socket is closed
  };

  Connection() = default;
  ~Connection() { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Starts to connect. 0, or the errno of what failed. REQUIRES: closed.
  int open(const ConnectOptions& options);
  // Takes the request to be sent as soon as the connection is up. `request` stays alive until the
  // next call of begin() or close().
  void begin(std::string_view request, bool is_head, Keep keep);
  // Writes what the socket takes, without looking for an answer. REQUIRES: is_connected().
  void send_now() noexcept;
  // Goes as far as the socket lets it after an event. `hung_up`: the event said that the peer has
  // closed its side. `buffer` is scratch space that connections may share.
  Progress advance(std::span<char> buffer, bool hung_up);
  // The socket has news while no request is under way: false if it is of no use any more.
  bool still_usable();
  void close() noexcept;

  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }
  [[nodiscard]] bool is_connected() const noexcept { return state_ == State::kUp; }
  [[nodiscard]] int fd() const noexcept { return fd_; }
  // Whether it waits for the socket to take something; it always waits for what comes.
  [[nodiscard]] bool wants_to_write() const noexcept;
  [[nodiscard]] const Response& response() const noexcept { return response_; }
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  // Of the request under way, or the last one.
  [[nodiscard]] Instant first_byte_at() const noexcept { return first_byte_at_; }
  [[nodiscard]] Instant last_byte_at() const noexcept { return last_byte_at_; }
  [[nodiscard]] std::uint64_t bytes_received() const noexcept { return bytes_received_; }
  [[nodiscard]] Instant up_at() const noexcept { return up_at_; }
  // Bytes of requests that went out since the last call.
  [[nodiscard]] std::uint64_t take_bytes_sent() noexcept { return std::exchange(bytes_sent_, 0); }
  // Whether another request can follow. REQUIRES: the last one is complete.
  [[nodiscard]] bool is_reusable() const noexcept;

 private:
  enum class State { kClosed, kConnecting, kHandshaking, kUp };
  enum class Io { kDone, kAgain, kClosed, kError };

  Progress connect_or_fail();
  Progress shake_hands();
  Progress come_up();
  Progress receive_http2(std::span<char> buffer);
  Progress receive(std::span<char> buffer);
  Progress fail(std::string why);
  Io read(std::span<char> buffer, std::size_t& got);
  Io write(std::string_view data, std::size_t& put);
  [[nodiscard]] bool more_output();

  const ConnectOptions* options_ = nullptr;
  int fd_ = -1;
  State state_ = State::kClosed;
  Ssl ssl_;
  std::string_view output_;   // what is still to be written
  std::string_view request_;  // waits for the connection to come up (HTTP/2)
  Response response_;
  std::unique_ptr<Http2Session> http2_;
  std::string failure_;
  int errno_ = 0;
  bool hung_up_ = false;  // the peer has closed its side: nothing follows the current response
  Instant first_byte_at_ = 0;
  Instant last_byte_at_ = 0;
  Instant up_at_ = 0;
  std::uint64_t bytes_received_ = 0;
  std::uint64_t bytes_sent_ = 0;
};

// "connection refused", "connection reset", ... for an errno.
[[nodiscard]] std::string describe_errno(int code);
// Whether the failure is the generator's own: no descriptors, no local ports, no memory.
[[nodiscard]] bool is_generator_limit(int code) noexcept;

}  // namespace mcp::http
