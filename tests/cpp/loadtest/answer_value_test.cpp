#include "loadtest/answer_value.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace mcp::loadtest {
namespace {

struct Found {
  const char* name;
  std::string_view text;
  JsonPath path;
  const char* value;  // null: none
};

class FindJson : public ::testing::TestWithParam<Found> {};

TEST_P(FindJson, IsWhatThePathNames) {
  const Found& found = GetParam();
  const auto value = find_json(found.text, found.path);
  EXPECT_EQ(value.has_value(), found.value != nullptr);
  if (value && found.value != nullptr) {
    EXPECT_EQ(*value, found.value);
  }
}

INSTANTIATE_TEST_SUITE_P(
    , FindJson,
    ::testing::Values(
        Found{"Whole", " 12 ", {}, "12"}, Found{"Member", R"({"a": 1, "b": "x"})", {"b"}, "\"x\""},
        Found{"Nested", R"({"a":{"b":[10,{"c":true}]}})", {"a", "b", "1", "c"}, "true"},
        Found{"AfterNested", R"({"skip":{"a":["}",{"a":9}]},"a":1})", {"a"}, "1"},
        Found{"QuotesInStrings", R"({"a":"\"a\":2","b":3})", {"b"}, "3"},
        Found{"EscapedKey", R"({"\u0061\/":7})", {"a/"}, "7"},
        Found{"EmptyKey", R"({"":5})", {""}, "5"}, Found{"Null", R"({"a":null})", {"a"}, "null"},
        Found{"Object", R"({"a": {"b": 1} })", {"a"}, R"({"b": 1})"},
        Found{"Missing", R"({"a":1})", {"b"}, nullptr},
        Found{"BeyondTheArray", "[1,2]", {"2"}, nullptr}, Found{"EmptyArray", "[]", {"0"}, nullptr},
        Found{"IndexOfAnObject", R"({"a":1})", {"0"}, nullptr},
        Found{"KeyOfAnArray", "[1]", {"a"}, nullptr}, Found{"KeyOfANumber", "1", {"a"}, nullptr},
        Found{"Empty", "", {}, nullptr}, Found{"NoJson", "<html>", {"a"}, nullptr},
        Found{"Truncated", R"({"a":{"b":)", {"a", "b"}, nullptr},
        Found{"TruncatedString", R"({"a":"x)", {"a"}, nullptr},
        Found{"TruncatedEscape", "{\"a\":\"x\\", {"a"}, nullptr}),
    [](const auto& test) { return test.param.name; });

TEST(Json, DepthIsNoRecursion) {
  const std::string deep =
      "{\"a\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + ",\"b\":1}";
  EXPECT_EQ(find_json(deep, {"b"}), "1");
}

TEST(Json, StringsAreDecoded) {
  EXPECT_EQ(json_as_text(R"("a\n\"\\\/é")"), "a\n\"\\/\u00e9");
  EXPECT_EQ(json_as_text(R"("\u00e9\u20ac\ud83d\ude00")"), "\u00e9\u20ac\U0001F600");
  EXPECT_EQ(json_as_text(R"("\ud83d")"), "\ufffd");
  EXPECT_EQ(json_as_text("12"), "12");
  std::string escaped;
  append_json_escaped(escaped, "a\"\\\n\x01");
  EXPECT_EQ(escaped, R"(a\"\\\u000a\u0001)");
}

TEST(Json, TheFirstEventThatHasTheValueCounts) {
  const std::string_view stream =
      ": hi\r\n\r\nevent: message\r\ndata: {\"method\":\"progress\"}\r\n\r\n"
      "data: {\"result\":\ndata: {\"x\":1}}\n\n";
  EXPECT_EQ(find_json_in_answer(stream, {"result", "x"}), "1");
  EXPECT_EQ(find_json_in_answer(stream, {"error"}), std::nullopt);
  EXPECT_EQ(find_json_in_answer(R"({"result":2})", {"result"}), "2");
}

TEST(Events, OnlyThoseThatAreWholeAndCarryDataCount) {
  EXPECT_EQ(count_events(""), 0);
  EXPECT_EQ(count_events("data: 1\n"), 0);
  EXPECT_EQ(count_events(": only a comment\n\n"), 0);
  EXPECT_EQ(count_events("data: 1\n\n"), 1);
  EXPECT_EQ(count_events("data: 1\r\n\r\nid: 2\r\ndata:\r\n\r\ndata: 3"), 2);
}

http::Response& answered(http::Response& response, const std::string& body) {
  response.begin(false, 1 << 20, http::Keep::kBodyAndHeaders);
  response.set_status(200);
  EXPECT_TRUE(response.add_header("x-token", "t 1"));
  EXPECT_TRUE(response.add_body(body));
  response.finish();
  return response;
}

TEST(Source, ReadsJsonFieldsAndExpressions) {
  http::Response response;
  answered(response, R"({"id":7,"name":"A\u00e9","ref":"<a ref=xyz;>"})");
  const Source id{"json:id", JsonPath{"id"}, "", nullptr};
  const Source name{"json:name", JsonPath{"name"}, "", nullptr};
  const Source token{"header:X-Token", std::nullopt, "X-Token", nullptr};
  const Source ref{"regex:", std::nullopt, "", std::make_shared<Regex>(R"(ref=(\w+?);)")};
  EXPECT_EQ(id.read(response)->json, "7");
  EXPECT_EQ(name.read(response)->text, "A\u00e9");
  EXPECT_EQ(name.read(response)->json, "");
  EXPECT_EQ(token.read(response)->text, "t 1");
  EXPECT_EQ(ref.read(response)->text, "xyz");
}

TEST(Regex, TheFirstGroupOrTheWholeMatch) {
  EXPECT_EQ(Regex("b+").find("abbc"), "bb");
  EXPECT_EQ(Regex("(?:a|b)(c)?d").find("xbd"), std::nullopt);
  EXPECT_EQ(Regex("(?P<n>\\d+)").find("x 42"), "42");
  EXPECT_EQ(Regex("z").find("abc"), std::nullopt);
  EXPECT_THROW(Regex("("), Error);
}

TEST(Regex, AnAnswerCannotHoldAGenerator) {
  EXPECT_EQ(Regex("(a+)+$").find(std::string(100'000, 'a') + "b"), std::nullopt);
}

TEST(Value, NumbersAreEqualByValueAndTextIsNoNumber) {
  EXPECT_TRUE(equal({"1.0", "1.0"}, {"1", "1"}));
  EXPECT_FALSE(equal({"1", ""}, {"1", "1"}));
  EXPECT_TRUE(equal({"true", "true"}, {"true", "true"}));
  EXPECT_FALSE(equal({"true", "true"}, {"1", "1"}));
}

TEST(JsonRpc, ErrorsOfTheProtocolAndOfTheToolAreTold) {
  const auto failure = [](const std::string& body) {
    http::Response response;
    return json_rpc_failure(answered(response, body));
  };
  EXPECT_EQ(failure(R"({"id":1,"result":{"content":[]}})"), "");
  EXPECT_EQ(failure(R"({"id":1,"result":{"isError":false}})"), "");
  EXPECT_EQ(failure(R"({"id":1,"result":{"isError":true}})"), "tool error");
  EXPECT_EQ(failure(R"({"id":1,"error":{"code":-32602}})"), "JSON-RPC error -32602");
  EXPECT_EQ(failure("data: {\"result\":{\"isError\":true}}\n\n"), "tool error");
  EXPECT_EQ(failure("<html>"), "no JSON-RPC answer");
  EXPECT_EQ(failure(""), "no JSON-RPC answer");
}

}  // namespace
}  // namespace mcp::loadtest
