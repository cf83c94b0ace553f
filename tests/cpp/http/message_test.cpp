#include "http/message.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "base/error.h"

namespace mcp::http {
namespace {

struct MessageCase {
  const char* name;
  Message message;
  const char* complains = nullptr;  // of what the error speaks; null: it is a good request

  friend void PrintTo(const MessageCase& self, std::ostream* out) { *out << self.name; }
};

Message with(HeaderList headers, std::string body = "") {
  return {"POST", "/", std::move(headers), std::move(body)};
}

class MessageTest : public testing::TestWithParam<MessageCase> {};

TEST_P(MessageTest, CannotBeReadInTwoWays) {
  std::string failure;
  try {
    check(GetParam().message);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfiguration);
    failure = error.what();
  }
  if (GetParam().complains == nullptr) {
    EXPECT_EQ(failure, "");
  } else {
    EXPECT_NE(failure.find(GetParam().complains), std::string::npos) << failure;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Line, MessageTest,
    testing::Values(
        MessageCase{"a method of one's own", {"PURGE-x", "/", {}, ""}},
        MessageCase{"no method", {"", "/", {}, ""}, "method="},
        MessageCase{"a method with a space", {"GE T", "/", {}, ""}, "method="},
        MessageCase{"a method with a line end", {"GET\r\n", "/", {}, ""}, "method="},
        MessageCase{"CONNECT", {"CONNECT", "/", {}, ""}, "method=CONNECT"},
        MessageCase{"a query", {"GET", "/a?b=c&d=%20", {}, ""}},
        MessageCase{"no path", {"GET", "", {}, ""}, "path='': e"},
        MessageCase{"a path without /", {"GET", "a", {}, ""}, "path="},
        MessageCase{"a space", {"GET", "/a b", {}, ""}, "path="},
        MessageCase{"a line end", {"GET", "/a\r\nX: y", {}, ""}, "path=/a\\x0d\\x0aX: y: e"},
        MessageCase{"NUL", {"GET", std::string("/a\0b", 4), {}, ""}, "path=/a\\x00b: e"},
        MessageCase{"DEL", {"GET", "/\x7f", {}, ""}, "path="},
        MessageCase{"beyond ASCII", {"GET", "/\xc3\xa4", {}, ""}, "path="},
        MessageCase{"a fragment", {"GET", "/a#b", {}, ""}, "path="}));

INSTANTIATE_TEST_SUITE_P(
    Fields, MessageTest,
    testing::Values(MessageCase{"a list in several fields",
                                with({{"Accept", "a"}, {"accept", "b"}, {"X", "1"}, {"x", "2"}})},
                    MessageCase{"a tab and bytes above ASCII inside", with({{"A", "b\tc \xff"}})},
                    MessageCase{"an empty value", with({{"A", ""}})},
                    MessageCase{"no name", with({{"", "a"}}), "headers="},
                    MessageCase{"a space in a name", with({{"A b", "c"}}), "headers=A b"},
                    MessageCase{"a colon in a name", with({{"A:", "c"}}), "headers=A:"},
                    MessageCase{"a name beyond ASCII", with({{"\xc3\xa4", "c"}}), "headers="},
                    MessageCase{"a line end", with({{"A", "b\r\nC: d"}}), "headers=A"},
                    MessageCase{"a bare LF", with({{"A", "b\nc"}}), "headers=A"},
                    MessageCase{"a bare CR", with({{"A", "b\rc"}}), "headers=A"},
                    MessageCase{"a folded value", with({{"A", "b\r\n c"}}), "headers=A"},
                    MessageCase{"NUL", with({{"A", std::string("b\0", 2)}}), "headers=A"},
                    MessageCase{"an escape", with({{"A", "\x1b[0m"}}), "headers=A"},
                    MessageCase{"a space in front", with({{"A", " b"}}), "headers=A"},
                    MessageCase{"a tab behind", with({{"A", "b\t"}}), "headers=A"}));

INSTANTIATE_TEST_SUITE_P(
    Once, MessageTest,
    testing::Values(MessageCase{"Host twice", with({{"Host", "a"}, {"hOST", "a"}}), "headers=hOST"},
                    MessageCase{"Content-Type twice",
                                with({{"Content-Type", "a"}, {"content-type", "b"}}), "once"},
                    MessageCase{"Authorization twice",
                                with({{"Authorization", "a"}, {"authorization", "a"}}), "once"},
                    MessageCase{"Cookie twice", with({{"Cookie", "a"}, {"Cookie", "b"}}), "once"},
                    MessageCase{"User-Agent twice",
                                with({{"User-Agent", "a"}, {"user-agent", "b"}}), "once"},
                    MessageCase{"a host of one's own", with({{"Host", "[::1]:80"}})},
                    MessageCase{"a host with a space", with({{"Host", "a b"}}), "headers="},
                    MessageCase{"two hosts in one", with({{"Host", "a, b"}}), "headers="},
                    MessageCase{"a host with credentials", with({{"Host", "u@a"}}), "headers="},
                    MessageCase{"a host with a path", with({{"Host", "a/b"}}), "headers="}));

INSTANTIATE_TEST_SUITE_P(
    Length, MessageTest,
    testing::Values(
        MessageCase{"the true length", with({{"content-length", "3"}}, "abc")},
        MessageCase{"the true length of nothing", {"GET", "/", {{"Content-Length", "0"}}, ""}},
        MessageCase{"too short", with({{"Content-Length", "2"}}, "abc"), "Content-Length: 2"},
        MessageCase{"too long", with({{"Content-Length", "4"}}, "abc"), "Content-Length: 4"},
        MessageCase{"of no body", {"GET", "/", {{"Content-Length", "4"}}, ""}, "Content-Length"},
        MessageCase{"a sign", with({{"Content-Length", "+3"}}, "abc"), "Content-Length"},
        MessageCase{"a zero in front", with({{"Content-Length", "03"}}, "abc"), "Content-Length"},
        MessageCase{"a list", with({{"Content-Length", "3, 3"}}, "abc"), "Content-Length"},
        MessageCase{"twice", with({{"Content-Length", "3"}, {"content-length", "3"}}, "abc"),
                    "once"},
        MessageCase{"chunked", with({{"Transfer-Encoding", "chunked"}}, "0\r\n\r\n"),
                    "Transfer-Encoding"},
        MessageCase{"identity", with({{"transfer-encoding", "identity"}}, "abc"),
                    "transfer-encoding"}));

TEST(Message, HostAndLengthAreAddedOnce) {
  EXPECT_EQ(serialize({"GET", "/a", {{"A", "b"}}, ""}, "h:1"),
            "GET /a HTTP/1.1\r\nHost: h:1\r\nA: b\r\n\r\n");
  EXPECT_EQ(serialize(with({}, "abc"), "h"),
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_EQ(serialize(with({{"host", "x"}, {"content-length", "3"}}, "abc"), "h"),
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc");
  EXPECT_EQ(serialize(with({}), "h"), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
}

}  // namespace
}  // namespace mcp::http
