// pool_errors.h: what callers of a pool are told when it cannot serve them.
#pragma once

#include <sqlite3.h>

#include "base/error.h"

namespace mcp::sqlite {

[[nodiscard]] inline Error pool_closed() { return {ErrorKind::kPoolClosed, "the pool is closed"}; }

[[nodiscard]] inline Error no_connection() {
  return {ErrorKind::kPoolTimeout, "no connection came free in time"};
}

[[nodiscard]] inline Error waits_for_itself() {
  return {
      ErrorKind::kDatabase,
      "the caller has the writer itself, and would wait for ever: use the connection of the block "
      "that it is in, whose transaction() nests"};
}

[[nodiscard]] inline Error given_back() {
  return {ErrorKind::kPoolClosed, "the connection was given back to its pool"};
}

[[nodiscard]] inline Error stream_ended() {
  return {ErrorKind::kDatabase,
          "the stream was ended before its last row: its connection was given back"};
}

[[nodiscard]] inline Error stream_is_open() {
  return {
      ErrorKind::kQuery,
      "a stream is open on this connection, and without a write-ahead log a write would wait for "
      "its end: read it to its end first, or use transaction()"};
}

[[nodiscard]] inline Error in_use_elsewhere() {
  return {ErrorKind::kDatabase, "the connection is in use by another thread"};
}

[[nodiscard]] inline Error transaction_lost() {
  return {ErrorKind::kQuery, "the transaction was rolled back by an earlier failure", SQLITE_ABORT};
}

// Another connection's lock, most likely of another process, lasted too long.
[[nodiscard]] inline Error not_unlocked(int code) {
  return {ErrorKind::kPoolTimeout,
          "another connection held the database's lock for the whole time allowed", code};
}

// What was borrowed is of a file that nobody can find any more.
[[nodiscard]] inline Error file_replaced() {
  return {ErrorKind::kDatabase,
          "the database file was replaced while the connection was borrowed: nothing that it has "
          "not committed is kept",
          SQLITE_READONLY_DBMOVED};
}

[[nodiscard]] inline Error written_in_vain() {
  return {ErrorKind::kDatabase,
          "the database file was replaced while a statement wrote to it: what it wrote may not be "
          "in the file that lies there now",
          SQLITE_READONLY_DBMOVED};
}

[[nodiscard]] inline Error file_unexpected() {
  return {ErrorKind::kDatabase, "the database file is not the one that was expected"};
}

[[nodiscard]] inline Error file_damaged() {
  return {ErrorKind::kDatabaseCorrupt,
          "the database file was written over, or lost its log, while it was in use"};
}

[[nodiscard]] inline Error log_replaced() {
  return {ErrorKind::kDatabase, "the log of the database was deleted while it was in use"};
}

[[nodiscard]] inline Error not_finished() {
  return {ErrorKind::kPoolTimeout, "the statement did not finish in time", SQLITE_INTERRUPT};
}

}  // namespace mcp::sqlite
