#include "http/response.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>

namespace mcp::http {
namespace {

using State = Response::State;

constexpr std::uint64_t kResponseMost = 1 << 20;

std::string gzip_of(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string with_length(const std::string& body, const std::string& headers = "") {
  return "HTTP/1.1 200 OK\r\n" + headers + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

// Feeds `bytes` in pieces of `step`; the state after the last one that was needed.
State feed(Response& response, const std::string& bytes, std::size_t step) {
  State state = State::kMore;
  for (std::size_t at = 0; at < bytes.size() && state == State::kMore; at += step) {
    state = response.feed(std::string_view(bytes).substr(at, step));
  }
  return state;
}

class AnyPieces : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Response, AnyPieces, testing::Values(1, 2, 3, 7, 64, 100'000));

TEST_P(AnyPieces, ReadsABodyWithALength) {
  Response response;
  response.begin(false, kResponseMost, Keep::kBody);
  EXPECT_EQ(feed(response, with_length("hello"), GetParam()), State::kComplete);
  EXPECT_EQ(response.status(), 200);
  EXPECT_EQ(response.body(), "hello");
  EXPECT_TRUE(response.keep_alive());
}

TEST_P(AnyPieces, ReadsChunksAndTrailers) {
  Response response;
  response.begin(false, kResponseMost, Keep::kBody);
  const std::string bytes =
      "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5;ext=1\r\nhello\r\n7\r\n, world\r\n0\r\nX-Sum: 1\r\n\r\n";
  EXPECT_EQ(feed(response, bytes, GetParam()), State::kComplete);
  EXPECT_EQ(response.status(), 201);
  EXPECT_EQ(response.body(), "hello, world");
}

TEST_P(AnyPieces, DecodesGzip) {
  const std::string text(50'000, 'x');
  Response response;
  response.begin(false, kResponseMost, Keep::kBody);
  EXPECT_EQ(feed(response, with_length(gzip_of(text), "Content-Encoding: gzip\r\n"), GetParam()),
            State::kComplete);
  EXPECT_EQ(response.body(), text);
}

TEST_P(AnyPieces, SkipsInterimResponses) {
  Response response;
  response.begin(false, kResponseMost, Keep::kBody);
  EXPECT_EQ(
      feed(response, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + with_length("a"), GetParam()),
      State::kComplete);
  EXPECT_EQ(response.status(), 200);
  EXPECT_EQ(response.body(), "a");
}

TEST_P(AnyPieces, ReadsOneResponseAfterAnother) {
  Response response;
  for (int i = 0; i < 3; ++i) {
    response.begin(false, kResponseMost, Keep::kBody);
    EXPECT_EQ(
        feed(response, with_length(std::to_string(i), "Location: /" + std::to_string(i) + "\r\n"),
             GetParam()),
        State::kComplete);
    EXPECT_EQ(response.body(), std::to_string(i));
    EXPECT_EQ(response.location(), "/" + std::to_string(i));
  }
}

TEST(Response, AHeadHasNoBodyWhateverItsLengthSays) {
  Response response;
  response.begin(true, kResponseMost, Keep::kNothing);
  EXPECT_EQ(response.feed("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), State::kComplete);
  EXPECT_TRUE(response.keep_alive());
}

TEST(Response, WithoutALengthTheBodyEndsWithTheConnection) {
  Response response;
  response.begin(false, kResponseMost, Keep::kBody);
  EXPECT_EQ(response.feed("HTTP/1.1 200 OK\r\n\r\nabc"), State::kMore);
  EXPECT_EQ(response.end_of_stream(), State::kComplete);
  EXPECT_EQ(response.body(), "abc");
  EXPECT_FALSE(response.keep_alive());
}

TEST(Response, BytesBehindTheResponseEndTheConnection) {
  Response response;
  response.begin(false, kResponseMost, Keep::kBody);
  EXPECT_EQ(response.feed(with_length("a") + "HTTP/1.1 200 OK\r\n"), State::kComplete);
  EXPECT_FALSE(response.keep_alive());
}

TEST(Response, HonoursConnectionClose) {
  Response response;
  response.begin(false, kResponseMost, Keep::kNothing);
  EXPECT_EQ(response.feed(with_length("a", "Connection: close\r\n")), State::kComplete);
  EXPECT_FALSE(response.keep_alive());
}

struct HostileCase {
  std::string bytes;
  std::string error;

  friend void PrintTo(const HostileCase& self, std::ostream* out) {
    *out << testing::PrintToString(self.bytes.substr(0, 100));
  }
};

class Hostile : public testing::TestWithParam<HostileCase> {};

TEST_P(Hostile, IsAFailureWithAName) {
  for (const std::size_t step : {1UL, 4096UL}) {
    Response response;
    response.begin(false, 1000, Keep::kBody);
    State state = feed(response, GetParam().bytes, step);
    if (state == State::kMore) state = response.end_of_stream();
    EXPECT_EQ(state, State::kBad);
    EXPECT_EQ(response.error().substr(0, GetParam().error.size()), GetParam().error)
        << response.error();
    EXPECT_LE(response.body().size(), 64U << 10);
  }
}

std::string endless_header() {
  std::string bytes = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 10'000; ++i) bytes += "X-" + std::to_string(i) + ": y\r\n";
  return bytes;
}

INSTANTIATE_TEST_SUITE_P(
    Response, Hostile,
    testing::Values(
        HostileCase{"SSH-2.0-OpenSSH\r\n\r\n", "bad response"},
        HostileCase{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad response"},
        HostileCase{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
                    "bad response"},
        HostileCase{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad response"},
        HostileCase{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                    "connection closed mid-response"},
        HostileCase{"HTTP/1.1 200 OK\r\nContent-", "connection closed mid-response"},
        HostileCase{"", "connection closed"},
        HostileCase{with_length(std::string(2000, 'x')), "body too large"},
        HostileCase{with_length(gzip_of(std::string(10 << 20, '\0')), "Content-Encoding: gzip\r\n"),
                    "body too large"},
        HostileCase{with_length("not gzip at all", "Content-Encoding: gzip\r\n"),
                    "bad response: corrupt gzip"},
        HostileCase{with_length(gzip_of("hello").substr(0, 12), "Content-Encoding: gzip\r\n"),
                    "bad response: truncated gzip"},
        HostileCase{endless_header(), "headers too large"},
        HostileCase{"HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'y'), "headers too large"},
        HostileCase{
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + std::string(200'000, 'e'),
            "headers too large"}));

}  // namespace
}  // namespace mcp::http
