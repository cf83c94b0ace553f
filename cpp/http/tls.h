// tls.h: OpenSSL's context and connection as owned objects.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

namespace mcp::http {

struct TlsOptions {
  bool verify = true;
  std::string ca_file;  // PEM; empty: the system's
  bool http2 = false;   // offer h2 by ALPN
};

struct SslContextDelete {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};
struct SslDelete {
  void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }
};
using SslContext = std::unique_ptr<SSL_CTX, SslContextDelete>;
using Ssl = std::unique_ptr<SSL, SslDelete>;

// Throws Error.
[[nodiscard]] SslContext make_ssl_context(const TlsOptions& options);

// A client connection over `fd` that checks the certificate against `host` where the context
// verifies. Null when OpenSSL has no memory.
[[nodiscard]] Ssl make_ssl(SSL_CTX& context, int fd, const std::string& host);

// Whether the handshake ended in HTTP/2.
[[nodiscard]] bool chose_http2(const SSL* ssl) noexcept;

// The reason of the last failure on `ssl`, one line, never empty. Clears OpenSSL's error queue.
[[nodiscard]] std::string ssl_failure(const SSL* ssl);

}  // namespace mcp::http
