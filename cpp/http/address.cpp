// address.cpp: parses URLs, resolves names and checks what they resolve to.
#include "http/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/text.h"
#include "http/message.h"

namespace mcp::http {
namespace {

bool is_local_or_private_v4(std::uint32_t address) noexcept {
  return address == 0 || address >> 24 == 127 || address >> 24 == 10 || address >> 20 == 0xac1 ||
         address >> 16 == 0xc0a8;
}

bool is_local_or_private_v6(const in6_addr& address) noexcept {
  if (IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_UNSPECIFIED(&address)) return true;
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    std::uint32_t v4;
    std::memcpy(&v4, address.s6_addr + 12, sizeof v4);
    return is_local_or_private_v4(ntohl(v4));
  }
  return (address.s6_addr[0] & 0xfe) == 0xfc;
}

std::string text_of(const sockaddr_storage& address, int port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(port);
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
  return std::string("[").append(text).append("]:").append(std::to_string(port));
}

}  // namespace

bool is_local_or_private(const sockaddr_storage& address) noexcept {
  if (address.ss_family == AF_INET) {
    return is_local_or_private_v4(
        ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr));
  }
  if (address.ss_family == AF_INET6) {
    return is_local_or_private_v6(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
  }
  return address.ss_family == AF_UNIX;
}

bool host_matches(std::string_view host, std::string_view pattern) noexcept {
  if (pattern == "*") return true;
  if (!pattern.starts_with("*.")) return same_header(host, pattern);
  const std::string_view suffix = pattern.substr(1);
  return host.size() > suffix.size() &&
         same_header(host.substr(host.size() - suffix.size()), suffix);
}

std::vector<Endpoint> resolve(const std::string& host, int port,
                              const std::vector<std::string>& allow_hosts) {
  if (port < 1 || port > 65535) {
    throw invalid_argument("port", std::to_string(port), "a number from 1 to 65535");
  }
  refuse_nul("host", host, ErrorKind::kConfiguration);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (failed != 0) {
    throw Error(ErrorKind::kLoadTest, "cannot resolve " + host + ": " + gai_strerror(failed));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  const bool allowed =
      std::any_of(allow_hosts.begin(), allow_hosts.end(),
                  [&](const auto& pattern) { return host_matches(host, pattern); });
  std::vector<Endpoint> endpoints;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    Endpoint endpoint;
    std::memcpy(&endpoint.address, entry->ai_addr, entry->ai_addrlen);
    endpoint.length = entry->ai_addrlen;
    endpoint.text = text_of(endpoint.address, port);
    if (!allowed && !is_local_or_private(endpoint.address)) {
      throw Error(ErrorKind::kTargetRefused,
                  host + " is at " + endpoint.text +
                      ", which is neither loopback nor private; name it in allow_hosts to test it");
    }
    endpoints.push_back(std::move(endpoint));
  }
  if (endpoints.empty()) {
    throw Error(ErrorKind::kLoadTest, "cannot resolve " + host + ": no IPv4 or IPv6 address");
  }
  return endpoints;
}

Endpoint unix_endpoint(const std::string& path) {
  refuse_nul("unix_socket", path, ErrorKind::kConfiguration);
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    throw invalid_argument(
        "unix_socket", path,
        "a path of 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  Endpoint endpoint;
  std::memcpy(&endpoint.address, &address, sizeof address);
  endpoint.length = sizeof address;
  endpoint.text = path;
  return endpoint;
}

}  // namespace mcp::http
