// http2_session.h: one HTTP/2 connection with many streams, as bytes in and bytes out. The protocol
// is nghttp2's; without that library no_http2.cpp stands in, and built_in() is false.
// Thread-compatible. Does no I/O and has no clock. RFC 9113.
//
// - Streams wait where the peer's SETTINGS_MAX_CONCURRENT_STREAMS or a window is reached.
// - A reset, a limit or a broken rule of one stream ends that one alone.
// - What the peer says it has not processed (above GOAWAY's last stream, 6.8; REFUSED_STREAM, 8.7)
//   ends as kUnprocessed or kRefused, and what never left as kUnprocessed: it can be sent again
//   whatever its method.
// Invariant: a stream is in flight from submit() until it is in ended() or was cancelled.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "http/response.h"

namespace mcp::http {

// A request on its way and its answer. Stays in its place and alive while it is in flight; can be
// used again afterwards.
struct Http2Stream {
  Response response;
  std::uint32_t tag = 0;  // its owner's
  Instant first_byte_at = 0;
  Instant last_byte_at = 0;
  std::uint64_t bytes_received = 0;  // frames and all

  // The session's.
  std::int32_t id = -1;
  std::size_t place = 0;  // among those in flight
  std::string_view body;  // of the request, what is still to be sent
  std::size_t header_bytes = 0;
  bool reused = false;       // the connection had answered before
  bool in_trailers = false;  // its body is over
};

class Http2Session {
 public:
  enum class End {
    kComplete,     // the response is there
    kFailed,       // response.error() says why
    kUnprocessed,  // likewise; the connection takes no more, and the peer has not looked at it
    kRefused,      // likewise; the peer has not looked at it
    kGivenUp,      // likewise; nothing of an answer had come on a connection that answered before
  };
  struct Ended {
    Http2Stream* stream;
    End how;
  };

  [[nodiscard]] static bool built_in() noexcept;

  // Throws std::bad_alloc. REQUIRES: built_in().
  Http2Session();
  ~Http2Session();
  Http2Session(const Http2Session&) = delete;
  Http2Session& operator=(const Http2Session&) = delete;

  // Starts `stream` with `request`, in the form that serialize() gives it, whose body stays alive
  // while the stream is in flight. False if the connection takes no more. REQUIRES: its response
  // has begun.
  [[nodiscard]] bool submit(Http2Stream& stream, std::string_view request, bool tls);
  // Gives up a stream in flight: RST_STREAM, and it will not be in ended().
  void cancel(Http2Stream& stream);
  // What is to be sent next, valid until the next call; empty if there is nothing.
  [[nodiscard]] std::string_view output();
  // Bytes that came at `now`.
  void feed(std::string_view data, Instant now);
  // The connection is lost: ends all that is in flight.
  void lost(std::string_view why, Instant now);

  // What has ended since it was last emptied; the owner empties it.
  [[nodiscard]] std::vector<Ended>& ended() noexcept;
  [[nodiscard]] std::size_t in_flight() const noexcept;
  // Whether the connection can carry another stream, now or when others have ended.
  [[nodiscard]] bool takes_more() const noexcept;
  // Whether a stream has been completed.
  [[nodiscard]] bool has_answered() const noexcept;
  // Both sides have said goodbye or the peer broke the protocol: nothing more will come.
  [[nodiscard]] bool is_over() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mcp::http
