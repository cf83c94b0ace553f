// http2_connection.h: one connection to the target, carrying many HTTP/2 streams. Never blocks; the
// owner watches the file descriptor as for a Connection. What is submitted goes out with the next
// send_now() or advance(), several frames to a write. Thread-compatible.
// Invariant: a stream is in flight from submit() until it is in ended() or was cancelled.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "http/http2_session.h"
#include "http/transport.h"

namespace mcp::http {

class Http2Connection {
 public:
  // Starts to connect. 0, or the errno of what failed. Throws std::bad_alloc. REQUIRES: closed.
  int open(const ConnectOptions& options);
  // Takes a request to be sent as soon as the connection is up and the peer has room for a stream.
  // False if the connection takes no more. The body in `request` stays alive while the stream is in
  // flight. REQUIRES: open.
  [[nodiscard]] bool submit(Http2Stream& stream, std::string_view request, bool is_head, Keep keep);
  // Gives up a stream in flight.
  void cancel(Http2Stream& stream);
  // Writes what the socket takes, without looking for answers.
  void send_now();
  // Goes as far as the socket lets it after an event; what ends goes to ended(). When the
  // connection is lost it is closed and everything in flight has ended.
  void advance(std::span<char> buffer, bool hung_up);
  void close() noexcept;

  // REQUIRES: has been open.
  [[nodiscard]] std::vector<Http2Session::Ended>& ended() noexcept { return session_->ended(); }
  [[nodiscard]] std::size_t in_flight() const noexcept {
    return session_ ? session_->in_flight() : 0;
  }
  [[nodiscard]] bool has_answered() const noexcept { return session_->has_answered(); }
  [[nodiscard]] bool takes_more() const noexcept {
    return transport_.is_open() && !hung_up_ && session_->takes_more();
  }
  [[nodiscard]] bool is_open() const noexcept { return transport_.is_open(); }
  [[nodiscard]] bool is_up() const noexcept { return transport_.is_up(); }
  [[nodiscard]] int fd() const noexcept { return transport_.fd(); }
  [[nodiscard]] bool wants_to_write() const noexcept {
    return transport_.is_up() ? written_ < output_.size() : transport_.wants_to_write();
  }
  [[nodiscard]] Instant up_at() const noexcept { return transport_.up_at(); }
  // When something last came; 0: nothing yet.
  [[nodiscard]] Instant heard_at() const noexcept { return heard_at_; }
  [[nodiscard]] std::uint64_t take_bytes_sent() noexcept { return transport_.take_bytes_sent(); }

 private:
  [[nodiscard]] bool gather();
  void lose(std::string_view why);

  const ConnectOptions* options_ = nullptr;
  Transport transport_;
  std::optional<Http2Session> session_;
  std::string output_;       // frames on their way out
  std::size_t written_ = 0;  // of output_
  Instant heard_at_ = 0;
  bool hung_up_ = false;
};

}  // namespace mcp::http
