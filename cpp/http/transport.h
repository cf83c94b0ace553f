// transport.h: one socket to the target, plain or under TLS, until it is up and then as bytes.
// Never blocks; the owner watches the file descriptor. Thread-compatible.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "http/address.h"
#include "http/tls.h"

namespace mcp::http {

struct ConnectOptions {
  Endpoint endpoint;
  std::string host;        // checked against the certificate
  SSL_CTX* tls = nullptr;  // not owned; null: plain
  std::uint64_t body_limit = 64 << 20;
  bool http2 = false;  // by ALPN with TLS, by prior knowledge without
};

class Transport {
 public:
  enum class Progress {
    kPending,  // waits for the socket
    kUp,
    kFailed,  // failure() says why; the socket is closed
  };
  enum class Io { kDone, kAgain, kClosed, kError };

  Transport() = default;
  ~Transport() { close(); }
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // Starts to connect. 0, or the errno of what failed. `options` stays alive. REQUIRES: closed.
  int open(const ConnectOptions& options);
  // Goes on connecting and shaking hands.
  Progress come_up();
  // Both REQUIRE: up. kError: failure() says why.
  Io read(std::span<char> buffer, std::size_t& got);
  Io write(std::string_view data, std::size_t& put);
  void close() noexcept;

  [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }
  [[nodiscard]] bool is_up() const noexcept { return state_ == State::kUp; }
  [[nodiscard]] bool is_secure() const noexcept { return ssl_ != nullptr; }
  [[nodiscard]] int fd() const noexcept { return fd_; }
  // While it comes up: whether it waits for the socket to take something.
  [[nodiscard]] bool wants_to_write() const noexcept;
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  [[nodiscard]] Instant up_at() const noexcept { return up_at_; }
  // Bytes that went out since take_bytes_sent().
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept { return bytes_sent_; }
  // Bytes that went out since the last call.
  [[nodiscard]] std::uint64_t take_bytes_sent() noexcept { return std::exchange(bytes_sent_, 0); }

 private:
  enum class State { kClosed, kConnecting, kHandshaking, kUp };

  Progress fail(std::string why);
  Io io_failed(int code);
  [[nodiscard]] Io tls_failed(int result);
  Progress connected();
  Progress shake_hands();
  Progress be_up();

  const ConnectOptions* options_ = nullptr;
  int fd_ = -1;
  State state_ = State::kClosed;
  Ssl ssl_;
  std::string failure_;
  Instant up_at_ = 0;
  std::uint64_t bytes_sent_ = 0;
};

// "connection refused", "connection reset", ... for an errno.
[[nodiscard]] std::string describe_errno(int code);
// Whether the failure is the generator's own: no descriptors, no local ports, no memory.
[[nodiscard]] bool is_generator_limit(int code) noexcept;

}  // namespace mcp::http
