// message.cpp: checks and serializes a request.
#include "http/message.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "base/text.h"

namespace mcp::http {
namespace {

// Fields of requests whose value is no list: RFC 9110, and RFC 6265 for Cookie.
constexpr std::array<std::string_view, 18> kOnce = {"authorization",
                                                    "content-length",
                                                    "content-location",
                                                    "content-range",
                                                    "content-type",
                                                    "cookie",
                                                    "date",
                                                    "from",
                                                    "host",
                                                    "if-modified-since",
                                                    "if-range",
                                                    "if-unmodified-since",
                                                    "max-forwards",
                                                    "origin",
                                                    "proxy-authorization",
                                                    "range",
                                                    "referer",
                                                    "user-agent"};

bool is_target(std::string_view target) {
  return !target.empty() && target.front() == '/' &&
         std::all_of(target.begin(), target.end(),
                     [](unsigned char c) { return c > 0x20 && c < 0x7f && c != '#'; });
}

// What no host and port have in them.
constexpr std::string_view kNeverInHost = " \t,/?#@\\\"<>";

bool is_host(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](unsigned char c) {
    return c < 0x7f && kNeverInHost.find(static_cast<char>(c)) == std::string_view::npos;
  });
}

void check_header(const Message& message, std::size_t index) {
  const std::string& name = message.headers[index].first;
  const std::string& value = message.headers[index].second;
  if (!is_token(name)) throw invalid_argument("headers", on_one_line(name), "a header name");
  if (!is_field_text(value) || trimmed(value).size() != value.size()) {
    throw invalid_argument("headers", on_one_line(name),
                           "a value without control characters and without spaces around it");
  }
  const auto is = [&name](std::string_view other) { return same_header(name, other); };
  if (std::any_of(kOnce.begin(), kOnce.end(), is)) {
    const auto first = std::find_if(message.headers.begin(), message.headers.end(),
                                    [&is](const auto& one) { return is(one.first); });
    if (first - message.headers.begin() != static_cast<std::ptrdiff_t>(index)) {
      throw invalid_argument("headers", on_one_line(name), "this field once");
    }
  }
  if (is("host") && !is_host(value))
    throw invalid_argument("headers", on_one_line(value), "a host and a port");
  if (is("transfer-encoding")) {
    throw invalid_argument("headers", on_one_line(name),
                           "none of that name: the body is sent as it is");
  }
  if (is("content-length") && value != std::to_string(message.body.size())) {
    throw invalid_argument(
        "headers", on_one_line(name + ": " + value),
        "the length of the body, " + std::to_string(message.body.size()) + ", or none");
  }
}

}  // namespace

bool is_idempotent(std::string_view method) noexcept {
  constexpr std::string_view kMethods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
  return std::find(std::begin(kMethods), std::end(kMethods), method) != std::end(kMethods);
}

void check(const Message& message) {
  if (!is_token(message.method) || message.method == "CONNECT") {
    throw invalid_argument("method", on_one_line(message.method),
                           "an HTTP token other than CONNECT");
  }
  if (!is_target(message.target)) {
    throw invalid_argument(
        "path", on_one_line(message.target),
        "a path that begins with / and has no spaces, control characters or fragment");
  }
  for (std::size_t i = 0; i < message.headers.size(); ++i) check_header(message, i);
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
