// handle.h: owning handles of SQLite's C API, opened the ways that the analysis needs.
//
// Thread-compatible: a handle and its statements belong to one thread at a time. The analyzer never
// shares the connections of a pool; it opens its own and closes them before it returns.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace mcp::query {

struct CloseDatabase {
  void operator()(sqlite3* db) const noexcept { sqlite3_close_v2(db); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

// Opens a file, or a `file:` URI, that exists; nothing is ever written to it: read-only, DEFENSIVE,
// query_only. Throws Error.
[[nodiscard]] Database open_read_only(const std::string& path);
// The same, for trusted statements. A reader of a file in WAL mode makes two files beside it; where
// none is there yet, the connection may write, so that it takes them away when it is closed.
// query_only holds all the same. Throws Error.
[[nodiscard]] Database open_and_leave_nothing(const std::string& path);

// An empty database in memory, private to the caller.
[[nodiscard]] Database open_memory();

// Compiles exactly one statement. Functions and collations that only the application has are
// stood in for: enough to plan, not to run. Throws Error (kQuery) for text that SQLite refuses,
// for no statement and for more than one; its message holds no literal.
[[nodiscard]] Statement prepare(sqlite3* db, std::string_view sql);

// True when prepare() has stood in for a collation on this connection: then no order is right.
[[nodiscard]] bool has_stand_in_collations(sqlite3* db) noexcept;

// Runs one statement of the analyzer's own to its end. Throws Error.
void execute(sqlite3* db, std::string_view sql);
// The first column of the first row; `otherwise` when there is none or it is NULL.
[[nodiscard]] std::int64_t query_int(sqlite3* db, std::string_view sql, std::int64_t otherwise = 0);

// True: a row. Throws Error.
bool step(sqlite3_stmt* statement);
[[nodiscard]] std::string column_text(sqlite3_stmt* statement, int column);

void bind_text(sqlite3_stmt* statement, int number, std::string_view text);

// "a""b" for a"b.
[[nodiscard]] std::string as_identifier(std::string_view identifier);
// The identifier as it is where it needs no quotes.
[[nodiscard]] std::string quoted_if_needed(std::string_view identifier);

// Without case, as SQLite compares names.
[[nodiscard]] bool same_name(std::string_view a, std::string_view b) noexcept;
[[nodiscard]] std::string lower(std::string_view text);

}  // namespace mcp::query
