#include "query/json.h"

#include <gtest/gtest.h>

#include <limits>

namespace mcp::query {
namespace {

std::string quoted_json(std::string_view text) {
  JsonWriter json;
  json.value(text);
  return json.take();
}

TEST(JsonWriter, SeparatesMembersAndItems) {
  JsonWriter json;
  json.begin_object();
  json.member("a", 1);
  json.key("b");
  json.array(std::vector<int>{1, 2}, [&json](int item) { json.value(item); });
  json.key("c");
  json.array(std::vector<int>{}, [](int) {});
  json.member("d", true);
  json.member("e", 0.5);
  json.member("f", std::numeric_limits<double>::infinity());
  json.member_or_null("g", "");
  json.end_object();
  EXPECT_EQ(json.take(), R"({"a":1,"b":[1,2],"c":[],"d":true,"e":0.5,"f":null,"g":null})");
}

TEST(JsonWriter, EscapesWhatMustBeEscaped) {
  EXPECT_EQ(quoted_json("a\"b\\c\n\x01"), R"("a\"b\\c\u000a\u0001")");
  EXPECT_EQ(quoted_json("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
            "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
}

TEST(JsonWriter, ReplacesBytesThatAreNoUtf8) {
  for (const char* bad :
       {"\xff", "\x80", "\xc0\x80", "\xed\xa0\x80", "\xe2\x82", "\xf5\x80\x80\x80"}) {
    const std::string text = quoted_json(bad);
    EXPECT_NE(text.find("\xef\xbf\xbd"), std::string::npos);
    EXPECT_EQ(text.find(bad), std::string::npos);
  }
}

TEST(Hexadecimal, HasSixteenDigits) {
  EXPECT_EQ(hexadecimal(0), "0000000000000000");
  EXPECT_EQ(hexadecimal(0x0123456789abcdefU), "0123456789abcdef");
}

}  // namespace
}  // namespace mcp::query
