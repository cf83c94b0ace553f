// connection.h: one connection to the target, carrying one HTTP/1.1 request at a time.
// Never blocks; the owner watches the file descriptor, edge-triggered for both directions or
// level-triggered for what it waits for, and calls advance(). Thread-compatible. Invariant: idle or
// closed whenever no request is under way.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "http/response.h"
#include "http/transport.h"

namespace mcp::http {

class Connection {
 public:
  enum class Progress {
    kPending,   // waits for the socket
    kComplete,  // response() is there
    kFailed,    // failure() says why; the socket is closed
  };

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

  [[nodiscard]] bool is_open() const noexcept { return transport_.is_open(); }
  [[nodiscard]] bool is_connected() const noexcept { return transport_.is_up(); }
  [[nodiscard]] int fd() const noexcept { return transport_.fd(); }
  // Whether it waits for the socket to take something; it always waits for what comes.
  [[nodiscard]] bool wants_to_write() const noexcept {
    return transport_.is_up() ? !output_.empty() : transport_.wants_to_write();
  }
  [[nodiscard]] const Response& response() const noexcept { return response_; }
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  // Of the request under way, or the last one.
  [[nodiscard]] Instant first_byte_at() const noexcept { return first_byte_at_; }
  [[nodiscard]] Instant last_byte_at() const noexcept { return last_byte_at_; }
  [[nodiscard]] std::uint64_t bytes_received() const noexcept { return bytes_received_; }
  // Whether nothing of an answer came on a connection that had answered before: the server may
  // have given it up before it saw the request. REQUIRES: kFailed was the last progress.
  [[nodiscard]] bool was_given_up() const noexcept { return reused_ && bytes_received_ == 0; }
  [[nodiscard]] Instant up_at() const noexcept { return transport_.up_at(); }
  // Bytes of requests that went out since take_bytes_sent().
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept { return transport_.bytes_sent(); }
  // Bytes of requests that went out since the last call.
  [[nodiscard]] std::uint64_t take_bytes_sent() noexcept { return transport_.take_bytes_sent(); }
  // Whether another request can follow. REQUIRES: the last one is complete.
  [[nodiscard]] bool is_reusable() const noexcept { return !hung_up_ && response_.keep_alive(); }

 private:
  Progress receive(std::span<char> buffer);
  Progress fail(std::string_view why);

  const ConnectOptions* options_ = nullptr;
  Transport transport_;
  std::string_view output_;  // what is still to be written
  Response response_;
  std::string failure_;
  bool hung_up_ = false;  // the peer has closed its side: nothing follows the current response
  bool answered_ = false;
  bool reused_ = false;  // it had answered before the request under way
  Instant first_byte_at_ = 0;
  Instant last_byte_at_ = 0;
  std::uint64_t bytes_received_ = 0;
};

}  // namespace mcp::http
