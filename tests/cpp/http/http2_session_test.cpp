// The client session against nghttp2's own server session, in memory.
#include "http/http2_session.h"

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace mcp::http {
namespace {

using Progress = Response::State;

constexpr std::uint64_t kBodyLimit = 4 << 20;

// Answers each request as a test says, when it is whole.
class Server {
 public:
  Server() {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_server_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
  }
  ~Server() { nghttp2_session_del(session_); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void take(std::string_view bytes) {
    const auto* const data = reinterpret_cast<const std::uint8_t*>(bytes.data());
    ASSERT_EQ(nghttp2_session_mem_recv(session_, data, bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }
  std::string output() {
    std::string out;
    const std::uint8_t* bytes = nullptr;
    for (ssize_t size; (size = nghttp2_session_mem_send(session_, &bytes)) > 0;) {
      out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    }
    return out;
  }
  void refuse(std::uint32_t code) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream_, code);
  }
  void say_goodbye() {
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, stream_, NGHTTP2_NO_ERROR, nullptr, 0);
  }
  void answer() {
    std::vector<nghttp2_nv> fields;
    for (auto& [name, value] : headers) {
      fields.push_back({reinterpret_cast<std::uint8_t*>(name.data()),
                        reinterpret_cast<std::uint8_t*>(value.data()), name.size(), value.size(),
                        NGHTTP2_NV_FLAG_NONE});
    }
    const nghttp2_data_provider provider{{}, read_body};
    nghttp2_submit_response(session_, stream_, fields.data(), fields.size(), &provider);
  }

  std::vector<std::pair<std::string, std::string>> headers{{":status", "200"}};
  std::string body = "hello";
  std::vector<std::pair<std::string, std::string>> got;
  std::string got_body;
  int requests = 0;

 private:
  static int on_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                       std::uint8_t, void* self) {
    static_cast<Server*>(self)->got.emplace_back(
        std::string(reinterpret_cast<const char*>(name), name_size),
        std::string(reinterpret_cast<const char*>(value), value_size));
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t, const std::uint8_t* bytes,
                     std::size_t size, void* self) {
    static_cast<Server*>(self)->got_body.append(reinterpret_cast<const char*>(bytes), size);
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* self) {
    auto& server = *static_cast<Server*>(self);
    const bool request = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (request && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      server.stream_ = frame->hd.stream_id;
      ++server.requests;
    }
    return 0;
  }
  static ssize_t read_body(nghttp2_session*, std::int32_t, std::uint8_t* out, std::size_t room,
                           std::uint32_t* flags, nghttp2_data_source*, void* self) {
    auto& server = *static_cast<Server*>(self);
    const std::size_t size = std::min(room, server.body.size());
    std::memcpy(out, server.body.data(), size);
    server.body.erase(0, size);
    if (server.body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(size);
  }

  nghttp2_session* session_ = nullptr;
  std::int32_t stream_ = 0;
};

class Http2Test : public ::testing::Test {
 protected:
  void begin(std::string_view request) {
    response_.begin(false, kBodyLimit, Keep::kBodyAndHeaders);
    ASSERT_TRUE(client_.submit(request, true));
    send();
  }
  void send() {
    for (std::string_view out; !(out = client_.output()).empty();) server_.take(out);
  }
  // Everything that the two have to say to each other, the server's part in pieces of `piece`.
  Progress exchange(std::size_t piece = 1 << 20) {
    Progress progress = Progress::kMore;
    for (std::string out; !(out = server_.output()).empty(); send()) {
      for (std::size_t at = 0; at < out.size(); at += piece) {
        const Progress now = client_.feed(std::string_view(out).substr(at, piece));
        if (progress == Progress::kMore) progress = now;
        if (now == Progress::kBad) return progress;
      }
    }
    return progress;
  }

  Response response_;
  Http2Session client_{response_};
  Server server_;
};

constexpr std::string_view kGetText =
    "GET /a?b=c HTTP/1.1\r\nHost: example:81\r\nX-Token: t\r\n\r\n";

TEST_F(Http2Test, ARequestArrivesAsItsFields) {
  begin(
      "POST /a HTTP/1.1\r\nHost: example:81\r\nX-Token: t: u\r\nConnection: close\r\n"
      "Content-Length: 4\r\n\r\nbody");
  const std::vector<std::pair<std::string, std::string>> expected = {
      {":method", "POST"}, {":authority", "example:81"}, {":scheme", "https"},
      {":path", "/a"},     {"x-token", "t: u"},          {"content-length", "4"}};
  EXPECT_EQ(server_.got, expected);
  EXPECT_EQ(server_.got_body, "body");
}

TEST_F(Http2Test, AnswersComeInWhateverPiecesTheyWereCut) {
  for (const std::size_t piece : {1, 7, 1 << 20}) {
    server_.body = "hello";
    begin(kGetText);
    server_.answer();
    EXPECT_EQ(exchange(piece), Progress::kComplete);
    EXPECT_EQ(response_.status(), 200);
    EXPECT_EQ(response_.body(), "hello");
    EXPECT_TRUE(client_.is_usable());
  }
  EXPECT_EQ(server_.requests, 3);
}

TEST_F(Http2Test, BodiesLargerThanTheWindowsGoBothWays) {
  server_.body = std::string(3'000'000, 'x');
  const std::string request = "POST / HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(300'000, 'y');
  begin(request);
  EXPECT_EQ(exchange(), Progress::kMore);  // window updates
  EXPECT_EQ(server_.got_body.size(), 300'000U);
  server_.answer();
  EXPECT_EQ(exchange(16'384), Progress::kComplete);
  EXPECT_EQ(response_.body().size(), 3'000'000U);
}

TEST_F(Http2Test, AResetStreamIsAFailureOfItsKind) {
  begin(kGetText);
  server_.refuse(NGHTTP2_INTERNAL_ERROR);
  EXPECT_EQ(exchange(), Progress::kBad);
  EXPECT_EQ(response_.error(), "stream reset: INTERNAL_ERROR");
}

TEST_F(Http2Test, AfterAGoodbyeTheConnectionTakesNoMore) {
  begin(kGetText);
  server_.answer();
  server_.say_goodbye();
  EXPECT_EQ(exchange(), Progress::kComplete);
  EXPECT_FALSE(client_.is_usable());
  EXPECT_FALSE(client_.submit(kGetText, true));
}

TEST_F(Http2Test, HeadersAndBodiesBeyondTheLimitsAreRefused) {
  server_.headers.emplace_back("x-long", std::string(kMostHeaderBytes, 'x'));
  begin(kGetText);
  server_.answer();
  EXPECT_EQ(exchange(), Progress::kBad);
  EXPECT_EQ(response_.error(), "headers too large");
}

TEST_F(Http2Test, ABodyBeyondTheLimitIsRefused) {
  server_.body = std::string(kBodyLimit + 1, 'x');
  begin(kGetText);
  server_.answer();
  EXPECT_EQ(exchange(), Progress::kBad);
  EXPECT_EQ(response_.error(), "body too large");
}

TEST_F(Http2Test, AnotherProtocolIsABadResponse) {
  begin(kGetText);
  EXPECT_FALSE(client_.has_failed());
  const Progress progress = client_.feed("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  while (!client_.output().empty()) {
  }
  EXPECT_TRUE(progress == Progress::kBad || client_.has_failed());
  EXPECT_EQ(response_.error(), "bad response: HTTP/2 PROTOCOL_ERROR");
  EXPECT_FALSE(client_.is_usable());
}

TEST_F(Http2Test, AnEndBeforeTheAnswerIsAClosedConnection) {
  begin(kGetText);
  EXPECT_EQ(client_.end_of_stream(), Progress::kBad);
  EXPECT_EQ(response_.error(), "connection closed");
}

}  // namespace
}  // namespace mcp::http
