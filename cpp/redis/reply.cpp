// reply.cpp: the kinds of error replies.
#include "redis/reply.h"

#include <algorithm>
#include <array>

namespace mcp::redis {

std::string_view error_code(std::string_view error_text) noexcept {
  return error_text.substr(0, error_text.find_first_of(" \r\n"));
}

Error error_of(std::string_view error_text) {
  static constexpr std::array<std::string_view, 14> kUnavailable = {
      "LOADING", "MASTERDOWN", "BUSY",    "TRYAGAIN", "CLUSTERDOWN", "NOAUTH", "WRONGPASS",
      "NOPERM",  "OOM",        "MISCONF", "READONLY", "MOVED",       "ASK",    "DENIED"};
  const std::string_view code = error_code(error_text);
  const std::string message = "redis answered: " + std::string(error_text);
  if (std::find(kUnavailable.begin(), kUnavailable.end(), code) != kUnavailable.end()) {
    return {ErrorKind::kBackendUnavailable, message};
  }
  if (code == "WRONGTYPE") return {ErrorKind::kProtocol, message};
  return {ErrorKind::kCache, message};
}

}  // namespace mcp::redis
