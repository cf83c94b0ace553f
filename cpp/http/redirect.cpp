// redirect.cpp: resolves a Location against the request that it answers.
#include "http/redirect.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace mcp::http {
namespace {

// RFC 9110, 15.4: fields that speak of a body go with it.
bool is_of_the_body(std::string_view name) {
  constexpr std::string_view kContent = "content-";
  return same_header(name.substr(0, kContent.size()), kContent) || same_header(name, "digest");
}

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

// RFC 3986, 5.2.4, for a path that begins with /.
std::string without_dot_segments(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/', 1), path.size());
    const std::string_view segment = path.substr(0, end);
    path.remove_prefix(end);
    if (segment == "/." || segment == "/..") {
      if (segment == "/..") out.resize(std::min(out.rfind('/'), out.size()));
      if (path.empty()) out.push_back('/');
    } else {
      out.append(segment);
    }
  }
  return out;
}

// The path and query as a request has them: without dot segments, and what is not ASCII escaped.
std::string normalized(std::string_view target) {
  const std::size_t end = std::min(target.find('?'), target.size());
  const std::string plain = without_dot_segments(target.substr(0, end)).append(target.substr(end));
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : plain) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out.push_back(c);
    } else {
      out.append({'%', kDigits[byte >> 4], kDigits[byte & 15]});
    }
  }
  return out;
}

}  // namespace

bool is_redirect(int status) noexcept {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::optional<std::string> same_origin_target(std::string_view location, std::string_view current,
                                              const Origin& origin) {
  if (location.empty()) return std::nullopt;
  location = location.substr(0, location.find('#'));
  const bool printable = std::all_of(location.begin(), location.end(),
                                     [](unsigned char c) { return c > 0x20 && c != 0x7f; });
  if (!printable) return std::nullopt;
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
    return normalized(std::string(location.starts_with('/') ? "" : "/").append(location));
  }
  if (location.empty()) return std::string(current);  // a fragment of the same
  if (location.starts_with('/')) return normalized(location);
  const std::string_view path = current.substr(0, current.find('?'));
  if (location.starts_with('?')) return normalized(std::string(path).append(location));
  if (location.find(':') < location.find_first_of("/?")) return std::nullopt;  // another scheme
  return normalized(std::string(path.substr(0, path.rfind('/') + 1)).append(location));
}

Message redirected(const Message& message, int status, std::string target) {
  Message next = message;
  next.target = std::move(target);
  const bool to_get = (status == 303 && message.method != "HEAD") ||
                      ((status == 301 || status == 302) && message.method == "POST");
  if (!to_get) return next;
  next.method = "GET";
  next.body.clear();
  std::erase_if(next.headers, [](const auto& header) { return is_of_the_body(header.first); });
  return next;
}

}  // namespace mcp::http
