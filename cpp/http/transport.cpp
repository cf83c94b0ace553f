// transport.cpp: connects, shakes hands, reads and writes without blocking.
#include "http/transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace mcp::http {

std::string describe_errno(int code) {
  switch (code) {
    case ECONNREFUSED:
      return "connection refused";
    case ECONNRESET:
    case EPIPE:
      return "connection reset";
    case ETIMEDOUT:
      return "connect timeout";
    case ENOENT:
      return "no such socket";
    case EHOSTUNREACH:
    case ENETUNREACH:
      return "host unreachable";
    case EMFILE:
    case ENFILE:
      return "generator-limited: too many open files";
    case EADDRNOTAVAIL:
      return "generator-limited: no free local port";
    case ENOBUFS:
    case ENOMEM:
      return "generator-limited: no memory for sockets";
    default:
      return "socket: " + std::system_category().message(code);
  }
}

bool is_generator_limit(int code) noexcept {
  return code == EMFILE || code == ENFILE || code == EADDRNOTAVAIL || code == ENOBUFS ||
         code == ENOMEM;
}

int Transport::open(const ConnectOptions& options) {
  options_ = &options;
  const auto& address = reinterpret_cast<const sockaddr&>(options.endpoint.address);
  fd_ = ::socket(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return errno;
  if (address.sa_family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  state_ = State::kConnecting;
  up_at_ = 0;
  if (::connect(fd_, &address, options.endpoint.length) != 0 && errno != EINPROGRESS) {
    // A full backlog of a unix socket is the target's: it counts as refused.
    const int code = errno == EAGAIN ? ECONNREFUSED : errno;
    close();
    return code;
  }
  return 0;
}

bool Transport::wants_to_write() const noexcept {
  return state_ == State::kConnecting ||
         (state_ == State::kHandshaking && SSL_want_write(ssl_.get()) != 0);
}

void Transport::close() noexcept {
  ssl_.reset();
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  state_ = State::kClosed;
}

Transport::Progress Transport::fail(std::string why) {
  failure_ = std::move(why);
  close();
  return Progress::kFailed;
}

Transport::Progress Transport::come_up() {
  if (state_ == State::kConnecting) {
    if (const Progress progress = connected(); progress != Progress::kUp) return progress;
  }
  return state_ == State::kHandshaking ? shake_hands() : Progress::kUp;
}

Transport::Progress Transport::connected() {
  int code = 0;
  socklen_t length = sizeof code;
  if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &code, &length) != 0) code = errno;
  if (code != 0) return fail(describe_errno(code));
  sockaddr_storage peer;
  length = sizeof peer;
  if (::getpeername(fd_, reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
    return Progress::kPending;  // an early wake-up: still under way
  }
  if (options_->tls == nullptr) return be_up();
  ssl_ = make_ssl(*options_->tls, fd_, options_->host);
  if (!ssl_) return fail("generator-limited: no memory for TLS");
  state_ = State::kHandshaking;
  return Progress::kUp;
}

Transport::Progress Transport::be_up() {
  state_ = State::kUp;
  up_at_ = now_precise();
  return Progress::kUp;
}

Transport::Progress Transport::shake_hands() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    if (options_->http2 && !chose_http2(ssl_.get())) {
      return fail("the target does not speak HTTP/2");
    }
    return be_up();
  }
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return Progress::kPending;
  return fail("TLS: " + ssl_failure(ssl_.get()));
}

Transport::Io Transport::io_failed(int code) {
  failure_ = describe_errno(code);
  return Io::kError;
}

Transport::Io Transport::tls_failed(int result) {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return Io::kAgain;
    case SSL_ERROR_ZERO_RETURN:
      return Io::kClosed;
    default:
      return io_failed(ECONNRESET);
  }
}

Transport::Io Transport::read(std::span<char> buffer, std::size_t& got) {
  if (ssl_) {
    ERR_clear_error();
    const int result = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &got);
    return result == 1 ? Io::kDone : tls_failed(result);
  }
  while (true) {
    const ssize_t result = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (result > 0) {
      got = static_cast<std::size_t>(result);
      return Io::kDone;
    }
    if (result == 0) return Io::kClosed;
    if (errno == EAGAIN) return Io::kAgain;
    if (errno != EINTR) return io_failed(errno);
  }
}

Transport::Io Transport::write(std::string_view data, std::size_t& put) {
  if (ssl_) {
    ERR_clear_error();
    const int result = SSL_write_ex(ssl_.get(), data.data(), data.size(), &put);
    if (result != 1) return tls_failed(result);
    bytes_sent_ += put;
    return Io::kDone;
  }
  while (true) {
    const ssize_t result = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
    if (result >= 0) {
      put = static_cast<std::size_t>(result);
      bytes_sent_ += put;
      return Io::kDone;
    }
    if (errno == EAGAIN) return Io::kAgain;
    if (errno != EINTR) return io_failed(errno);
  }
}

}  // namespace mcp::http
