// borrowed_state.h: what a statement leaves behind on the connection that it runs on, for whoever
// has the connection next.
//
// SQLite's authorizer names all that a statement touches while it is prepared; many a PRAGMA takes
// effect then and not when it is stepped, so that is the moment to refuse it. What lies in the file
// of a database is not state of a connection, and an open transaction is ended by the pool.
//
// Pure functions, safe from any thread that has the connection.
#pragma once

#include <string>

struct sqlite3;

namespace mcp::sqlite {

enum class Trace {
  kNone,
  kConnection,  // a changed setting, a temporary object, an attached database
  kProcess,     // a setting of all connections of the process
};

// One call of the authorizer, with its arguments.
[[nodiscard]] Trace trace_of(sqlite3* db, int action, const char* first, const char* second,
                             const char* schema) noexcept;

// What to call it in a message: "PRAGMA foreign_keys", "ATTACH", "a temporary object".
[[nodiscard]] std::string trace_name(int action, const char* first);

// Makes changes(), total_changes() and last_insert_rowid() speak of what came after the last
// forget_changes() alone. SQLite can set back the last of the three only.
class Changes {
 public:
  // Throws Error. The handle is closed before this goes.
  void define_on(sqlite3* db);
  void forget(sqlite3* db) noexcept;
  [[nodiscard]] long long before() const noexcept { return before_; }

 private:
  long long before_ = 0;  // of all changes that the connection ever made
};

}  // namespace mcp::sqlite
