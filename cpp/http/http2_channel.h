// http2_channel.h: one HTTP/2 connection that threads share, each waiting for its own request.
// Whoever waits while nobody does drives the socket for all; it hands that on when it leaves.
//
// Thread-safe. Locks: mutex_, which is held for steps that do not block, never while the driver
// waits or `interrupted` is asked. Invariant: while exchanges are under way, one of their threads
// drives or was told to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "http/http2_connection.h"

namespace mcp::http {

// A request of one thread, on its stack.
struct Http2Exchange : Http2Stream {
  Http2Session::End how = Http2Session::End::kFailed;  // REQUIRES: done
  bool done = false;
  CondVar wake;
};

class Http2Channel {
 public:
  enum class Outcome {
    kReply,        // the exchange's response is there
    kFailed,       // its response().error() says why; so for those below
    kUnreachable,  // the connection never came up
    kUnprocessed,  // the peer has not looked at it
    kRefused,      // likewise, and the connection goes on
    kGivenUp,      // nothing of an answer came on a connection that had answered before
    kTakesNoMore,  // the connection has ended meanwhile: nothing was sent
    kTimedOut,
    kInterrupted,
  };
  struct Request {
    std::string_view bytes;  // as serialize() gives them
    bool is_head;
    Instant deadline;
    bool (*interrupted)();  // may be null
  };

  // Begins to connect to `connect`, number `endpoint` of its owner; it outlives the channel. Throws
  // Error.
  Http2Channel(const ConnectOptions& connect, std::size_t endpoint);
  ~Http2Channel();
  Http2Channel(const Http2Channel&) = delete;
  Http2Channel& operator=(const Http2Channel&) = delete;

  // Blocks until the request has an outcome.
  Outcome exchange(Http2Exchange& mine, const Request& request) EXCLUDES(mutex_);
  // Whether another request can be sent. Looks what the peer has said meanwhile.
  [[nodiscard]] bool takes_more() EXCLUDES(mutex_);
  [[nodiscard]] bool is_up() EXCLUDES(mutex_);
  [[nodiscard]] bool has_answered() EXCLUDES(mutex_);
  [[nodiscard]] std::size_t endpoint() const noexcept { return endpoint_; }

 private:
  void wait_or_drive(Http2Exchange& mine, Duration most) REQUIRES(mutex_);
  void drive(Duration most) REQUIRES(mutex_);
  void step(bool hung_up) REQUIRES(mutex_);
  void nudge() REQUIRES(mutex_);
  void leave(Http2Exchange& mine) REQUIRES(mutex_);

  const std::size_t endpoint_;
  const int wake_fd_;  // tells the driver that there is something to write
  Mutex mutex_;
  Http2Connection connection_ GUARDED_BY(mutex_);
  std::vector<char> buffer_ GUARDED_BY(mutex_);
  std::vector<Http2Exchange*> waiting_ GUARDED_BY(mutex_);  // for their wake
  bool driven_ GUARDED_BY(mutex_) = false;
};

}  // namespace mcp::http
