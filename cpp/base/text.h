// text.h: texts on their way to C, which ends them at the first NUL.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "base/error.h"

namespace mcp {

// How many characters the UTF-8 text has.
[[nodiscard]] inline std::size_t characters_in(std::string_view utf8) noexcept {
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;  // not the rest of a character
  }));
}

// As an error shows a text that a caller gave: on one line, and whole, whatever is in it.
[[nodiscard]] inline std::string on_one_line(std::string_view text) {
  if (text.empty()) return "''";
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      shown += c;
    } else {
      constexpr char kDigits[] = "0123456789abcdef";
      shown += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 0xf]};
    }
  }
  return shown;
}

// Throws Error if the text would be cut: `name` is the parameter that it came in.
inline void refuse_nul(std::string_view name, std::string_view utf8, ErrorKind kind, int code = 0) {
  const std::size_t at = utf8.find('\0');
  if (at == std::string_view::npos) return;
  throw Error(kind,
              std::string(name) + ": a NUL at position " +
                  std::to_string(characters_in(utf8.substr(0, at))) +
                  ", where the text would be cut",
              code);
}

}  // namespace mcp
