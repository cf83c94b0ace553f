// answer_value.h: values of answers that users keep for later requests, or that are checked.
// Immutable: safe to share between threads.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/response.h"
#include "loadtest/json_text.h"
#include "loadtest/regex.h"

namespace mcp::loadtest {

struct Value {
  std::string text;
  std::string json;  // the same as JSON; empty: a string
};

// Where a value of an answer is.
struct Source {
  std::string name;  // as the user wrote it
  // One of these: a path in JSON, a field, an expression.
  std::optional<JsonPath> json;
  std::string header;
  std::shared_ptr<const Regex> regex;

  [[nodiscard]] std::optional<Value> read(const http::Response& response) const;
};

struct Save {
  std::size_t variable;
  Source source;
};

struct Check {
  Source source;
  std::optional<Value> expected;  // nothing: any value will do
};

[[nodiscard]] bool equal(const Value& found, const Value& expected);

// What is wrong with the answer to a call of JSON-RPC, an MCP tool's for one; empty: nothing.
[[nodiscard]] std::string json_rpc_failure(const http::Response& response);

}  // namespace mcp::loadtest
