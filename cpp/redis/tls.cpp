// tls.cpp: certificates, server names, and bytes through OpenSSL.
#include "redis/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include "base/error.h"

namespace mcp::redis {
namespace {

// The first failure since ERR_clear_error(), one line, never empty.
std::string ssl_reason(const SSL* ssl) {
  const unsigned long code = ERR_peek_error();
  const int system = ERR_SYSTEM_ERROR(code) ? ERR_GET_REASON(code) : 0;
  ERR_clear_error();
  const long verified = ssl == nullptr ? X509_V_OK : SSL_get_verify_result(ssl);
  if (verified != X509_V_OK) {
    return std::string("its certificate is refused: ") + X509_verify_cert_error_string(verified);
  }
  if (system != 0) return std::system_category().message(system);
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? "the connection was closed" : reason;
}

Error bad_file(const char* option, const std::string& file) {
  return {ErrorKind::kConfiguration,
          std::string(option) + "='" + file + "': " + ssl_reason(nullptr)};
}

// A socket whose peer has gone raises no signal here; OpenSSL's own socket BIO would.
int socket_of(BIO* bio) {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
}

bool passes(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

int write_socket(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t sent = ::send(socket_of(bio), bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && passes(errno)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int read_socket(BIO* bio, char* buffer, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t got = ::recv(socket_of(bio), buffer, static_cast<std::size_t>(size), 0);
  if (got < 0 && passes(errno)) BIO_set_retry_read(bio);
  if (got == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(got);
}

long control_socket(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  return command == BIO_CTRL_EOF && BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
}

// Made once; of the process.
BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "redis socket");
    if (made == nullptr) return made;
    BIO_meth_set_write(made, write_socket);
    BIO_meth_set_read(made, read_socket);
    BIO_meth_set_ctrl(made, control_socket);
    return made;
  }();
  return method;
}

// A key that wants a passphrase is refused: OpenSSL would ask for it at the terminal.
int no_passphrase(char*, int, int, void*) { return 0; }

bool is_address(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> bytes;
  return inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

}  // namespace

TlsContext::TlsContext(const TlsOptions& options) : check_hostname_(options.check_hostname) {
  ERR_clear_error();
  context_.reset(SSL_CTX_new(TLS_client_method()));
  if (!context_) throw Error(ErrorKind::kConfiguration, "TLS: " + ssl_reason(nullptr));
  SSL_CTX* const context = context_.get();
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // Replies say themselves where they end: a server that is gone is just gone.
  SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  if (options.ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(context);
  } else if (SSL_CTX_load_verify_file(context, options.ca_file.c_str()) != 1) {
    throw bad_file("ssl_ca_certs", options.ca_file);
  }
  if (options.cert_file.empty()) return;
  if (SSL_CTX_use_certificate_chain_file(context, options.cert_file.c_str()) != 1) {
    throw bad_file("ssl_certfile", options.cert_file);
  }
  if (SSL_CTX_use_PrivateKey_file(context, options.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    throw bad_file("ssl_keyfile", options.key_file);
  }
}

TlsStream::TlsStream(const TlsContext& context, int fd, const std::string& host) {
  const MutexLock lock(mutex_);
  ssl_.reset(SSL_new(context.get()));
  BIO* const bio = ssl_ && socket_method() != nullptr ? BIO_new(socket_method()) : nullptr;
  if (bio == nullptr) throw Error(ErrorKind::kBackendUnavailable, "no memory for TLS");
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  const bool address = is_address(host);
  if (!address) SSL_set_tlsext_host_name(ssl_.get(), host.c_str());
  if (context.checks_hostname()) {
    const int set = address
                        ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), host.c_str())
                        : SSL_set1_host(ssl_.get(), host.c_str());
    if (set != 1) throw Error(ErrorKind::kBackendUnavailable, "no memory for TLS");
  }
  SSL_set_connect_state(ssl_.get());
}

TlsStream::Progress TlsStream::shake_hands() {
  const MutexLock lock(mutex_);
  ERR_clear_error();
  errno = 0;
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) return Progress::kUp;
  const int system = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Progress::kWaitsToRead;
    case SSL_ERROR_WANT_WRITE:
      return Progress::kWaitsToWrite;
    case SSL_ERROR_SYSCALL:
      if (system != 0) {
        throw Error(ErrorKind::kBackendUnavailable, std::system_category().message(system), system);
      }
      [[fallthrough]];
    default:
      throw Error(ErrorKind::kBackendUnavailable, ssl_reason(ssl_.get()));
  }
}

ssize_t TlsStream::send(std::string_view bytes) {
  const MutexLock lock(mutex_);
  ERR_clear_error();
  errno = 0;
  std::size_t sent = 0;
  const int result = SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &sent);
  return result == 1 ? static_cast<ssize_t>(sent) : failed(result);
}

ssize_t TlsStream::receive(char* buffer, std::size_t size) {
  const MutexLock lock(mutex_);
  ERR_clear_error();
  errno = 0;
  std::size_t got = 0;
  const int result = SSL_read_ex(ssl_.get(), buffer, size, &got);
  return result == 1 ? static_cast<ssize_t>(got) : failed(result);
}

bool TlsStream::holds_bytes() {
  const MutexLock lock(mutex_);
  ERR_clear_error();
  errno = 0;
  char byte = 0;
  std::size_t got = 0;
  const int result = SSL_peek_ex(ssl_.get(), &byte, 1, &got);
  return result == 1 || failed(result) >= 0 || errno != EAGAIN;
}

std::string TlsStream::failure() const {
  const MutexLock lock(mutex_);
  return failure_;
}

ssize_t TlsStream::failed(int result) {
  const int system = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_SYSCALL:
      errno = system == 0 ? ECONNRESET : system;
      return -1;
    default:
      failure_ = "TLS: " + ssl_reason(ssl_.get());
      errno = EPROTO;
      return -1;
  }
}

}  // namespace mcp::redis
