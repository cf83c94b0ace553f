// fork_guard.h: makes fork() safe for the process and for its databases.
//
// SQLite keeps its file locks in tables of the process. A child inherits the tables but not the
// locks, so a connection that was open at the fork poisons the same file in the child. Therefore
// fork() first closes the connections that nobody is using; they are opened again when they are
// needed. Where one was in use for longer than a moment, the child refuses to open that file.
// SQLite's own mutexes are held across the fork, so that none is left locked in the child.
//
// Safe from any thread.
#pragma once

#include <string>

#include "sqlite/file_watch.h"

namespace mcp::sqlite {

class Pool;

void guard_at_fork(Pool& pool);
// REQUIRES: before the pool goes.
void unguard_at_fork(Pool& pool) noexcept;

// A connection to a database file that no pool can close before a fork, such as one of Python's
// sqlite3: as long as this lives, children refuse the file.
class ForkHold {
 public:
  explicit ForkHold(const std::string& path);
  ~ForkHold();
  ForkHold(const ForkHold&) = delete;
  ForkHold& operator=(const ForkHold&) = delete;

 private:
  FileId id_{};  // zeros where there is no file
};

// Throws Error in a child whose parent had the file open when it forked.
void check_not_inherited(const std::string& path);

}  // namespace mcp::sqlite
