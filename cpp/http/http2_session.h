// http2_session.h: one HTTP/2 connection, one stream after another, as bytes in and bytes out. The
// protocol is nghttp2's; without that library no_http2.cpp stands in, and built_in() is false.
// Thread-compatible. Does no I/O.
// Invariant: at most one stream is under way; its answer is in the Response.
#pragma once

#include <memory>
#include <string_view>

#include "http/response.h"

namespace mcp::http {

class Http2Session {
 public:
  [[nodiscard]] static bool built_in() noexcept;

  // `response` outlives the session. Throws std::bad_alloc. REQUIRES: built_in().
  explicit Http2Session(Response& response);
  ~Http2Session();
  Http2Session(const Http2Session&) = delete;
  Http2Session& operator=(const Http2Session&) = delete;

  // Starts a stream with `request`, in the form that serialize() gives it, which stays alive until
  // the stream has ended. False if the connection takes no more.
  [[nodiscard]] bool submit(std::string_view request, bool tls);
  // What is to be sent next, valid until the next call; empty if there is nothing.
  [[nodiscard]] std::string_view output();
  // kComplete and kBad are of the stream; between streams, kBad means that the connection is over.
  Response::State feed(std::string_view data);
  // Whether the stream was given up in output(): the peer broke the protocol, and goodbye was said.
  [[nodiscard]] bool has_failed() const noexcept;
  // The peer closed its side.
  Response::State end_of_stream();
  // Whether the connection can carry another stream.
  [[nodiscard]] bool is_usable() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mcp::http
