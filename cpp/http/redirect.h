// redirect.h: where a Location header leads, as far as a load test follows it: to the same scheme,
// host and port. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace mcp::http {

struct Origin {
  bool tls;
  std::string host;
  int port;
};

// The path and query that `location` names relative to `current` (RFC 3986, 5.2: dot segments are
// removed), in ASCII and without its fragment; nullopt when it leaves `origin`, or is no reference.
[[nodiscard]] std::optional<std::string> same_origin_target(std::string_view location,
                                                            std::string_view current,
                                                            const Origin& origin);

[[nodiscard]] bool is_redirect(int status) noexcept;

// The request that answers a redirect with `status`: 303, and 301 or 302 after a POST, become GET
// without a body, as browsers do; 307 and 308 repeat the request.
[[nodiscard]] Message redirected(const Message& message, int status, std::string target);

}  // namespace mcp::http
