// json_text.cpp: looks for values in JSON text, byte by byte.
#include "loadtest/json_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>

namespace mcp::loadtest {
namespace {

bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  [[nodiscard]] char peek() noexcept {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char wanted) noexcept {
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }
  // What is between the quotes. REQUIRES: peek() == '"'.
  std::optional<std::string_view> string() noexcept {
    const std::size_t from = ++at_;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\\') {
        ++at_;
      } else if (text_[at_] == '"') {
        return text_.substr(from, at_++ - from);
      }
    }
    return std::nullopt;
  }
  // Passes over a value, however deep it is; the value.
  std::optional<std::string_view> value() noexcept {
    const char first = peek();
    const std::size_t from = at_;
    if (first == '{' || first == '[') {
      if (!skip_nested()) return std::nullopt;
    } else if (first == '"') {
      if (!string()) return std::nullopt;
    } else {
      at_ = std::min(text_.find_first_of(",]} \t\r\n", at_), text_.size());
    }
    if (at_ == from) return std::nullopt;
    return text_.substr(from, at_ - from);
  }

 private:
  bool skip_nested() noexcept {
    for (std::size_t depth = 0; at_ < text_.size();) {
      const char c = text_[at_];
      if (c == '"') {
        if (!string()) return false;
        continue;
      }
      ++at_;
      if (c == '{' || c == '[') ++depth;
      if ((c == '}' || c == ']') && --depth == 0) return true;
    }
    return false;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

int hex_digits(std::string_view text) noexcept {
  int value = -1;
  if (text.size() < 4) return -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + 4, value, 16);
  return error == std::errc() && end == text.data() + 4 ? value : -1;
}

void append_utf8(std::string& out, std::uint32_t c) {
  const auto put = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xc0 | c >> 6);
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
  }
  put(0x80 | (c & 0x3f));
}

// Takes the next event off the front of `stream`. Its data, empty if it has none; nothing when no
// event is whole, or with `last` when nothing is left.
std::optional<std::string> next_event(std::string_view& stream, bool last) {
  std::string data;
  std::string_view rest = stream;
  while (!rest.empty()) {
    const std::size_t end = rest.find_first_of("\r\n");
    if (end == std::string_view::npos && !last) return std::nullopt;
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(line.size());
    rest.remove_prefix(rest.starts_with("\r\n") ? 2 : rest.empty() ? 0 : 1);
    if (line.starts_with("data:")) data.append(line.substr(5)).append("\n");
    if (line.empty() || (last && rest.empty())) {
      stream = rest;
      return data;
    }
  }
  return std::nullopt;
}

// The character of the escape whose letter is at `text[at]`; leaves `at` on its last character.
void append_escape(std::string& out, std::string_view text, std::size_t& at) {
  constexpr std::string_view kLetters = "bfnrt";
  constexpr std::string_view kMeanings = "\b\f\n\r\t";
  if (const std::size_t known = kLetters.find(text[at]); known != std::string_view::npos) {
    out += kMeanings[known];
    return;
  }
  const int first = text[at] == 'u' ? hex_digits(text.substr(at + 1)) : -1;
  if (first < 0) {
    out += text[at];
    return;
  }
  at += 4;
  auto c = static_cast<std::uint32_t>(first);
  if (c >= 0xd800 && c < 0xe000) {
    const bool pair = c < 0xdc00 && text.substr(at + 1, 2) == "\\u";
    const int second = pair ? hex_digits(text.substr(at + 3)) : -1;
    if (second >= 0xdc00 && second < 0xe000) {
      c = 0x10000 + ((c - 0xd800) << 10) + (static_cast<std::uint32_t>(second) - 0xdc00);
      at += 6;
    } else {
      c = 0xfffd;
    }
  }
  append_utf8(out, c);
}

std::string decoded(std::string_view raw) {
  std::string out;
  out.reserve(raw.size());
  for (std::size_t at = 0; at < raw.size(); ++at) {
    if (raw[at] == '\\' && at + 1 < raw.size()) {
      append_escape(out, raw, ++at);
    } else {
      out += raw[at];
    }
  }
  return out;
}

// Leaves the cursor before the value of `key`.
bool enter_object(Cursor& cursor, const std::string& key) {
  if (!cursor.take('{')) return false;
  while (cursor.peek() == '"') {
    const auto name = cursor.string();
    if (!name || !cursor.take(':')) return false;
    const bool escaped = name->find('\\') != std::string_view::npos;
    if (escaped ? decoded(*name) == key : *name == key) return true;
    if (!cursor.value() || !cursor.take(',')) return false;
  }
  return false;
}

bool enter_array(Cursor& cursor, const std::string& index) {
  std::size_t left = 0;
  const auto [end, error] = std::from_chars(index.data(), index.data() + index.size(), left);
  if (error != std::errc() || end != index.data() + index.size() || !cursor.take('[')) return false;
  for (; left > 0; --left) {
    if (!cursor.value() || !cursor.take(',')) return false;
  }
  return cursor.peek() != ']';
}

}  // namespace

std::optional<std::string_view> find_json(std::string_view text, const JsonPath& path) {
  Cursor cursor(text);
  for (const std::string& step : path) {
    const bool found =
        cursor.peek() == '[' ? enter_array(cursor, step) : enter_object(cursor, step);
    if (!found) return std::nullopt;
  }
  return cursor.value();
}

std::optional<std::string> find_json_in_answer(std::string_view body, const JsonPath& path) {
  Cursor cursor(body);
  const char first = cursor.peek();
  // No JSON value of an answer begins like a line of an event stream.
  if (first != 'd' && first != 'e' && first != 'i' && first != 'r' && first != ':') {
    const auto found = find_json(body, path);
    return found ? std::optional<std::string>(*found) : std::nullopt;
  }
  while (const auto event = next_event(body, true)) {
    if (const auto found = find_json(*event, path)) return std::string(*found);
  }
  return std::nullopt;
}

std::size_t count_events(std::string_view body) {
  std::size_t count = 0;
  while (const auto event = next_event(body, false)) count += !event->empty();
  return count;
}

std::string json_as_text(std::string_view value) {
  if (value.size() < 2 || value.front() != '"') return std::string(value);
  return decoded(value.substr(1, value.size() - 2));
}

void append_json_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned char>(c));
      out += escape.data();
    } else {
      out += c;
    }
  }
}

}  // namespace mcp::loadtest
