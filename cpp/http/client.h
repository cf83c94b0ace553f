// client.h: single requests to one origin, each sent and waited for on the thread that asks.
// Over HTTP/1.1 a connection that came free serves whoever asks next; over HTTP/2 threads share
// one.
//
// Thread-safe. HTTP/1.1 takes no lock: a free connection waits in one of kMostFree atomic places,
// and who takes it out owns it. HTTP/2 takes Hub::mutex before that of the channel. A forked child
// leaves the connections of its parent alone, and their locks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "http/address.h"
#include "http/connection.h"
#include "http/http2_channel.h"
#include "http/message.h"
#include "http/response.h"
#include "http/tls.h"

namespace mcp::http {

struct ClientOptions {
  std::vector<Endpoint> endpoints;  // of one server, tried in turn; at least one
  std::string host;                 // checked against the certificate
  int port = 0;
  std::string authority;  // the Host header
  bool use_tls = false;
  TlsOptions tls;
  bool http2 = false;  // with TLS as agreed in the handshake, without from the first byte
  Duration timeout_ns = 30 * kSecond;  // of a request, its redirects included
  std::uint64_t body_limit = 64 << 20;
  bool follow_redirects = true;  // within the origin; others are returned
  // Asked now and then while a thread waits; true: its request ends with Interrupted. May be null.
  bool (*interrupted)() = nullptr;
};

struct Reply {
  int status = 0;
  HeaderList headers;
  std::string body;      // decoded
  std::string location;  // as in Response
  HeaderList trailers;   // likewise
};

// Thrown by send() when `interrupted` said so.
struct Interrupted {};

class Client {
 public:
  // Throws Error.
  explicit Client(ClientOptions options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Blocks. Throws Error (kConfiguration, kHttp, kHttpTimeout) and Interrupted. A request that met
  // a free connection which the server had given up meanwhile, so that nothing of an answer came,
  // is sent once more on a new one if that does no harm: its method is idempotent, or not a byte of
  // it had gone out (RFC 9110, 9.2.2).
  [[nodiscard]] Reply send(Message message);

  // Lets go of the free connections; a shared one ends with the last request on it.
  void close() noexcept;

 private:
  static constexpr std::size_t kMostFree = 64;

  struct Line {
    Connection connection;
    std::uint32_t generation;  // of the process that made it
  };
  using LinePtr = std::unique_ptr<Line>;
  enum class Outcome { kReply, kFailed, kTimedOut };

  // The HTTP/2 connection of one process.
  struct Hub {
    std::uint32_t generation;
    Mutex mutex;
    std::shared_ptr<Http2Channel> current GUARDED_BY(mutex);
  };

  [[nodiscard]] Reply exchange(const Message& message, Instant deadline);
  [[nodiscard]] Reply exchange_http2(const Message& message, Instant deadline);
  [[nodiscard]] Hub& hub();
  [[nodiscard]] std::shared_ptr<Http2Channel> channel(Hub& hub);
  [[nodiscard]] LinePtr take_free() noexcept;
  void give_back(LinePtr line) noexcept;
  [[nodiscard]] LinePtr connect(std::string_view request, bool is_head, Instant deadline,
                                Outcome& outcome);
  [[nodiscard]] Outcome wait(Connection& connection, Instant deadline) const;

  const ClientOptions options_;
  SslContext ssl_context_;
  std::vector<ConnectOptions> connects_;        // one for each endpoint
  std::atomic<std::size_t> answered_first_{0};  // the endpoint that the last connection went to
  std::array<std::atomic<Line*>, kMostFree> free_{};
  std::atomic<Hub*> hub_{nullptr};
};

}  // namespace mcp::http
