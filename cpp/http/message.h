// message.h: a request as it is given, and as HTTP/1.1 puts it. Pure.
//
// What goes out cannot be read in two ways (request smuggling): no part has a character that ends a
// line, the body's length is said once and is the true one, and a field that RFC 9110 allows once
// is there once. RFC 9110, sections 5 and 8.6; RFC 9112, sections 3, 5 and 6.
#pragma once

#include <string>
#include <string_view>

#include "http/headers.h"

namespace mcp::http {

struct Message {
  std::string method;  // goes out as it is
  std::string target;  // path and query, begins with /
  HeaderList headers;  // values beyond ASCII go out as the bytes that they are
  std::string body;
};

// RFC 9110, 9.2.2: whether sending it twice does what sending it once does.
[[nodiscard]] bool is_idempotent(std::string_view method) noexcept;

// Throws Error (kConfiguration) naming the part that is not what it should be:
//   - the method is a token and not CONNECT, whose answer is a tunnel;
//   - the target is visible ASCII, begins with / and has no fragment;
//   - names are tokens; values have no control characters but tabs, and no space around them;
//   - Host, Content-Length, Content-Type, Authorization and the like are given once at most;
//   - a Content-Length is that of the body; there is no Transfer-Encoding, for the body has none.
void check(const Message& message);

// `message` as HTTP/1.1 for `authority`. Host and Content-Length are added where they are missing.
// REQUIRES: check() passed, but for markers of a scenario.
[[nodiscard]] std::string serialize(const Message& message, std::string_view authority);

}  // namespace mcp::http
