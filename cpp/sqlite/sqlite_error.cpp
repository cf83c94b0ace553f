// sqlite_error.cpp: the kind of error behind each of SQLite's codes.
#include "sqlite/sqlite_error.h"

#include <sqlite3.h>

#include <new>

namespace mcp::sqlite {
namespace {

ErrorKind kind_of(int code) noexcept {
  switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
      return ErrorKind::kIntegrity;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorKind::kDatabaseCorrupt;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorKind::kPoolTimeout;
    default:
      return ErrorKind::kQuery;
  }
}

}  // namespace

Error sqlite_error(sqlite3* db, int code) {
  if ((code & 0xff) == SQLITE_NOMEM) throw std::bad_alloc();
  const bool has_message = db != nullptr && sqlite3_extended_errcode(db) == code;
  return {kind_of(code), has_message ? sqlite3_errmsg(db) : sqlite3_errstr(code), code};
}

bool is_corruption(int code) noexcept {
  return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

bool breaks_connection(int code) noexcept {
  switch (code & 0xff) {
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
    case SQLITE_MISUSE:
      return true;
    default:
      return is_corruption(code);
  }
}

}  // namespace mcp::sqlite
