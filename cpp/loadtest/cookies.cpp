// cookies.cpp: reads Set-Cookie fields and says which cookies a request takes along.
#include "loadtest/cookies.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

namespace mcp::loadtest {
namespace {

constexpr std::size_t kMostCookies = 100;

std::string_view path_of(std::string_view target) { return target.substr(0, target.find('?')); }

// RFC 6265, 5.1.4.
std::string_view default_path(std::string_view path) {
  const std::size_t last = path.rfind('/');
  return last == 0 || last == std::string_view::npos ? "/" : path.substr(0, last);
}

bool path_matches(std::string_view path, std::string_view of_cookie) {
  if (!path.starts_with(of_cookie)) return false;
  return path.size() == of_cookie.size() || of_cookie.ends_with('/') ||
         path[of_cookie.size()] == '/';
}

// Seconds from now on, of which a date in the past has less than none.
std::optional<std::int64_t> seconds_until(const std::string& date) {
  for (const char* const form : {"%a, %d %b %Y %H:%M:%S", "%a, %d-%b-%Y %H:%M:%S",
                                 "%a %b %d %H:%M:%S %Y", "%A, %d-%b-%y %H:%M:%S"}) {
    tm parts{};
    if (::strptime(date.c_str(), form, &parts) != nullptr)
      return ::timegm(&parts) - ::time(nullptr);
  }
  return std::nullopt;
}

Instant ends(std::int64_t seconds, Instant now) {
  if (seconds <= 0) return now;
  return seconds > (kNever - now) / kSecond ? kNever : now + seconds * kSecond;
}

}  // namespace

void Cookies::take(const http::HeaderList& headers, std::string_view target, Instant now) {
  for (const auto& [name, value] : headers) {
    if (http::same_header(name, "set-cookie")) take_one(value, path_of(target), now);
  }
}

void Cookies::take_one(std::string_view field, std::string_view path, Instant now) {
  const auto next = [&field] {
    const std::string_view part = field.substr(0, field.find(';'));
    field.remove_prefix(std::min(part.size() + 1, field.size()));
    const std::size_t equals = part.find('=');
    const bool bare = equals == std::string_view::npos;
    return std::pair(http::trimmed(part.substr(0, equals)),
                     bare ? std::string_view() : http::trimmed(part.substr(equals + 1)));
  };
  const auto [name, value] = next();
  if (name.empty()) return;
  Cookie cookie{std::string(name), std::string(value), std::string(default_path(path))};
  bool has_age = false;  // Max-Age goes before Expires
  while (!field.empty()) {
    const auto [key, given] = next();
    std::int64_t seconds = 0;
    if (http::same_header(key, "path") && given.starts_with('/')) {
      cookie.path = given;
    } else if (http::same_header(key, "secure")) {
      cookie.secure = true;
    } else if (http::same_header(key, "max-age") &&
               std::from_chars(given.data(), given.data() + given.size(), seconds).ec ==
                   std::errc()) {
      has_age = true;
      cookie.until = ends(seconds, now);
    } else if (http::same_header(key, "expires") && !has_age) {
      if (const auto left = seconds_until(std::string(given))) cookie.until = ends(*left, now);
    }
  }
  put(std::move(cookie), now);
}

void Cookies::set(std::string name, std::string value) {
  put({std::move(name), std::move(value)}, 0);
}

void Cookies::put(Cookie cookie, Instant now) {
  std::erase_if(cookies_, [&cookie](const Cookie& other) {
    return other.name == cookie.name && other.path == cookie.path;
  });
  if (cookie.until <= now || cookies_.size() >= kMostCookies) return;
  // Longer paths go first.
  const auto place = std::find_if(cookies_.begin(), cookies_.end(), [&cookie](const Cookie& other) {
    return other.path.size() < cookie.path.size();
  });
  cookies_.insert(place, std::move(cookie));
}

std::string Cookies::header(std::string_view target, bool secure, Instant now) const {
  std::string field;
  const std::string_view path = path_of(target);
  for (const Cookie& cookie : cookies_) {
    if ((cookie.secure && !secure) || cookie.until <= now || !path_matches(path, cookie.path)) {
      continue;
    }
    if (!field.empty()) field += "; ";
    field.append(cookie.name).append("=").append(cookie.value);
  }
  return field;
}

}  // namespace mcp::loadtest
