// json.h: writes JSON text. The caller keeps keys and values in order; commas are the writer's.
//
// Thread-compatible. What comes out is UTF-8: bytes that are none become U+FFFD.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mcp::query {

class JsonWriter {
 public:
  void begin_object() {
    separate();
    text_ += '{';
    first_ = true;
  }
  void end_object() {
    text_ += '}';
    first_ = false;
  }
  template <class Items, class Write>
  void array(const Items& items, Write write) {
    separate();
    text_ += '[';
    first_ = true;
    for (const auto& item : items) write(item);
    text_ += ']';
    first_ = false;
  }

  void key(std::string_view name);
  void value(std::string_view text);
  void value(int number);
  void value(bool truth);
  void value(double number);
  void value(const std::optional<double>& number);

  template <class Value>
  void member(std::string_view name, const Value& content) {
    key(name);
    value(content);
  }
  void member(std::string_view name, const char* content) {
    member(name, std::string_view(content));
  }
  void member(std::string_view name, const std::string& content) {
    member(name, std::string_view(content));
  }
  // null for an empty text.
  void member_or_null(std::string_view name, std::string_view content);

  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void separate();
  void append_quoted(std::string_view text);

  std::string text_;
  bool first_ = true;  // nothing has been written in the innermost object or array
  bool after_key_ = false;
};

// 16 digits.
[[nodiscard]] std::string hexadecimal(std::uint64_t number);

}  // namespace mcp::query
