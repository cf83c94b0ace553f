// borrowed_state.cpp: the settings and objects that belong to one connection, by the names that
// SQLite's authorizer gives them.
#include "sqlite/borrowed_state.h"

#include <sqlite3.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "sqlite/sqlite_error.h"

namespace mcp::sqlite {
namespace {

// Of the PRAGMAs with an argument these read, or write to the file alone. Whatever is not known
// counts as a setting.
constexpr std::string_view kNoSettings[] = {
    "application_id", "foreign_key_check", "foreign_key_list", "incremental_vacuum",
    "index_info",     "index_list",        "index_xinfo",      "integrity_check",
    "optimize",       "quick_check",       "table_info",       "table_list",
    "table_xinfo",    "user_version",      "wal_checkpoint"};

constexpr std::string_view kOfTheProcess[] = {"data_store_directory", "hard_heap_limit",
                                              "soft_heap_limit", "temp_store_directory"};

constexpr std::string_view kFunctions[] = {"fts3_tokenizer", "load_extension"};

template <std::size_t n>
bool is_one_of(const std::string_view (&names)[n], const char* name) noexcept {
  return std::any_of(std::begin(names), std::end(names), [name](std::string_view one) {
    return sqlite3_stricmp(name, one.data()) == 0;
  });
}

Trace trace_of_pragma(const char* name, const char* argument) noexcept {
  if (argument == nullptr || name == nullptr || is_one_of(kNoSettings, name)) return Trace::kNone;
  return is_one_of(kOfTheProcess, name) ? Trace::kProcess : Trace::kConnection;
}

// Whether what is written to this database is seen by its connection alone.
bool is_private(sqlite3* db, const char* schema) noexcept {
  if (schema == nullptr || sqlite3_stricmp(schema, "main") == 0) return false;
  if (sqlite3_stricmp(schema, "temp") == 0) return true;
  const char* file = sqlite3_db_filename(db, schema);
  return file == nullptr || *file == '\0';
}

const Changes& changes_of(sqlite3_context* context) noexcept {
  return *static_cast<const Changes*>(sqlite3_user_data(context));
}

long long since(sqlite3_context* context) noexcept {
  return sqlite3_total_changes64(sqlite3_context_db_handle(context)) - changes_of(context).before();
}

void total_changes(sqlite3_context* context, int, sqlite3_value**) noexcept {
  sqlite3_result_int64(context, since(context));
}

void changes(sqlite3_context* context, int, sqlite3_value**) noexcept {
  sqlite3* db = sqlite3_context_db_handle(context);
  sqlite3_result_int64(context, since(context) == 0 ? 0 : sqlite3_changes64(db));
}

}  // namespace

Trace trace_of(sqlite3* db, int action, const char* first, const char* second,
               const char* schema) noexcept {
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
      return Trace::kNone;
    case SQLITE_FUNCTION:
      return is_one_of(kFunctions, second) ? Trace::kConnection : Trace::kNone;
    case SQLITE_PRAGMA:
      return trace_of_pragma(first, second);
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
      return Trace::kConnection;
    case SQLITE_UPDATE:  // of a schema table: what follows a table of main that gets another name
      return is_private(db, schema) && sqlite3_strnicmp(first, "sqlite_", 7) != 0
                 ? Trace::kConnection
                 : Trace::kNone;
    case SQLITE_ALTER_TABLE:
      return is_private(db, first) ? Trace::kConnection : Trace::kNone;
    default:
      return is_private(db, schema) ? Trace::kConnection : Trace::kNone;
  }
}

std::string trace_name(int action, const char* first) {
  switch (action) {
    case SQLITE_PRAGMA:
      return std::string("PRAGMA ") + first;
    case SQLITE_ATTACH:
      return "ATTACH";
    case SQLITE_DETACH:
      return "DETACH";
    case SQLITE_FUNCTION:
      return "an extension";
    default:
      return "a temporary object";
  }
}

void Changes::define_on(sqlite3* db) {
  constexpr int kFlags = SQLITE_UTF8 | SQLITE_INNOCUOUS;
  int code = sqlite3_create_function_v2(db, "changes", 0, kFlags, this, changes, nullptr, nullptr,
                                        nullptr);
  if (code == SQLITE_OK) {
    code = sqlite3_create_function_v2(db, "total_changes", 0, kFlags, this, total_changes, nullptr,
                                      nullptr, nullptr);
  }
  if (code != SQLITE_OK) throw sqlite_error(db, code);
}

void Changes::forget(sqlite3* db) noexcept {
  before_ = sqlite3_total_changes64(db);
  sqlite3_set_last_insert_rowid(db, 0);
}

}  // namespace mcp::sqlite
