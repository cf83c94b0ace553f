// reply.h: what a Redis server answered, as a plain value, and how its error replies are typed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace mcp::redis {

struct Reply {
  enum class Kind { kNil, kString, kStatus, kError, kInteger, kArray };

  Kind kind = Kind::kNil;
  std::int64_t integer = 0;
  std::string text;          // of a string, a status or an error
  std::vector<Reply> items;  // of an array

  [[nodiscard]] bool is_nil() const noexcept { return kind == Kind::kNil; }
  [[nodiscard]] bool is_error() const noexcept { return kind == Kind::kError; }
};

// The first word of an error reply: LOADING, NOAUTH, OOM, READONLY, MOVED, WRONGTYPE, ERR, ...
[[nodiscard]] std::string_view error_code(std::string_view error_text) noexcept;

// The same of what a command was refused for inside a script, where the text tells of one.
[[nodiscard]] std::string_view refusal_of(std::string_view error_text) noexcept;

// The exception for an error reply. States of the server that pass (LOADING, MASTERDOWN, BUSY,
// TRYAGAIN, CLUSTERDOWN), that an operator must end (NOAUTH, WRONGPASS, NOPERM, OOM, MISCONF,
// READONLY) or that name another server (MOVED, ASK, CROSSSLOT) are kBackendUnavailable; WRONGTYPE,
// a key that holds something else than was stored there, is kProtocol; a refused command is kCache.
[[nodiscard]] Error error_of(std::string_view error_text);

}  // namespace mcp::redis
