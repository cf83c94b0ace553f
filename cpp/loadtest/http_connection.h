// http_connection.h: one socket to the target, carrying one request at a time. Never blocks; the
// owner watches the file descriptor edge-triggered for both directions and calls advance().
// Thread-compatible.
// Invariant: idle or closed whenever no request is under way.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "loadtest/address.h"
#include "loadtest/http_response.h"
#include "loadtest/tls.h"

namespace mcp::loadtest {

struct ConnectOptions {
  Endpoint endpoint;
  std::string host;        // checked against the certificate
  SSL_CTX* tls = nullptr;  // not owned; null: plain
  std::uint64_t body_limit = 64 << 20;
};

class HttpConnection {
 public:
  enum class Progress {
    kPending,   // waits for the socket
    kComplete,  // response() is there
    kFailed,    // failure() says why; the socket is closed
  };

  HttpConnection() = default;
  ~HttpConnection() { close(); }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // Starts to connect. 0, or the errno of what failed. REQUIRES: closed.
  int open(const ConnectOptions& options);
  // Takes the request to be sent as soon as the connection is up. `request` stays alive until the
  // next call of begin() or close().
  void begin(std::string_view request, bool is_head, bool keep_body);
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
  // The peer has closed its side: what comes after the current response is nothing.
  [[nodiscard]] bool is_hung_up() const noexcept { return hung_up_; }
  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] const HttpResponse& response() const noexcept { return response_; }
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  // Of the request under way, or the last one.
  [[nodiscard]] Instant first_byte_at() const noexcept { return first_byte_at_; }
  [[nodiscard]] Instant last_byte_at() const noexcept { return last_byte_at_; }
  [[nodiscard]] std::uint64_t bytes_received() const noexcept { return bytes_received_; }
  [[nodiscard]] Instant up_at() const noexcept { return up_at_; }

 private:
  enum class State { kClosed, kConnecting, kHandshaking, kUp };
  enum class Io { kDone, kAgain, kClosed, kError };

  Progress connect_or_fail();
  Progress shake_hands();
  Progress receive(std::span<char> buffer);
  Progress fail(std::string why);
  Io read(std::span<char> buffer, std::size_t& got);
  Io write(std::string_view data, std::size_t& put);

  const ConnectOptions* options_ = nullptr;
  int fd_ = -1;
  State state_ = State::kClosed;
  Ssl ssl_;
  std::string_view output_;  // what is still to be written
  HttpResponse response_;
  std::string failure_;
  int errno_ = 0;
  bool hung_up_ = false;
  Instant first_byte_at_ = 0;
  Instant last_byte_at_ = 0;
  Instant up_at_ = 0;
  std::uint64_t bytes_received_ = 0;
};

// "connection refused", "connection reset", ... for an errno.
[[nodiscard]] std::string describe_errno(int code);
// Whether the failure is the generator's own: no descriptors, no local ports, no memory.
[[nodiscard]] bool is_generator_limit(int code) noexcept;

}  // namespace mcp::loadtest
