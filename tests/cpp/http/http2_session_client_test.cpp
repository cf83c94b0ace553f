// Threads that share one HTTP/2 connection of a client, for the sanitizers to watch. The server is
// nghttp2's session over a socket. What a user relies on is in test_http_client_http2.py.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "http/client.h"

namespace mcp::http {
namespace {

// Answers 204 to every request, but resets each `resets`-th, and says goodbye after `most` of a
// connection; 0: never.
class Http2Server {
 public:
  Http2Server(int resets, int most) : resets_(resets), most_(most) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::listen(listener_, 128), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port = ntohs(address.sin_port);
    acceptor_ = std::thread([this] {
      for (int fd; (fd = ::accept(listener_, nullptr, nullptr)) >= 0;) {
        ++accepted;
        const std::lock_guard lock(mutex_);
        open_.push_back(fd);
        threads_.emplace_back([this, fd] { serve(fd); });
      }
    });
  }
  ~Http2Server() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    for (std::thread& thread : threads_) thread.join();
    for (const int fd : open_) ::close(fd);
    ::close(listener_);
  }
  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;

  int port = 0;
  std::atomic<int> accepted{0};

 private:
  struct Peer {
    const Http2Server& server;
    int requests = 0;
  };

  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* data) {
    auto& peer = *static_cast<Peer*>(data);
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    const std::int32_t stream = frame->hd.stream_id;
    ++peer.requests;
    if (peer.server.resets_ != 0 && peer.requests % peer.server.resets_ == 0) {
      return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_INTERNAL_ERROR);
    }
    if (peer.server.most_ != 0 && peer.requests > peer.server.most_) return 0;
    char name[] = ":status";
    char value[] = "204";
    const nghttp2_nv status{reinterpret_cast<std::uint8_t*>(name),
                            reinterpret_cast<std::uint8_t*>(value), 7, 3, NGHTTP2_NV_FLAG_NONE};
    nghttp2_submit_response(session, stream, &status, 1, nullptr);
    if (peer.requests == peer.server.most_) {
      nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR, nullptr, 0);
    }
    return 0;
  }

  void serve(int fd) {
    Peer peer{*this};
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session* session = nullptr;
    nghttp2_session_server_new(&session, callbacks, &peer);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, nullptr, 0);
    std::uint8_t buffer[16384];
    for (ssize_t got; (got = ::recv(fd, buffer, sizeof buffer, 0)) > 0;) {
      if (nghttp2_session_mem_recv(session, buffer, static_cast<std::size_t>(got)) < 0) break;
      const std::uint8_t* out = nullptr;
      for (ssize_t size; (size = nghttp2_session_mem_send(session, &out)) > 0;) {
        if (::send(fd, out, static_cast<std::size_t>(size), MSG_NOSIGNAL) < 0) break;
      }
    }
    nghttp2_session_del(session);
    ::shutdown(fd, SHUT_RDWR);
  }

  const int resets_;
  const int most_;
  int listener_ = -1;
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

struct Counts {
  std::atomic<int> answered{0};
  std::atomic<int> failed{0};
};

void ask_from_threads(int port, int threads, int requests, Counts& counts) {
  ClientOptions options;
  options.endpoints = resolve("127.0.0.1", port, {});
  options.host = options.authority = "127.0.0.1";
  options.port = port;
  options.http2 = true;
  Client client(options);
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&] {
      for (int n = 0; n < requests; ++n) {
        try {
          counts.answered += client.send({"POST", "/", {}, ""}).status == 204;
        } catch (const Error&) {
          ++counts.failed;
        }
      }
    });
  }
  for (std::thread& thread : running) thread.join();
}

TEST(Http2Client, ThreadsShareOneConnection) {
  Http2Server server(0, 0);
  Counts counts;
  ask_from_threads(server.port, 8, 200, counts);
  EXPECT_EQ(counts.answered, 1600);
  EXPECT_EQ(server.accepted, 1);
}

TEST(Http2Client, AResetIsTheErrorOfItsRequestAlone) {
  Http2Server server(10, 0);
  Counts counts;
  ask_from_threads(server.port, 4, 100, counts);
  EXPECT_EQ(counts.answered, 360);
  EXPECT_EQ(counts.failed, 40);
  EXPECT_EQ(server.accepted, 1);
}

TEST(Http2Client, EveryRequestIsAnsweredWhereConnectionsSayGoodbye) {
  Http2Server server(0, 7);
  Counts counts;
  ask_from_threads(server.port, 6, 70, counts);
  EXPECT_EQ(counts.answered, 420);
  EXPECT_EQ(counts.failed, 0);
  EXPECT_GE(server.accepted, 60);
}

}  // namespace
}  // namespace mcp::http
