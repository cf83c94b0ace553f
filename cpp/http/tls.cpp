// tls.cpp: OpenSSL contexts: certificates, protocols, server names.
#include "http/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/error.h"
#include "base/text.h"

namespace mcp::http {
namespace {

bool is_address(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

}  // namespace

SslContext make_ssl_context(const TlsOptions& options) {
  refuse_nul("verify", options.ca_file, ErrorKind::kConfiguration);
  SslContext context(SSL_CTX_new(TLS_client_method()));
  if (!context) throw Error(ErrorKind::kLoadTest, "TLS: " + ssl_failure(nullptr));
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (options.verify) {
    const int loaded = options.ca_file.empty()
                           ? SSL_CTX_set_default_verify_paths(context.get())
                           : SSL_CTX_load_verify_file(context.get(), options.ca_file.c_str());
    if (loaded != 1) {
      throw invalid_argument("verify", options.ca_file,
                             "a PEM file of certificates: " + ssl_failure(nullptr));
    }
  }
  static constexpr unsigned char kHttp1[] = "\x08http/1.1";
  static constexpr unsigned char kHttp2[] = "\x02h2\x08http/1.1";
  SSL_CTX_set_alpn_protos(context.get(), options.http2 ? kHttp2 : kHttp1,
                          (options.http2 ? sizeof kHttp2 : sizeof kHttp1) - 1);
  return context;
}

Ssl make_ssl(SSL_CTX& context, int fd, const std::string& host) {
  Ssl ssl(SSL_new(&context));
  if (!ssl || SSL_set_fd(ssl.get(), fd) != 1) return nullptr;
  if (is_address(host)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), host.c_str());
  } else {
    SSL_set_tlsext_host_name(ssl.get(), host.c_str());
    SSL_set1_host(ssl.get(), host.c_str());
  }
  SSL_set_connect_state(ssl.get());
  return ssl;
}

bool chose_http2(const SSL* ssl) noexcept {
  const unsigned char* name = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(ssl, &name, &length);
  return length == 2 && name[0] == 'h' && name[1] == '2';
}

std::string ssl_failure(const SSL* ssl) {
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  const long verified = ssl == nullptr ? X509_V_OK : SSL_get_verify_result(ssl);
  if (verified != X509_V_OK) return X509_verify_cert_error_string(verified);
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? "the connection was closed" : reason;
}

}  // namespace mcp::http
