// The client session against nghttp2's own server session, in memory.
#include "http/http2_session.h"

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mcp::http {
namespace {

using End = Http2Session::End;

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
  void refuse(std::int32_t stream, std::uint32_t code) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, code);
  }
  // Processes nothing above `last`.
  void say_goodbye(std::int32_t last) {
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, nullptr, 0);
  }
  void allow(std::uint32_t streams) {
    const nghttp2_settings_entry most{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &most, 1);
  }
  // The headers without an end: an interim answer, or half of one.
  void inform(std::int32_t stream) {
    const std::vector<nghttp2_nv> fields = fields_of(headers);
    nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream, nullptr, fields.data(),
                           fields.size(), nullptr);
  }
  void answer(std::int32_t stream) {
    const std::vector<nghttp2_nv> fields = fields_of(headers);
    unsent_[stream] = body;
    const nghttp2_data_provider provider{{}, read_body};
    nghttp2_submit_response(session_, stream, fields.data(), fields.size(), &provider);
  }

  std::vector<std::pair<std::string, std::string>> headers{{":status", "200"}};
  std::string body = "hello";
  std::vector<std::pair<std::string, std::string>> got;
  std::string got_body;
  std::vector<std::int32_t> requests;  // streams, in the order in which their requests were whole
  std::map<std::int32_t, std::uint32_t> reset;  // streams that the client reset, and why

 private:
  static std::vector<nghttp2_nv> fields_of(
      const std::vector<std::pair<std::string, std::string>>& headers) {
    std::vector<nghttp2_nv> fields;
    for (const auto& [name, value] : headers) {
      const auto bytes = [](const std::string& text) {
        return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
      };
      fields.push_back(
          {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    return fields;
  }
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
      server.requests.push_back(frame->hd.stream_id);
    }
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
      server.reset[frame->hd.stream_id] = frame->rst_stream.error_code;
    }
    return 0;
  }
  static ssize_t read_body(nghttp2_session*, std::int32_t stream, std::uint8_t* out,
                           std::size_t room, std::uint32_t* flags, nghttp2_data_source*,
                           void* self) {
    std::string& body = static_cast<Server*>(self)->unsent_[stream];
    const std::size_t size = std::min(room, body.size());
    std::memcpy(out, body.data(), size);
    body.erase(0, size);
    if (body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(size);
  }

  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, std::string> unsent_;
};

constexpr std::string_view kGet = "GET /a?b=c HTTP/1.1\r\nHost: example:81\r\nX-Token: t\r\n\r\n";

class Http2Test : public ::testing::Test {
 protected:
  bool begin(Http2Stream& stream, std::string_view request = kGet) {
    stream.response.begin(false, kBodyLimit, Keep::kBodyAndHeaders);
    const bool taken = client_.submit(stream, request, true);
    send();
    return taken;
  }
  void send() {
    for (std::string_view out; !(out = client_.output()).empty();) server_.take(out);
  }
  // Everything that the two have to say to each other, the server's part in pieces of `piece`.
  void exchange(std::size_t piece = 1 << 20) {
    for (std::string out; !(out = server_.output()).empty(); send()) {
      for (std::size_t at = 0; at < out.size(); at += piece) {
        client_.feed(std::string_view(out).substr(at, piece), ++now_);
      }
    }
  }
  // How `stream` ended; nullopt while it is in flight.
  std::optional<End> end_of(const Http2Stream& stream) {
    for (const auto& [ended, how] : client_.ended()) {
      if (ended == &stream) return how;
    }
    return std::nullopt;
  }

  Http2Session client_;
  Server server_;
  Http2Stream streams_[8];
  Http2Stream& first_ = streams_[0];
  Http2Stream& second_ = streams_[1];
  Http2Stream& third_ = streams_[2];
  Instant now_ = 1;
};

TEST_F(Http2Test, ARequestArrivesAsItsFields) {
  begin(first_,
        "POST /a HTTP/1.1\r\nHost: example:81\r\nX-Token: t: u\r\nConnection: close\r\n"
        "TE: gzip\r\nContent-Length: 4\r\n\r\nbody");
  const std::vector<std::pair<std::string, std::string>> expected = {
      {":method", "POST"}, {":authority", "example:81"}, {":scheme", "https"},
      {":path", "/a"},     {"x-token", "t: u"},          {"content-length", "4"}};
  EXPECT_EQ(server_.got, expected);
  EXPECT_EQ(server_.got_body, "body");
}

TEST_F(Http2Test, AnswersComeInWhateverPiecesTheyWereCut) {
  std::int32_t stream = 1;
  for (const std::size_t piece : {1, 7, 1 << 20}) {
    client_.ended().clear();
    ASSERT_TRUE(begin(first_));
    server_.answer(stream);
    stream += 2;
    exchange(piece);
    EXPECT_EQ(end_of(first_), End::kComplete);
    EXPECT_EQ(first_.response.status(), 200);
    EXPECT_EQ(first_.response.body(), "hello");
    EXPECT_GT(first_.bytes_received, 18U + 5U);
    EXPECT_TRUE(client_.takes_more());
  }
  EXPECT_EQ(server_.requests.size(), 3U);
  EXPECT_EQ(client_.in_flight(), 0U);
}

TEST_F(Http2Test, StreamsShareTheConnectionAndEndInAnyOrder) {
  for (Http2Stream& stream : streams_) ASSERT_TRUE(begin(stream));
  EXPECT_EQ(server_.requests, (std::vector<std::int32_t>{1, 3, 5, 7, 9, 11, 13, 15}));
  for (int i = 7; i >= 0; --i) {
    server_.body = std::string(100'000, static_cast<char>('a' + i));
    server_.answer(2 * i + 1);
  }
  exchange(1000);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(end_of(streams_[i]), End::kComplete);
    EXPECT_EQ(streams_[i].response.body(), std::string(100'000, static_cast<char>('a' + i)));
  }
}

TEST_F(Http2Test, StreamsWaitForWhatThePeerAllows) {
  server_.allow(2);
  exchange();
  for (Http2Stream& stream : streams_) ASSERT_TRUE(begin(stream));
  EXPECT_EQ(server_.requests.size(), 2U);
  for (std::size_t answered = 0; answered < 8; ++answered) {
    ASSERT_GT(server_.requests.size(), answered);
    EXPECT_LE(server_.requests.size(), answered + 2);
    server_.answer(server_.requests[answered]);
    exchange();
  }
  for (const Http2Stream& stream : streams_) EXPECT_EQ(end_of(stream), End::kComplete);
}

TEST_F(Http2Test, BodiesLargerThanTheWindowsGoBothWays) {
  const std::string request = "POST / HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(300'000, 'y');
  begin(first_, request);
  exchange();  // window updates
  EXPECT_EQ(server_.got_body.size(), 300'000U);
  server_.body = std::string(3'000'000, 'x');
  server_.answer(1);
  exchange(16'384);
  EXPECT_EQ(end_of(first_), End::kComplete);
  EXPECT_EQ(first_.response.body().size(), 3'000'000U);
}

TEST_F(Http2Test, AnAnswerThatDoesNotWaitForTheBodyIsTaken) {
  const std::string request = "POST / HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(300'000, 'y');
  first_.response.begin(false, kBodyLimit, Keep::kBody);
  ASSERT_TRUE(client_.submit(first_, request, true));
  server_.take(client_.output());  // the preface and SETTINGS
  for (std::string_view out; server_.got.empty() && !(out = client_.output()).empty();) {
    server_.take(out);
  }
  server_.answer(1);
  exchange();
  EXPECT_EQ(end_of(first_), End::kComplete);
  EXPECT_EQ(server_.reset, (std::map<std::int32_t, std::uint32_t>{{1, NGHTTP2_NO_ERROR}}));
  EXPECT_LT(server_.got_body.size(), 300'000U);
}

TEST_F(Http2Test, AResetWithoutAnErrorIsNoEndOfAnAnswer) {
  begin(first_);
  server_.inform(1);
  exchange();
  server_.refuse(1, NGHTTP2_NO_ERROR);
  exchange();
  EXPECT_EQ(end_of(first_), End::kFailed);
  EXPECT_EQ(first_.response.error(), "stream reset: NO_ERROR");
}

TEST_F(Http2Test, AResetEndsItsStreamAlone) {
  for (Http2Stream* stream : {&first_, &second_, &third_}) begin(*stream);
  server_.refuse(1, NGHTTP2_INTERNAL_ERROR);
  server_.refuse(3, NGHTTP2_REFUSED_STREAM);
  server_.answer(5);
  exchange();
  EXPECT_EQ(end_of(first_), End::kFailed);
  EXPECT_EQ(first_.response.error(), "stream reset: INTERNAL_ERROR");
  EXPECT_EQ(end_of(second_), End::kRefused);
  EXPECT_EQ(second_.response.error(), "stream reset: REFUSED_STREAM");
  EXPECT_EQ(end_of(third_), End::kComplete);
  EXPECT_TRUE(client_.takes_more());
}

TEST_F(Http2Test, ACancelledStreamIsResetAndForgotten) {
  begin(first_);
  begin(second_);
  client_.cancel(first_);
  send();
  EXPECT_EQ(server_.reset, (std::map<std::int32_t, std::uint32_t>{{1, NGHTTP2_CANCEL}}));
  server_.answer(3);
  exchange();
  EXPECT_EQ(end_of(first_), std::nullopt);
  EXPECT_EQ(end_of(second_), End::kComplete);
  ASSERT_TRUE(begin(first_));  // it can be used again at once
  server_.answer(5);
  exchange();
  EXPECT_EQ(end_of(first_), End::kComplete);
}

TEST_F(Http2Test, AStreamThatWaitsForItsTurnCanBeCancelled) {
  server_.allow(1);
  exchange();
  for (Http2Stream* stream : {&first_, &second_, &third_}) begin(*stream);
  client_.cancel(second_);
  server_.answer(1);
  exchange();
  ASSERT_EQ(server_.requests.size(), 2U);
  server_.answer(server_.requests[1]);
  exchange();
  EXPECT_EQ(end_of(second_), std::nullopt);
  EXPECT_EQ(end_of(third_), End::kComplete);
}

TEST_F(Http2Test, AfterAGoodbyeTheConnectionTakesNoMore) {
  begin(first_);
  server_.answer(1);
  server_.say_goodbye(1);
  exchange();
  EXPECT_EQ(end_of(first_), End::kComplete);
  EXPECT_FALSE(client_.takes_more());
  EXPECT_FALSE(begin(second_));
}

TEST_F(Http2Test, AGoodbyeTellsWhatWasNotProcessed) {
  server_.allow(3);
  exchange();
  for (Http2Stream& stream : streams_) begin(stream);
  server_.say_goodbye(3);
  exchange();
  // Above the last stream, and what still waited for its turn.
  for (int i = 2; i < 8; ++i) EXPECT_EQ(end_of(streams_[i]), End::kUnprocessed) << i;
  EXPECT_EQ(client_.in_flight(), 2U);
  server_.answer(1);
  server_.answer(3);
  exchange();
  EXPECT_EQ(end_of(first_), End::kComplete);
  EXPECT_EQ(end_of(second_), End::kComplete);
}

TEST_F(Http2Test, AGracefulGoodbyeLetsWhatIsUnderWayEnd) {
  begin(first_);
  begin(second_);
  server_.say_goodbye(INT32_MAX);
  exchange();
  EXPECT_EQ(client_.in_flight(), 2U);
  EXPECT_FALSE(client_.takes_more());
  server_.answer(1);
  server_.answer(3);
  exchange();
  EXPECT_EQ(end_of(first_), End::kComplete);
  EXPECT_EQ(end_of(second_), End::kComplete);
}

TEST_F(Http2Test, LimitsEndTheirStreamAlone) {
  server_.headers.emplace_back("x-long", std::string(kMostHeaderBytes, 'x'));
  for (Http2Stream* stream : {&first_, &second_, &third_}) begin(*stream);
  server_.answer(1);
  server_.headers.pop_back();
  exchange();
  EXPECT_EQ(end_of(first_), End::kFailed);
  EXPECT_EQ(first_.response.error(), "headers too large");
  server_.body = std::string(kBodyLimit + 1, 'x');
  server_.answer(3);
  exchange();
  EXPECT_EQ(end_of(second_), End::kFailed);
  EXPECT_EQ(second_.response.error(), "body too large");
  server_.body = "hello";
  server_.answer(5);
  exchange();
  EXPECT_EQ(end_of(third_), End::kComplete);
  EXPECT_EQ(server_.reset.count(3), 1U);
}

TEST_F(Http2Test, AnInterimAnswerIsForgotten) {
  begin(first_);
  server_.headers = {{":status", "103"}, {"location", "/a"}, {"content-encoding", "gzip"}};
  server_.inform(1);
  server_.headers = {{":status", "200"}, {"location", "/b"}};
  server_.answer(1);
  exchange();
  EXPECT_EQ(end_of(first_), End::kComplete);
  EXPECT_EQ(first_.response.status(), 200);
  EXPECT_EQ(first_.response.location(), "/b");
  EXPECT_EQ(first_.response.body(), "hello");
}

TEST_F(Http2Test, AnotherProtocolEndsTheConnection) {
  begin(first_);
  begin(second_);
  client_.feed("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", ++now_);
  while (!client_.output().empty()) {
  }
  for (const Http2Stream* stream : {&first_, &second_}) {
    EXPECT_EQ(end_of(*stream), End::kFailed);
    EXPECT_EQ(stream->response.error(), "bad response: HTTP/2 PROTOCOL_ERROR");
  }
  EXPECT_FALSE(client_.takes_more());
}

TEST_F(Http2Test, ALostConnectionEndsWhatIsInFlight) {
  server_.allow(2);
  exchange();
  for (Http2Stream* stream : {&first_, &second_, &third_}) begin(*stream);
  server_.headers.emplace_back("a", "b");
  server_.inform(1);
  exchange();
  client_.lost("connection closed", ++now_);
  EXPECT_EQ(end_of(first_), End::kFailed);
  EXPECT_EQ(first_.response.error(), "connection closed mid-response");
  EXPECT_EQ(end_of(second_), End::kFailed);
  EXPECT_EQ(second_.response.error(), "connection closed");
  EXPECT_EQ(end_of(third_), End::kUnprocessed);  // never left
  EXPECT_FALSE(client_.takes_more());
}

TEST_F(Http2Test, AConnectionThatAnsweredBeforeItWasLostWasGivenUp) {
  begin(first_);
  server_.answer(1);
  exchange();
  begin(second_);
  client_.lost("connection reset", ++now_);
  EXPECT_EQ(end_of(second_), End::kGivenUp);
  EXPECT_EQ(second_.response.error(), "connection reset");
}

}  // namespace
}  // namespace mcp::http
