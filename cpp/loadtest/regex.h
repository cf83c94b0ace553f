// regex.h: regular expressions over answers, with PCRE2, whose library is looked for when the first
// one is made: a build needs none of it. Bytes, not characters. A match that would take too many
// steps is none, so that no answer can hold a generator. Immutable: safe to share between threads.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mcp::loadtest {

class Regex {
 public:
  // Throws Error on a pattern that is none, and where there is no library.
  explicit Regex(const std::string& pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // The first group of the first match, or all of it where the pattern has no group.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view text) const;

 private:
  void* code_;
};

}  // namespace mcp::loadtest
