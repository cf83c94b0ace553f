// database_options.h: how every connection of a pool is opened.
#pragma once

#include <string>

#include "base/clock.h"

namespace mcp::sqlite {

enum class Role { kWriter, kReader };

struct DatabaseOptions {
  std::string path;  // a file name or a `file:` URI
  bool wal = true;
  int cache_pages = 10'000;
  std::string synchronous = "FULL";
  Duration busy_timeout_ns = 5 * kSecond;
  bool memory = false;  // path names a private in-memory database shared by the pool
  // Opens no file but the one that Pool::expect() names, and leaves the log beside it when it
  // closes it, unless Freshness::delete_log_at_close() was called.
  bool guarded = false;
};

}  // namespace mcp::sqlite
