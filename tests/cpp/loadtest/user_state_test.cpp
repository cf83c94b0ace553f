#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "loadtest/cookies.h"
#include "loadtest/message_template.h"
#include "loadtest/scenario.h"

namespace mcp::loadtest {
namespace {

constexpr Instant kNow = 100 * kSecond;

Cookies after(const std::vector<std::string>& fields, std::string_view target = "/a/b?c") {
  Cookies cookies;
  for (const std::string& field : fields) cookies.take({{"set-cookie", field}}, target, kNow);
  return cookies;
}

TEST(Cookies, AreSentBackWhereTheyBelong) {
  EXPECT_EQ(after({"a=1; Path=/", "b=2; Path=/; HttpOnly"}).header("/x", false, kNow), "a=1; b=2");
  EXPECT_EQ(after({"a=1; Path=/", "a=2; Path=/"}).header("/x", false, kNow), "a=2");
  EXPECT_EQ(after({"a=1"}).header("/a/z", false, kNow), "a=1") << "the default is the folder";
  EXPECT_EQ(after({"a=1"}).header("/ab", false, kNow), "");
  EXPECT_EQ(after({"a=1; Path=/p"}).header("/p/q?r", false, kNow), "a=1");
  EXPECT_EQ(after({"a=1; Path=/p"}).header("/pq", false, kNow), "");
  EXPECT_EQ(after({"a=1; Path=/", "a=2; Path=/a"}).header("/a", false, kNow), "a=2; a=1");
  EXPECT_EQ(after({"a=1; Secure; Path=/"}).header("/", false, kNow), "");
  EXPECT_EQ(after({"a=1; Secure; Path=/"}).header("/", true, kNow), "a=1");
  EXPECT_EQ(after({"novalue", "=x"}).header("/a/b", false, kNow), "novalue=");
}

TEST(Cookies, Expire) {
  EXPECT_EQ(after({"a=1; Path=/", "a=; Path=/; Max-Age=0"}).header("/", false, kNow), "");
  EXPECT_EQ(after({"a=1; Path=/", "a=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"})
                .header("/", false, kNow),
            "");
  const Cookies brief = after({"a=1; Path=/; Max-Age=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT"});
  EXPECT_EQ(brief.header("/", false, kNow + 4 * kSecond), "a=1");
  EXPECT_EQ(brief.header("/", false, kNow + 5 * kSecond), "");
}

std::string marker(int number, char encoding) {
  return "\x01v000" + std::to_string(number) + encoding + "\x01";
}

TEST(MessageTemplate, EncodesAValueForWhereItStands) {
  const MessageTemplate fields({"POST",
                                "/u/" + marker(0, 'p') + "?x=" + marker(1, 'p'),
                                {{"X-A", "b " + marker(0, 'h')}},
                                "[" + marker(0, 'w') + "," + marker(1, 'w') + ",\"" +
                                    marker(0, 'j') + "\"] " + marker(0, 'b')},
                               "");
  http::Message message;
  EXPECT_TRUE(fields.has_variables());
  EXPECT_EQ(fields.render({Value{"a/\"b", ""}, Value{"7", "7"}}, message), -1);
  EXPECT_EQ(message.target, "/u/a%2F%22b?x=7");
  EXPECT_EQ(message.headers[0].second, "b a/\"b");
  EXPECT_EQ(message.body, R"(["a/\"b",7,"a/\"b"] a/"b)");
  EXPECT_EQ(fields.render({Value{"a", ""}, std::nullopt}, message), 1) << "no value";
  EXPECT_EQ(fields.render({Value{"a\r\nX: y", ""}, Value{"", ""}}, message), 0) << "another field";
}

TEST(Scenario, UsersGoThroughASequenceEachByItself) {
  RequestSpec first{"first", 1, {{"GET", "/1", {}, ""}}, {}};
  RequestSpec second{"second", 1, {{"GET", "/2/" + marker(0, 'p'), {}, ""}}, {}};
  const Scenario scenario({first, second}, "host", 0, 0, {{0, 0}, {1, 0}},
                          {false, {"id"}, {{Value{"x", ""}}, {std::nullopt}}, {}});
  UserState user = scenario.make_user(2);
  UserState other = scenario.make_user(1);
  std::string bytes;
  EXPECT_EQ(scenario.choose(17, user).kind, 0);
  EXPECT_EQ(scenario.choose(90, user).kind, 1);
  EXPECT_TRUE(scenario.write({1, 0}, user, 90, false, kNow, bytes));
  EXPECT_EQ(bytes, "GET /2/x HTTP/1.1\r\nHost: host\r\n\r\n");
  EXPECT_EQ(scenario.choose(3, other).kind, 0);
  EXPECT_EQ(scenario.choose(4, other).kind, 1);
  EXPECT_FALSE(scenario.write({1, 0}, other, 90, false, kNow, bytes));
  EXPECT_EQ(bytes, "no value for id");
  EXPECT_EQ(scenario.choose(5, other).kind, 0) << "it begins anew";
}

}  // namespace
}  // namespace mcp::loadtest
