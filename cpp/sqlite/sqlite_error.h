// sqlite_error.h: SQLite's result codes as exceptions of this library.
#pragma once

#include <string>

#include "base/error.h"

struct sqlite3;

namespace mcp::sqlite {

// The error for `code` (an extended result code) with SQLite's own message for `db`, which may be
// null. SQLITE_NOMEM throws std::bad_alloc instead of returning.
[[nodiscard]] Error sqlite_error(sqlite3* db, int code);

// True for failures after which the connection itself cannot be trusted: I/O errors, a foreign or
// damaged file, memory that ran out in the middle.
[[nodiscard]] bool breaks_connection(int code) noexcept;
// True when the file is not a sound database.
[[nodiscard]] bool is_corruption(int code) noexcept;

}  // namespace mcp::sqlite
