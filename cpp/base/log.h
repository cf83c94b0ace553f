// log.h: the rooms' loggers. spdlog writes into one bounded queue; whoever embeds the core takes
// the records out (Python's logging does, see bindings/base/log.cpp). Nothing is printed.
//
// Safe from any thread. Never blocks on the reader: a full queue drops its oldest record and
// counts it. A forked child starts with an empty queue.
#pragma once

#include <spdlog/spdlog.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"

namespace mcp {

struct LogRecord {
  int level;  // spdlog's: 0 trace, 1 debug, 2 info, 3 warning, 4 error, 5 critical
  std::string room;
  std::string message;
};

struct LogBatch {
  std::vector<LogRecord> records;  // oldest first
  std::uint64_t dropped = 0;       // lost to the bound since the last batch
  bool closed = false;
};

inline constexpr std::size_t kLogCapacity = 1024;

// The logger of a room, for example "sqlite". Records below warning are off until
// set_log_level() says otherwise.
[[nodiscard]] spdlog::logger& logger(const std::string& room);
void set_log_level(int level);

// Waits until there is a record, the log is closed, or `timeout` passed.
[[nodiscard]] LogBatch wait_for_log(Duration timeout);
// Wakes whoever waits; wait_for_log() answers `closed` from then on, until reopened.
void close_log();
void reopen_log();

// In a forked child, before any other call: another thread may have held the queue's lock.
void reset_log_after_fork();

}  // namespace mcp
