// address.h: where. Names become socket addresses once, before a run, and only the addresses that
// passed the check are ever connected to: a name that resolves differently later changes nothing.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <vector>

namespace mcp::http {

struct Endpoint {
  sockaddr_storage address{};
  socklen_t length = 0;
  std::string text;  // "127.0.0.1:8000", "[::1]:8000", "/run/app.sock"
};

// Loopback, unspecified (which Linux connects to itself) and private-use addresses: 10/8,
// 172.16/12, 192.168/16, fc00::/7. Link-local ones are not among them: cloud metadata services
// live there.
[[nodiscard]] bool is_local_or_private(const sockaddr_storage& address) noexcept;

// The TCP addresses of `host`. Unless `host` matches one of `allow_hosts` (a name, or
// "*.example.org" for everything below it; "*" for all), each must be local or private; throws
// TargetRefused otherwise, and LoadTestError if the name does not resolve.
[[nodiscard]] std::vector<Endpoint> resolve(const std::string& host, int port,
                                            const std::vector<std::string>& allow_hosts);

// Throws Error if the path is too long for a socket address.
[[nodiscard]] Endpoint unix_endpoint(const std::string& path);

[[nodiscard]] bool host_matches(std::string_view host, std::string_view pattern) noexcept;

}  // namespace mcp::http
