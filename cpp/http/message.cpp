#include "http/message.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace mcp::http {
namespace {

constexpr std::string_view kTokenExtra = "!#$%&'*+-.^_`|~";

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || kTokenExtra.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

// Whether `text` has a character that would end a line or the text.
bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; });
}

}  // namespace

void check(const Message& message) {
  if (!is_token(message.method)) throw invalid_argument("method", message.method, "an HTTP token");
  if (message.target.empty() || message.target.front() != '/' || has_control(message.target) ||
      message.target.find(' ') != std::string::npos) {
    throw invalid_argument("path", message.target,
                           "a path that begins with / and has no spaces or control characters");
  }
  for (const auto& [name, value] : message.headers) {
    if (!is_token(name)) throw invalid_argument("headers", name, "a header name");
    if (has_control(value)) {
      throw invalid_argument("headers", name, "a value without control characters");
    }
  }
}

bool same_header(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) ==
                  std::tolower(static_cast<unsigned char>(y));
         });
}

std::string serialize(const Message& message, std::string_view authority) {
  std::string out = message.method + " " + message.target + " HTTP/1.1\r\n";
  bool host = false;
  bool length = false;
  for (const auto& [name, value] : message.headers) {
    host = host || same_header(name, "host");
    length = length || same_header(name, "content-length");
  }
  if (!host) out.append("Host: ").append(authority).append("\r\n");
  for (const auto& [name, value] : message.headers) {
    out.append(name).append(": ").append(value).append("\r\n");
  }
  const bool carries_body = !message.body.empty() || message.method == "POST" ||
                            message.method == "PUT" || message.method == "PATCH";
  if (carries_body && !length) {
    out.append("Content-Length: ").append(std::to_string(message.body.size())).append("\r\n");
  }
  out.append("\r\n").append(message.body);
  return out;
}

}  // namespace mcp::http
