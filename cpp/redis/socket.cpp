// socket.cpp: connects by TCP or a Unix socket, reads, writes.
#include "redis/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

#include "base/error.h"

namespace mcp::redis {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { freeaddrinfo(list); }
};

// 0 or an EAI_ code.
int look_up(const std::string& host, int port, int flags, std::vector<Address>& addresses) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int failure = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (failure != 0) return failure;
  const std::unique_ptr<addrinfo, FreeAddresses> owned(list);
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    Address address;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.size = entry->ai_addrlen;
    addresses.push_back(address);
  }
  return 0;
}

Error unavailable(const std::string& what, int error) {
  return {ErrorKind::kBackendUnavailable, what + ": " + std::system_category().message(error),
          error};
}

}  // namespace

Address unix_address(const std::string& path) {
  Address address;
  auto* local = reinterpret_cast<sockaddr_un*>(&address.storage);
  local->sun_family = AF_UNIX;
  path.copy(local->sun_path, sizeof local->sun_path - 1);
  address.size = sizeof(sockaddr_un);
  return address;
}

std::vector<Address> resolve(const std::string& host, int port) {
  std::vector<Address> addresses;
  if (const int failure = look_up(host, port, 0, addresses); failure != 0) {
    throw Error(ErrorKind::kBackendUnavailable,
                "redis host " + host + " has no address: " + gai_strerror(failure));
  }
  return addresses;
}

std::optional<std::vector<Address>> resolve_numeric(const std::string& host, int port) {
  std::vector<Address> addresses;
  if (look_up(host, port, AI_NUMERICHOST, addresses) != 0) return std::nullopt;
  return addresses;
}

Socket::Socket(const Address& address)
    : fd_(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  if (fd_ < 0) throw unavailable("no socket for redis", errno);
  if (address.storage.ss_family != AF_UNIX) {
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  }
  const auto* target = reinterpret_cast<const sockaddr*>(&address.storage);
  if (::connect(fd_, target, address.size) != 0 && errno != EINPROGRESS) {
    const int error = errno;
    close();
    throw unavailable("redis cannot be reached", error);
  }
}

int Socket::connect_error() const noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

TlsStream& Socket::secure(const TlsContext& context, const std::string& host) {
  tls_ = std::make_unique<TlsStream>(context, fd_, host);
  return *tls_;
}

ssize_t Socket::send(std::string_view bytes) const noexcept {
  if (tls_) return tls_->send(bytes);
  ssize_t sent = 0;
  do {
    sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

ssize_t Socket::receive(char* buffer, std::size_t size) const noexcept {
  if (tls_) return tls_->receive(buffer, size);
  ssize_t received = 0;
  do {
    received = ::recv(fd_, buffer, size, 0);
  } while (received < 0 && errno == EINTR);
  return received;
}

bool Socket::holds_bytes() const noexcept {
  if (tls_) return tls_->holds_bytes();
  char byte = 0;
  return ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EINTR);
}

std::string Socket::failure() const {
  if (tls_ && errno == EPROTO) return tls_->failure();
  return std::system_category().message(errno);
}

void Socket::close() noexcept {
  tls_.reset();
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace mcp::redis
