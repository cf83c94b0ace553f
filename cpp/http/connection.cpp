#include "http/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

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
      return std::string("socket: ") + std::strerror(code);
  }
}

bool is_generator_limit(int code) noexcept {
  return code == EMFILE || code == ENFILE || code == EADDRNOTAVAIL || code == ENOBUFS ||
         code == ENOMEM;
}

int Connection::open(const ConnectOptions& options) {
  options_ = &options;
  const auto& address = reinterpret_cast<const sockaddr&>(options.endpoint.address);
  fd_ = ::socket(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return errno;
  if (address.sa_family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  state_ = State::kConnecting;
  if (::connect(fd_, &address, options.endpoint.length) != 0 && errno != EINPROGRESS) {
    // A full backlog of a unix socket is the target's: it counts as refused.
    const int code = errno == EAGAIN ? ECONNREFUSED : errno;
    close();
    return code;
  }
  return 0;
}

void Connection::begin(std::string_view request, bool is_head, Keep keep) {
  output_ = request;
  first_byte_at_ = last_byte_at_ = 0;
  bytes_received_ = 0;
  response_.begin(is_head, options_->body_limit, keep);
  if (!options_->http2) return;
  request_ = std::exchange(output_, {});
  if (http2_ && !http2_->submit(request_, options_->tls != nullptr)) hung_up_ = true;
}

// Whether the session has more to send; output_ is empty.
bool Connection::more_output() {
  if (!http2_) return false;
  output_ = http2_->output();
  return !output_.empty();
}

bool Connection::wants_to_write() const noexcept {
  switch (state_) {
    case State::kConnecting:
      return true;
    case State::kHandshaking:
      return SSL_want_write(ssl_.get()) != 0;
    default:
      return !output_.empty();
  }
}

bool Connection::is_reusable() const noexcept {
  return !hung_up_ && response_.keep_alive() && (!http2_ || http2_->is_usable());
}

void Connection::close() noexcept {
  http2_.reset();
  ssl_.reset();
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  state_ = State::kClosed;
  hung_up_ = false;
  output_ = {};
}

Connection::Progress Connection::fail(std::string why) {
  failure_ = std::move(why);
  close();
  return Progress::kFailed;
}

Connection::Progress Connection::connect_or_fail() {
  int code = 0;
  socklen_t length = sizeof code;
  if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &code, &length) != 0) code = errno;
  if (code != 0) {
    errno_ = code;
    return fail(describe_errno(code));
  }
  sockaddr_storage peer;
  length = sizeof peer;
  if (::getpeername(fd_, reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
    return Progress::kPending;  // an early wake-up: still under way
  }
  if (options_->tls != nullptr) {
    ssl_ = make_ssl(*options_->tls, fd_, options_->host);
    if (!ssl_) return fail("generator-limited: no memory for TLS");
    state_ = State::kHandshaking;
    return Progress::kComplete;
  }
  return come_up();
}

Connection::Progress Connection::come_up() {
  state_ = State::kUp;
  up_at_ = now_precise();
  if (!options_->http2) return Progress::kComplete;
  http2_ = std::make_unique<Http2Session>(response_);
  if (http2_->submit(request_, options_->tls != nullptr)) return Progress::kComplete;
  return fail("generator-limited: no memory for a stream");
}

Connection::Progress Connection::shake_hands() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    if (options_->http2 && !chose_http2(ssl_.get())) {
      return fail("the target does not speak HTTP/2");
    }
    return come_up();
  }
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return Progress::kPending;
  return fail("TLS: " + ssl_failure(ssl_.get()));
}

Connection::Io Connection::read(std::span<char> buffer, std::size_t& got) {
  if (ssl_) {
    ERR_clear_error();
    const int result = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &got);
    if (result == 1) return Io::kDone;
    switch (SSL_get_error(ssl_.get(), result)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        return Io::kAgain;
      case SSL_ERROR_ZERO_RETURN:
        return Io::kClosed;
      default:
        errno_ = ECONNRESET;
        return Io::kError;
    }
  }
  while (true) {
    const ssize_t result = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (result > 0) {
      got = static_cast<std::size_t>(result);
      return Io::kDone;
    }
    if (result == 0) return Io::kClosed;
    if (errno == EAGAIN) return Io::kAgain;
    if (errno == EINTR) continue;
    errno_ = errno;
    return Io::kError;
  }
}

Connection::Io Connection::write(std::string_view data, std::size_t& put) {
  if (ssl_) {
    ERR_clear_error();
    const int result = SSL_write_ex(ssl_.get(), data.data(), data.size(), &put);
    if (result == 1) return Io::kDone;
    const int error = SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return Io::kAgain;
    errno_ = ECONNRESET;
    return Io::kError;
  }
  while (true) {
    const ssize_t result = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
    if (result >= 0) {
      put = static_cast<std::size_t>(result);
      return Io::kDone;
    }
    if (errno == EAGAIN) return Io::kAgain;
    if (errno == EINTR) continue;
    errno_ = errno;
    return Io::kError;
  }
}

void Connection::send_now() noexcept {
  while (!output_.empty() || more_output()) {
    std::size_t put = 0;
    switch (write(output_, put)) {
      case Io::kDone:
        output_.remove_prefix(put);
        bytes_sent_ += put;
        break;
      case Io::kAgain:
        return;
      // A server may answer and close before it has read everything: look for the answer first.
      case Io::kClosed:
      case Io::kError:
        output_ = {};
        return;
    }
  }
}

Connection::Progress Connection::receive(std::span<char> buffer) {
  while (true) {
    std::size_t got = 0;
    const Io io = read(buffer, got);
    if (io == Io::kAgain) return Progress::kPending;
    if (io == Io::kError) return fail(describe_errno(errno_));
    Response::State state;
    if (io == Io::kClosed) {
      last_byte_at_ = now_precise();
      state = response_.end_of_stream();
    } else {
      last_byte_at_ = now_precise();
      if (first_byte_at_ == 0) first_byte_at_ = last_byte_at_;
      bytes_received_ += got;
      state = response_.feed({buffer.data(), got});
    }
    if (state == Response::State::kBad) return fail(response_.error());
    if (state == Response::State::kComplete) {
      return Progress::kComplete;
    }
    // A short read has emptied the socket, but for the end of the stream; TLS may hold more.
    if (!ssl_ && !hung_up_ && got < buffer.size()) return Progress::kPending;
  }
}

// Beyond the end of the stream as well, since the peer may have more to say about the connection.
Connection::Progress Connection::receive_http2(std::span<char> buffer) {
  bool complete = false;
  for (std::size_t got = buffer.size(); ssl_ || hung_up_ || got == buffer.size();) {
    const Io io = read(buffer, got);
    if (io == Io::kAgain) break;
    Response::State state = Response::State::kBad;
    const Instant now = now_precise();
    if (io == Io::kDone) {
      state = http2_->feed({buffer.data(), got});
      if (!complete) bytes_received_ += got;
    } else if (!complete) {
      if (io == Io::kError) return fail(describe_errno(errno_));
      state = http2_->end_of_stream();
    }
    if (!complete) {
      last_byte_at_ = now;
      if (first_byte_at_ == 0 && response_.started()) first_byte_at_ = now;
      if (state == Response::State::kBad) return fail(response_.error());
    } else if (state == Response::State::kBad) {
      hung_up_ = true;
      break;
    }
    complete = complete || state == Response::State::kComplete;
  }
  send_now();  // acknowledgements, windows
  if (!complete && http2_->has_failed()) return fail(response_.error());
  return complete ? Progress::kComplete : Progress::kPending;
}

Connection::Progress Connection::advance(std::span<char> buffer, bool hung_up) {
  hung_up_ = hung_up_ || hung_up;
  if (state_ == State::kConnecting) {
    if (const Progress progress = connect_or_fail(); progress != Progress::kComplete) {
      return progress;
    }
  }
  if (state_ == State::kHandshaking) {
    if (const Progress progress = shake_hands(); progress != Progress::kComplete) return progress;
  }
  send_now();
  return http2_ ? receive_http2(buffer) : receive(buffer);
}

bool Connection::still_usable() {
  if (http2_) {
    char buffer[4096];
    for (std::size_t got = 0;;) {
      const Io io = read(buffer, got);
      if (io == Io::kAgain) break;
      if (io != Io::kDone || http2_->feed({buffer, got}) == Response::State::kBad) return false;
    }
    send_now();
    return !hung_up_ && http2_->is_usable();
  }
  char byte;
  std::size_t got = 0;
  return state_ != State::kUp || read({&byte, 1}, got) == Io::kAgain;
}

}  // namespace mcp::http
