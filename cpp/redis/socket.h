// socket.h: a non-blocking stream socket that closes on exec and raises no signal, plain or under
// TLS.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redis/tls.h"

namespace mcp::redis {

// Where a socket can be connected to, resolved.
struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

[[nodiscard]] Address unix_address(const std::string& path);  // REQUIRES: it fits sun_path
// Looks the name up: may block for as long as the system's resolver does. Throws Error
// (kBackendUnavailable) when there is no such host.
[[nodiscard]] std::vector<Address> resolve(const std::string& host, int port);
// The same for a host that is written as an address; nothing for a name.
[[nodiscard]] std::optional<std::vector<Address>> resolve_numeric(const std::string& host,
                                                                  int port);

// Thread-compatible, except that one thread may send and look for bytes while another receives.
class Socket {
 public:
  Socket() = default;
  // Begins to connect; writable when that has ended. Throws Error (kBackendUnavailable).
  explicit Socket(const Address& address);
  ~Socket() { close(); }
  Socket(Socket&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), tls_(std::move(other.tls_)) {}
  Socket& operator=(Socket&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = std::exchange(other.fd_, -1);
      tls_ = std::move(other.tls_);
    }
    return *this;
  }

  // How the attempt to connect ended: 0 or an errno.
  [[nodiscard]] int connect_error() const noexcept;
  // Everything goes under TLS from here on; its handshake is to be finished first. REQUIRES:
  // connected.
  TlsStream& secure(const TlsContext& context, const std::string& host);
  // Sends as much as fits. -1 with errno as send(2), EAGAIN included.
  [[nodiscard]] ssize_t send(std::string_view bytes) const noexcept;
  // As recv(2): 0 at the end of the stream, -1 with errno.
  [[nodiscard]] ssize_t receive(char* buffer, std::size_t size) const noexcept;
  // Whether receive() would answer something else than EAGAIN; it leaves that there.
  [[nodiscard]] bool holds_bytes() const noexcept;
  // Whoever polls it is told that it has ended.
  void shut_down() const noexcept { ::shutdown(fd_, SHUT_RDWR); }
  // Why the last receive() answered -1.
  [[nodiscard]] std::string failure() const;
  void close() noexcept;

  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_ = -1;
  std::unique_ptr<TlsStream> tls_;
};

}  // namespace mcp::redis
