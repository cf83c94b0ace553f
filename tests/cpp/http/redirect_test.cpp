#include "http/redirect.h"

#include <gtest/gtest.h>

#include <ostream>

namespace mcp::http {
namespace {

struct RedirectCase {
  const char* location;
  const char* target;  // null: refused

  friend void PrintTo(const RedirectCase& self, std::ostream* out) { *out << self.location; }
};

class RedirectTest : public testing::TestWithParam<RedirectCase> {};

TEST_P(RedirectTest, StaysOnTheOrigin) {
  const auto target =
      same_origin_target(GetParam().location, "/a/b?c=1", {false, "localhost", 8000});
  if (GetParam().target == nullptr) {
    EXPECT_FALSE(target.has_value()) << *target;
  } else {
    ASSERT_TRUE(target.has_value());
    EXPECT_EQ(*target, GetParam().target);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Redirect, RedirectTest,
    testing::Values(
        RedirectCase{"/x?y", "/x?y"}, RedirectCase{"x", "/a/x"}, RedirectCase{"?q=2", "/a/b?q=2"},
        RedirectCase{"http://localhost:8000/z#f", "/z"}, RedirectCase{"//LOCALHOST:8000", "/"},
        RedirectCase{"http://localhost:8000?q", "/?q"}, RedirectCase{"http://localhost/z", nullptr},
        RedirectCase{"https://localhost:8000/z", nullptr},
        RedirectCase{"//evil.example/z", nullptr}, RedirectCase{"/\\evil.example/z", nullptr},
        RedirectCase{"http://evil@localhost:8000/", nullptr},
        RedirectCase{"http://localhost:8000.evil.example/", nullptr},
        RedirectCase{"http://localhost:8000@evil.example/", nullptr},
        RedirectCase{"javascript:alert(1)", nullptr}, RedirectCase{"/a\r\nX: 1", nullptr},
        RedirectCase{"", nullptr}));

TEST(Redirect, SeeOtherBecomesAGetWithoutABody) {
  const Message post{"POST", "/a", {{"Content-Type", "x"}, {"Accept", "y"}}, "body"};
  const Message next = redirected(post, 303, "/b");
  EXPECT_EQ(next.method, "GET");
  EXPECT_EQ(next.body, "");
  ASSERT_EQ(next.headers.size(), 1U);
  EXPECT_EQ(next.headers[0].first, "Accept");
  EXPECT_EQ(redirected(post, 307, "/b").body, "body");
  EXPECT_EQ(redirected({"HEAD", "/a", {}, ""}, 302, "/b").method, "HEAD");
}

}  // namespace
}  // namespace mcp::http
