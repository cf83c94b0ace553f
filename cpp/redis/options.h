// options.h: where a Redis server is and how long to wait for it.
#pragma once

#include <cstddef>
#include <string>

#include "base/clock.h"
#include "redis/reply_reader.h"

namespace mcp::redis {

struct ClientOptions {
  std::string host = "127.0.0.1";
  int port = 6379;
  std::string unix_path;  // used instead of host and port when it is not empty
  std::string username;   // empty: the default user
  std::string password;   // empty: no AUTH is sent
  int database = 0;
  // From a command's submission, or from the start of a connection, to its end.
  Duration timeout = 250 * kMillisecond;
  // Whether the server announces changes of what was read, for a memory cache in front.
  bool tracking = false;
  // Two of these may pass until a silent peer of the invalidation connection is given up.
  Duration ping_interval = kSecond;
  std::size_t max_in_flight = 1000;
  ReplyLimits limits;

  // For messages; never the password.
  [[nodiscard]] std::string where() const {
    return unix_path.empty() ? host + ":" + std::to_string(port) : unix_path;
  }
};

}  // namespace mcp::redis
