#include "http/message.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "base/error.h"

namespace mcp::http {
namespace {

struct Case {
  const char* name;
  Message message;
  const char* complains = nullptr;  // of what the error speaks; null: it is a good request

  friend void PrintTo(const Case& self, std::ostream* out) { *out << self.name; }
};

Message with(HeaderList headers, std::string body = "") {
  return {"POST", "/", std::move(headers), std::move(body)};
}

class MessageTest : public testing::TestWithParam<Case> {};

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
    testing::Values(Case{"a method of one's own", {"PURGE-x", "/", {}, ""}},
                    Case{"no method", {"", "/", {}, ""}, "method="},
                    Case{"a method with a space", {"GE T", "/", {}, ""}, "method="},
                    Case{"a method with a line end", {"GET\r\n", "/", {}, ""}, "method="},
                    Case{"CONNECT", {"CONNECT", "/", {}, ""}, "method=CONNECT"},
                    Case{"a query", {"GET", "/a?b=c&d=%20", {}, ""}},
                    Case{"no path", {"GET", "", {}, ""}, "path="},
                    Case{"a path without /", {"GET", "a", {}, ""}, "path="},
                    Case{"a space", {"GET", "/a b", {}, ""}, "path="},
                    Case{"a line end", {"GET", "/a\r\nX: y", {}, ""}, "path="},
                    Case{"NUL", {"GET", std::string("/a\0b", 4), {}, ""}, "path="},
                    Case{"DEL", {"GET", "/\x7f", {}, ""}, "path="},
                    Case{"beyond ASCII", {"GET", "/\xc3\xa4", {}, ""}, "path="},
                    Case{"a fragment", {"GET", "/a#b", {}, ""}, "path="}));

INSTANTIATE_TEST_SUITE_P(
    Fields, MessageTest,
    testing::Values(Case{"a list in several fields",
                         with({{"Accept", "a"}, {"accept", "b"}, {"X", "1"}, {"x", "2"}})},
                    Case{"a tab and bytes above ASCII inside", with({{"A", "b\tc \xff"}})},
                    Case{"an empty value", with({{"A", ""}})},
                    Case{"no name", with({{"", "a"}}), "headers="},
                    Case{"a space in a name", with({{"A b", "c"}}), "headers=A b"},
                    Case{"a colon in a name", with({{"A:", "c"}}), "headers=A:"},
                    Case{"a name beyond ASCII", with({{"\xc3\xa4", "c"}}), "headers="},
                    Case{"a line end", with({{"A", "b\r\nC: d"}}), "headers=A"},
                    Case{"a bare LF", with({{"A", "b\nc"}}), "headers=A"},
                    Case{"a bare CR", with({{"A", "b\rc"}}), "headers=A"},
                    Case{"a folded value", with({{"A", "b\r\n c"}}), "headers=A"},
                    Case{"NUL", with({{"A", std::string("b\0", 2)}}), "headers=A"},
                    Case{"an escape", with({{"A", "\x1b[0m"}}), "headers=A"},
                    Case{"a space in front", with({{"A", " b"}}), "headers=A"},
                    Case{"a tab behind", with({{"A", "b\t"}}), "headers=A"}));

INSTANTIATE_TEST_SUITE_P(
    Once, MessageTest,
    testing::Values(
        Case{"Host twice", with({{"Host", "a"}, {"hOST", "a"}}), "headers=hOST"},
        Case{"Content-Type twice", with({{"Content-Type", "a"}, {"content-type", "b"}}), "once"},
        Case{"Authorization twice", with({{"Authorization", "a"}, {"authorization", "a"}}), "once"},
        Case{"Cookie twice", with({{"Cookie", "a"}, {"Cookie", "b"}}), "once"},
        Case{"User-Agent twice", with({{"User-Agent", "a"}, {"user-agent", "b"}}), "once"},
        Case{"a host of one's own", with({{"Host", "[::1]:80"}})},
        Case{"a host with a space", with({{"Host", "a b"}}), "headers="},
        Case{"two hosts in one", with({{"Host", "a, b"}}), "headers="},
        Case{"a host with credentials", with({{"Host", "u@a"}}), "headers="},
        Case{"a host with a path", with({{"Host", "a/b"}}), "headers="}));

INSTANTIATE_TEST_SUITE_P(
    Length, MessageTest,
    testing::Values(
        Case{"the true length", with({{"content-length", "3"}}, "abc")},
        Case{"the true length of nothing", {"GET", "/", {{"Content-Length", "0"}}, ""}},
        Case{"too short", with({{"Content-Length", "2"}}, "abc"), "Content-Length: 2"},
        Case{"too long", with({{"Content-Length", "4"}}, "abc"), "Content-Length: 4"},
        Case{"of no body", {"GET", "/", {{"Content-Length", "4"}}, ""}, "Content-Length"},
        Case{"a sign", with({{"Content-Length", "+3"}}, "abc"), "Content-Length"},
        Case{"a zero in front", with({{"Content-Length", "03"}}, "abc"), "Content-Length"},
        Case{"a list", with({{"Content-Length", "3, 3"}}, "abc"), "Content-Length"},
        Case{"twice", with({{"Content-Length", "3"}, {"content-length", "3"}}, "abc"), "once"},
        Case{"chunked", with({{"Transfer-Encoding", "chunked"}}, "0\r\n\r\n"), "Transfer-Encoding"},
        Case{"identity", with({{"transfer-encoding", "identity"}}, "abc"), "transfer-encoding"}));

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
