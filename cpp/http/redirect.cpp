#include "http/redirect.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace mcp::http {
namespace {

constexpr std::string_view kBodyHeaders[] = {"content-length", "content-type", "content-encoding",
                                             "transfer-encoding"};

bool matches_authority(std::string_view authority, const Origin& origin) {
  if (authority.find('@') != std::string_view::npos) return false;
  const std::size_t colon = authority.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos;
  int port = origin.tls ? 443 : 80;
  if (has_port) {
    const std::string_view digits = authority.substr(colon + 1);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) return false;
    authority = authority.substr(0, colon);
  }
  if (authority.starts_with('[') && authority.ends_with(']')) {
    authority = authority.substr(1, authority.size() - 2);
  }
  return port == origin.port && same_header(authority, origin.host);
}

}  // namespace

bool is_redirect(int status) noexcept {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::optional<std::string> same_origin_target(std::string_view location, std::string_view current,
                                              const Origin& origin) {
  location = location.substr(0, location.find('#'));
  const bool printable = std::all_of(location.begin(), location.end(),
                                     [](unsigned char c) { return c > 0x20 && c != 0x7f; });
  if (location.empty() || !printable) return std::nullopt;
  const std::size_t scheme = location.find("://");
  if (scheme != std::string_view::npos && scheme < location.find_first_of("/?")) {
    if (!same_header(location.substr(0, scheme), origin.tls ? "https" : "http"))
      return std::nullopt;
    location.remove_prefix(scheme + 1);
  }
  if (location.starts_with("//") || location.starts_with("/\\")) {
    location.remove_prefix(2);
    const std::size_t end = std::min(location.find_first_of("/?"), location.size());
    if (!matches_authority(location.substr(0, end), origin)) return std::nullopt;
    location.remove_prefix(end);
    return std::string(location.starts_with('/') ? "" : "/").append(location);
  }
  if (location.starts_with('/')) return std::string(location);
  const std::string_view path = current.substr(0, current.find('?'));
  if (location.starts_with('?')) return std::string(path).append(location);
  if (location.find(':') < location.find_first_of("/?")) return std::nullopt;  // another scheme
  return std::string(path.substr(0, path.rfind('/') + 1)).append(location);
}

Message redirected(const Message& message, int status, std::string target) {
  Message next = message;
  next.target = std::move(target);
  const bool to_get = (status == 303 && message.method != "HEAD") ||
                      ((status == 301 || status == 302) && message.method == "POST");
  if (!to_get) return next;
  next.method = "GET";
  next.body.clear();
  std::erase_if(next.headers, [](const auto& header) {
    return std::any_of(std::begin(kBodyHeaders), std::end(kBodyHeaders),
                       [&](std::string_view name) { return same_header(header.first, name); });
  });
  return next;
}

}  // namespace mcp::http
