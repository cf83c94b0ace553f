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

// RFC 3986, 5.4, as far as it stays on the origin; the base is /a/b?c=1.
INSTANTIATE_TEST_SUITE_P(
    Relative, RedirectTest,
    testing::Values(
        RedirectCase{"./x", "/a/x"}, RedirectCase{".", "/a/"}, RedirectCase{"./", "/a/"},
        RedirectCase{"..", "/"}, RedirectCase{"../x", "/x"}, RedirectCase{"../../x", "/x"},
        RedirectCase{"/./x", "/x"}, RedirectCase{"/../x", "/x"}, RedirectCase{"x/./y", "/a/x/y"},
        RedirectCase{"x/../y", "/a/y"}, RedirectCase{"x;p=1/../y", "/a/y"},
        RedirectCase{"x.", "/a/x."}, RedirectCase{"..x", "/a/..x"}, RedirectCase{"x//y", "/a/x//y"},
        RedirectCase{"x?y/../z", "/a/x?y/../z"}, RedirectCase{"x#y/../z", "/a/x"},
        RedirectCase{"#f", "/a/b?c=1"}, RedirectCase{"http://localhost:8000/a/../b", "/b"},
        RedirectCase{"//localhost:8000/./x", "/x"}, RedirectCase{"/\xc3\xa4?\xff", "/%C3%A4?%FF"},
        RedirectCase{"http:x", nullptr}));

TEST(Redirect, SeeOtherBecomesAGetWithoutABody) {
  const Message post{
      "POST", "/a", {{"Content-Type", "x"}, {"content-language", "z"}, {"Accept", "y"}}, "body"};
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
