// Each case of a table is fed whole, byte by byte, and cut at every place: the answer is the same.
#include "http/response_parser.h"

#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "http/headers.h"

namespace mcp::http {
namespace {

using ParserState = ResponseParser::State;

constexpr std::uint64_t kLargest = 1 << 20;

struct Seen final : ResponseParser::Sink {
  std::vector<int> statuses;
  HeaderList fields;  // of the last head
  HeaderList trailers;
  std::string body;

  void on_status(int status) override {
    statuses.push_back(status);
    fields.clear();
  }
  bool on_field(std::string_view name, std::string_view value) override {
    fields.emplace_back(name, value);
    return true;
  }
  bool on_size(std::uint64_t size) override { return size <= kLargest; }
  bool on_body(std::string_view data) override {
    body.append(data);
    return body.size() <= kLargest;
  }
  void on_trailer(std::string_view name, std::string_view value) override {
    trailers.emplace_back(name, value);
  }
};

// What became of bytes that came in `pieces`.
struct Read {
  Seen seen;
  ParserState state = ParserState::kMore;
  std::string error;
  std::size_t used = 0;
  bool keep_alive = false;
};

Read read(const std::vector<std::string_view>& pieces, bool is_head = false) {
  Read result;
  ResponseParser parser(result.seen);
  parser.begin(is_head);
  for (std::string_view piece : pieces) {
    if (result.state != ParserState::kMore) break;
    const std::size_t before = piece.size();
    const std::string copy(piece);  // for the sanitizers: nothing is kept of it
    std::string_view rest = copy;
    result.state = parser.feed(rest);
    result.used += before - rest.size();
  }
  result.error = parser.error();
  result.keep_alive = result.state == ParserState::kDone && parser.keep_alive();
  return result;
}

// Whole, byte by byte, and cut at every place.
std::vector<std::vector<std::string_view>> all_cuts(std::string_view bytes) {
  std::vector<std::vector<std::string_view>> cuts{{bytes}, {}};
  for (std::size_t i = 0; i < bytes.size(); ++i) cuts[1].push_back(bytes.substr(i, 1));
  for (std::size_t i = 1; i < bytes.size(); ++i) {
    cuts.push_back({bytes.substr(0, i), bytes.substr(i)});
  }
  return cuts;
}

std::string ok(const std::string& fields, const std::string& body = "") {
  return "HTTP/1.1 200 OK\r\n" + fields + "\r\n" + body;
}
std::string chunked(const std::string& chunks) {
  return ok("Transfer-Encoding: chunked\r\n", chunks);
}

struct GoodCase {
  std::string name;
  std::string bytes;
  std::vector<int> statuses{200};
  std::string body = "";
  bool keep_alive = true;
  HeaderList fields = {};  // checked where there are some
  bool is_head = false;

  friend void PrintTo(const GoodCase& self, std::ostream* out) { *out << self.name; }
};

class Good : public testing::TestWithParam<GoodCase> {};

TEST_P(Good, IsReadWhereverItIsCut) {
  const GoodCase& expected = GetParam();
  for (const auto& pieces : all_cuts(expected.bytes)) {
    const Read result = read(pieces, expected.is_head);
    ASSERT_EQ(result.state, ParserState::kDone) << result.error << " first piece " << pieces[0];
    EXPECT_EQ(result.seen.statuses, expected.statuses);
    EXPECT_EQ(result.seen.body, expected.body);
    EXPECT_EQ(result.keep_alive, expected.keep_alive);
    EXPECT_EQ(result.used, expected.bytes.size());
    if (!expected.fields.empty()) {
      EXPECT_EQ(result.seen.fields, expected.fields);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    StatusLine, Good,
    testing::Values(
        GoodCase{"no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"},
        GoodCase{"no reason and no space", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"},
        GoodCase{"a reason of any bytes",
                 "HTTP/1.1 404 N\xc3\xb6\t!\r\nContent-Length: 0\r\n\r\n",
                 {404}},
        GoodCase{"a later minor version", "HTTP/1.7 200 OK\r\nContent-Length: 0\r\n\r\n"},
        GoodCase{"a status nobody knows", "HTTP/1.1 799 X\r\nContent-Length: 0\r\n\r\n", {799}},
        GoodCase{"interim answers",
                 "HTTP/1.1 100\r\n\r\nHTTP/1.1 103\r\nLink: x\r\n\r\n" +
                     std::string("HTTP/1.1 102 \r\n\r\n") +
                     ok("A: b\r\nContent-Length: 1\r\n", "x"),
                 {100, 103, 102, 200},
                 "x",
                 true,
                 {{"A", "b"}, {"Content-Length", "1"}}},
        GoodCase{"an interim answer with a length",
                 "HTTP/1.1 100 C\r\nContent-Length: 9\r\n\r\n" + ok("Content-Length: 0\r\n"),
                 {100, 200}},
        GoodCase{
            "another protocol", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", {101}, "", false}));

INSTANTIATE_TEST_SUITE_P(
    Fields, Good,
    testing::Values(
        GoodCase{"spaces around a value",
                 ok("A:  \t b c \t\r\nContent-Length:0\r\n"),
                 {200},
                 "",
                 true,
                 {{"A", "b c"}, {"Content-Length", "0"}}},
        GoodCase{"an empty value",
                 ok("A:\r\nContent-Length: 0\r\n"),
                 {200},
                 "",
                 true,
                 {{"A", ""}, {"Content-Length", "0"}}},
        GoodCase{"a folded value",
                 ok("A: b\r\n  c\r\n\td\r\nContent-Length: 0\r\n"),
                 {200},
                 "",
                 true,
                 {{"A", "b   c \td"}, {"Content-Length", "0"}}},
        GoodCase{"a folded last value",
                 ok("Content-Length: 0\r\nA: b\r\n c\r\n"),
                 {200},
                 "",
                 true,
                 {{"Content-Length", "0"}, {"A", "b  c"}}},
        GoodCase{"bytes above ASCII", ok("A: \xff\xe4\r\nContent-Length: 0\r\n")},
        GoodCase{"a colon in a value",
                 ok("A: b:c\r\nContent-Length: 0\r\n"),
                 {200},
                 "",
                 true,
                 {{"A", "b:c"}, {"Content-Length", "0"}}},
        GoodCase{"close", ok("Content-Length: 0\r\nConnection: x, Close\r\n"), {200}, "", false},
        GoodCase{"close in one of two",
                 ok("Connection: close\r\nConnection: keep-alive\r\n"
                    "Content-Length: 0\r\n"),
                 {200},
                 "",
                 false},
        GoodCase{"version 1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", {200}, "", false},
        GoodCase{"version 1.0 kept",
                 "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"
                 "Content-Length: 1\r\n\r\nx",
                 {200},
                 "x",
                 true}));

INSTANTIATE_TEST_SUITE_P(
    Lengths, Good,
    testing::Values(
        GoodCase{"a length", ok("content-length: 5\r\n", "hello"), {200}, "hello"},
        GoodCase{"zeros in front", ok("Content-Length: 0005\r\n", "hello"), {200}, "hello"},
        GoodCase{"the same length twice",
                 ok("Content-Length: 1\r\nContent-Length: 1\r\n", "x"),
                 {200},
                 "x"},
        GoodCase{"the same length in a list", ok("Content-Length: 1, 1\r\n", "x"), {200}, "x"},
        GoodCase{"no content", "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", {204}},
        GoodCase{"not modified", "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", {304}},
        GoodCase{"a HEAD", ok("Content-Length: 99999999999\r\n"), {200}, "", true, {}, true},
        GoodCase{"a HEAD with codings",
                 ok("Transfer-Encoding: gzip, chunked\r\n"),
                 {200},
                 "",
                 true,
                 {},
                 true}));

INSTANTIATE_TEST_SUITE_P(
    Chunks, Good,
    testing::Values(
        GoodCase{"chunks",
                 chunked("5\r\nhello\r\nA\r\n, world!!!\r\n0\r\n\r\n"),
                 {200},
                 "hello, world!!!"},
        GoodCase{"a coding in capitals", ok("Transfer-Encoding: , CHUNKED ,\r\n", "0\r\n\r\n")},
        GoodCase{"sixteen digits",
                 chunked("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n"),
                 {200},
                 "x"},
        GoodCase{"more zeros",
                 chunked("000000000000000000000000a\r\n0123456789\r\n00\r\n\r\n"),
                 {200},
                 "0123456789"},
        GoodCase{
            "extensions", chunked("1;a\r\nx\r\n1 ; b = c\t;d\r\ny\r\n0;e=f\r\n\r\n"), {200}, "xy"},
        GoodCase{
            "quoted extensions", chunked("1;a=\"b;\\\"\\\\ c\"\r\nx\r\n0\r\n\r\n"), {200}, "x"},
        GoodCase{"trailers",
                 chunked("1\r\nx\r\n0\r\nContent-Length: 7\r\nA: b\r\n c\r\n\r\n"),
                 {200},
                 "x"},
        GoodCase{"version 1.0 with chunks",
                 "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "1\r\nx\r\n0\r\n\r\n",
                 {200},
                 "x",
                 false}));

struct BadCase {
  std::string name;
  std::string bytes;
  std::string error = "bad response";

  friend void PrintTo(const BadCase& self, std::ostream* out) { *out << self.name; }
};

class Bad : public testing::TestWithParam<BadCase> {};

// With its last byte, that is: nothing has to follow before the fault is told.
TEST_P(Bad, IsAFaultAtOnceWhereverItIsCut) {
  for (const auto& pieces : all_cuts(GetParam().bytes)) {
    const Read result = read(pieces);
    ASSERT_EQ(result.state, ParserState::kBad) << "first piece " << pieces[0];
    EXPECT_EQ(result.error.substr(0, GetParam().error.size()), GetParam().error) << result.error;
  }
}

INSTANTIATE_TEST_SUITE_P(
    StatusLine, Bad,
    testing::Values(
        BadCase{"another protocol", "SS"}, BadCase{"an empty line", "\r\n"},
        BadCase{"a space in front", " HTTP/1.1 200 OK\r\n"}, BadCase{"small letters", "http"},
        BadCase{"HTTP/2", "HTTP/2"}, BadCase{"no status", "HTTP/1.1\r\n"},
        BadCase{"two digits", "HTTP/1.1 20 OK\r\n"}, BadCase{"four", "HTTP/1.1 2000 OK\r\n"},
        BadCase{"two spaces", "HTTP/1.1  200 OK\r\n"}, BadCase{"a tab", "HTTP/1.1\t200 OK\r\n"},
        BadCase{"a sign", "HTTP/1.1 +20 OK\r\n"}, BadCase{"below 100", "HTTP/1.1 099 OK\r\n"},
        BadCase{"a tab behind", "HTTP/1.1 200\tOK\r\n"}, BadCase{"1.10", "HTTP/1.10 200 OK\r\n"},
        BadCase{"a bare LF", "HTTP/1.1 200 OK\n"}, BadCase{"a bare CR", "HTTP/1.1 200 O\rK\r\n"},
        BadCase{"a control character", std::string("HTTP/1.1 200 O\0K\r\n", 18)}));

INSTANTIATE_TEST_SUITE_P(
    Fields, Bad,
    testing::Values(BadCase{"no colon", ok("A b\r\nC: d\r\n")}, BadCase{"no name", ok(": b\r\n")},
                    BadCase{"a space before the colon", ok("A : b\r\n")},
                    BadCase{"a name of two words", ok("A B: c\r\n")},
                    BadCase{"a folded first field", "HTTP/1.1 200 OK\r\n A: b\r\n"},
                    BadCase{"a bare LF", "HTTP/1.1 200 OK\r\nA: b\n"},
                    BadCase{"a bare LF at the end", "HTTP/1.1 200 OK\r\nA: b\r\n\n"},
                    BadCase{"a bare CR", ok("A: b\rC: d\r\n")},
                    BadCase{"NUL", ok(std::string("A: b\0\r\n", 8))},
                    BadCase{"DEL", ok("A: b\x7f\r\n")},
                    BadCase{
                        "too much",
                        ok("A: " + std::string(kMostHeaderBytes, 'x') + "\r\n").substr(0, 40000),
                        "headers too large"}));

INSTANTIATE_TEST_SUITE_P(
    Lengths, Bad,
    testing::Values(
        BadCase{"a sign", ok("Content-Length: +5\r\n")},
        BadCase{"below zero", ok("Content-Length: -1\r\n")},
        BadCase{"empty", ok("Content-Length:\r\n")}, BadCase{"a word", ok("Content-Length: x\r\n")},
        BadCase{"hexadecimal", ok("Content-Length: 0x5\r\n")},
        BadCase{"a fraction", ok("Content-Length: 5.0\r\n")},
        BadCase{"a space in it", ok("Content-Length: 1 2\r\n")},
        BadCase{"an empty element", ok("Content-Length: 5,\r\n")},
        BadCase{"65 bits", ok("Content-Length: 18446744073709551616\r\n")},
        BadCase{"more than the limit", ok("Content-Length: 18446744073709551615\r\n"), ""},
        BadCase{"two that differ", ok("Content-Length: 5\r\nContent-Length: 6\r\n")},
        BadCase{"a list that differs", ok("Content-Length: 5, 6\r\n")},
        BadCase{"both ways", ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")},
        BadCase{"both ways round", ok("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")}));

INSTANTIATE_TEST_SUITE_P(
    Codings, Bad,
    testing::Values(BadCase{"gzip", ok("Transfer-Encoding: gzip\r\n")},
                    BadCase{"gzip and chunked", ok("Transfer-Encoding: gzip, chunked\r\n")},
                    BadCase{"chunked and gzip", ok("Transfer-Encoding: chunked, gzip\r\n")},
                    BadCase{"chunked twice",
                            ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")},
                    BadCase{"identity", ok("Transfer-Encoding: identity\r\n")},
                    BadCase{"a parameter", ok("Transfer-Encoding: chunked;a=b\r\n")},
                    BadCase{"none", ok("Transfer-Encoding:\r\n")},
                    BadCase{"like chunked", ok("Transfer-Encoding: xchunked\r\n")}));

INSTANTIATE_TEST_SUITE_P(
    Chunks, Bad,
    testing::Values(BadCase{"no digit", chunked("g")}, BadCase{"an empty line", chunked("\r\n")},
                    BadCase{"a minus", chunked("-")}, BadCase{"a plus", chunked("+")},
                    BadCase{"a space", chunked(" ")}, BadCase{"0x", chunked("0x")},
                    BadCase{"a space behind", chunked("5 \r\n")},
                    BadCase{"an underscore", chunked("1_")},
                    BadCase{"17 digits", chunked("10000000000000000")},
                    BadCase{"all that 64 bits hold", chunked("ffffffffffffffff\r"), ""},
                    BadCase{"more than the limit", chunked("200000;"), ""},
                    BadCase{"too long", chunked("1\r\nxy")}, BadCase{"a bare LF", chunked("1\n")},
                    BadCase{"a bare LF behind", chunked("1\r\nx\n")},
                    BadCase{"an extension without a name", chunked("1;\r\n")},
                    BadCase{"a quote that does not end", chunked("1;a=\"b\r\n")},
                    BadCase{"a bare CR in an extension", chunked("1;a\rb\r\n")},
                    BadCase{"a control character", chunked("1;a=\x01\r\n")},
                    BadCase{"endless extensions",
                            chunked("1;" + std::string(40000, 'e')).substr(0, 34000),
                            "headers too large"},
                    BadCase{"a trailer without a name", chunked("0\r\nx\r\n\r\n")},
                    BadCase{"a folded first trailer", chunked("0\r\n A: b\r\n")}));

TEST(ResponseParser, WhatFollowsTheResponseIsLeft) {
  const Read result = read({ok("Content-Length: 1\r\n", "xHTTP/1.1 200 OK\r\n")});
  EXPECT_EQ(result.state, ParserState::kDone);
  EXPECT_EQ(result.used, ok("Content-Length: 1\r\n", "x").size());
}

TEST(ResponseParser, AResponseThatBreaksOffIsNone) {
  const std::string whole = chunked("5\r\nhello\r\n0\r\n\r\n");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Seen seen;
    ResponseParser parser(seen);
    parser.begin(false);
    std::string_view part = std::string_view(whole).substr(0, size);
    ASSERT_EQ(parser.feed(part), ParserState::kMore) << size;
    EXPECT_EQ(parser.end_of_stream(), ParserState::kBad) << size;
    EXPECT_EQ(parser.error(), "connection closed mid-response");
  }
}

TEST(ResponseParser, ManySmallChunksAreNoHeaders) {
  std::string chunks;
  for (int i = 0; i < 100'000; ++i) chunks += "1\r\nx\r\n";
  const Read result = read({chunked(chunks + "0\r\n\r\n")});
  EXPECT_EQ(result.state, ParserState::kDone) << result.error;
  EXPECT_EQ(result.seen.body.size(), 100'000U);
}

TEST(ResponseParser, InterimAnswersWithoutEndAreTooManyHeaders) {
  std::string endless;
  for (int i = 0; i < 3000; ++i) endless += "HTTP/1.1 100\r\n\r\n";
  EXPECT_EQ(read({endless}).error, "headers too large");
}

}  // namespace
}  // namespace mcp::http
