// answer_value.cpp: reads values of answers and compares them.
#include "loadtest/answer_value.h"

#include <charconv>

#include "http/headers.h"

namespace mcp::loadtest {
namespace {

std::optional<double> as_number(const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

}  // namespace

std::optional<Value> Source::read(const http::Response& response) const {
  if (json) {
    const auto found = find_json_in_answer(response.body(), *json);
    if (!found) return std::nullopt;
    if (found->starts_with('"')) return Value{json_as_text(*found), ""};
    return Value{*found, *found};
  }
  if (regex) {
    const auto found = regex->find(response.body());
    return found ? std::optional<Value>({std::string(*found), ""}) : std::nullopt;
  }
  for (const auto& [field, value] : response.headers()) {
    if (http::same_header(field, header)) return Value{value, ""};
  }
  return std::nullopt;
}

bool equal(const Value& found, const Value& expected) {
  if (found.json.empty() != expected.json.empty()) return false;
  if (found.text == expected.text) return true;
  if (found.json.empty()) return false;
  const auto number = as_number(found.json);
  return number && number == as_number(expected.json);
}

std::string json_rpc_failure(const http::Response& response) {
  static const JsonPath error{"error"};
  static const JsonPath code{"error", "code"};
  static const JsonPath result{"result"};
  static const JsonPath is_error{"result", "isError"};
  const std::string& body = response.body();
  if (find_json_in_answer(body, result)) {
    return find_json_in_answer(body, is_error) == "true" ? "tool error" : "";
  }
  if (!find_json_in_answer(body, error)) return "no JSON-RPC answer";
  return "JSON-RPC error " + find_json_in_answer(body, code).value_or("without a code");
}

}  // namespace mcp::loadtest
