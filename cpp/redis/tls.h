// tls.h: TLS over a connected socket, by OpenSSL, without blocking and without SIGPIPE. Who the
// server is, is always verified.
#pragma once

#include <openssl/ssl.h>
#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"

namespace mcp::redis {

struct TlsOptions {
  std::string ca_file;    // PEM; empty: the system's
  std::string cert_file;  // PEM, ours, with its chain; empty: none
  std::string key_file;   // PEM, without a passphrase
  bool check_hostname = true;
};

// Certificates, as the files held them when it was made. Safe from any thread.
class TlsContext {
 public:
  // Throws Error (kConfiguration) that names the file and what is wrong with it.
  explicit TlsContext(const TlsOptions& options);

  [[nodiscard]] SSL_CTX* get() const noexcept { return context_.get(); }
  [[nodiscard]] bool checks_hostname() const noexcept { return check_hostname_; }

 private:
  struct Free {
    void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
  };
  std::unique_ptr<SSL_CTX, Free> context_;
  bool check_hostname_;
};

// One connection. One thread may send while another receives: its lock is a leaf.
class TlsStream {
 public:
  enum class Progress { kUp, kWaitsToRead, kWaitsToWrite };

  // `host` is what the certificate must be for, and what the server is told (SNI). `fd` stays the
  // caller's. Throws Error (kBackendUnavailable).
  TlsStream(const TlsContext& context, int fd, const std::string& host);

  // Throws Error (kBackendUnavailable) with the reason when the handshake fails.
  [[nodiscard]] Progress shake_hands();
  // As Socket has them; EPROTO: failure() says why.
  [[nodiscard]] ssize_t send(std::string_view bytes);
  [[nodiscard]] ssize_t receive(char* buffer, std::size_t size);
  [[nodiscard]] bool holds_bytes();
  [[nodiscard]] std::string failure() const;

 private:
  struct Free {
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
  };
  ssize_t failed(int result) REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::unique_ptr<SSL, Free> ssl_ GUARDED_BY(mutex_);
  std::string failure_ GUARDED_BY(mutex_);
};

}  // namespace mcp::redis
