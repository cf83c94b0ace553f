// reply.cpp: the kinds of error replies.
#include "redis/reply.h"

#include <algorithm>
#include <array>

namespace mcp::redis {

std::string_view error_code(std::string_view error_text) noexcept {
  return error_text.substr(0, error_text.find_first_of(" \r\n"));
}

namespace {

// What a command in a script was refused for. Before version 7 a server puts the script's name and
// line in front of it.
std::string_view cause_of(std::string_view text) noexcept {
  constexpr std::string_view kScript = "@user_script:";
  if (!text.starts_with("ERR ")) return text;
  std::size_t place = text.find(kScript);
  while (place != std::string_view::npos) {
    const std::size_t end = text.find(": ", place + kScript.size());
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 2);
    place = text.starts_with(kScript) ? 0 : std::string_view::npos;  // once, or twice
  }
  if (text.starts_with("-")) text.remove_prefix(1);
  return text;
}

}  // namespace

std::string_view refusal_of(std::string_view error_text) noexcept {
  return error_code(cause_of(error_text));
}

Error error_of(std::string_view error_text) {
  static constexpr std::array<std::string_view, 15> kUnavailable = {
      "LOADING",  "MASTERDOWN", "BUSY",   "TRYAGAIN", "CLUSTERDOWN",
      "NOAUTH",   "WRONGPASS",  "NOPERM", "OOM",      "MISCONF",
      "READONLY", "MOVED",      "ASK",    "DENIED",   "CROSSSLOT"};
  const std::string_view code = refusal_of(error_text);
  std::string message = "redis answered: " + std::string(error_text);
  if (code == "MOVED" || code == "ASK" || code == "CROSSSLOT") {
    message += " (a Redis Cluster: its URL is redis+cluster://...)";
  }
  if (std::find(kUnavailable.begin(), kUnavailable.end(), code) != kUnavailable.end()) {
    return {ErrorKind::kBackendUnavailable, message};
  }
  if (code == "WRONGTYPE") return {ErrorKind::kProtocol, message};
  return {ErrorKind::kCache, message};
}

}  // namespace mcp::redis
