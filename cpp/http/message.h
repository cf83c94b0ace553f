// message.h: a request as it is given, and as HTTP/1.1 puts it. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mcp::http {

struct Message {
  std::string method;  // upper case
  std::string target;  // path and query, begins with /
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// Throws Error where a part would end a line too early, or is not what it should be.
void check(const Message& message);

// `message` as HTTP/1.1 for `authority`. Host and Content-Length are added where they are missing.
[[nodiscard]] std::string serialize(const Message& message, std::string_view authority);

// Case-insensitive comparison of header names.
[[nodiscard]] bool same_header(std::string_view a, std::string_view b) noexcept;

}  // namespace mcp::http
