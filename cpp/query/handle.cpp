// handle.cpp: opens databases read-only, and runs fixed SQL on them.
#include "query/handle.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/error.h"
#include "sqlite/sql_text.h"
#include "sqlite/tokenizer.h"

namespace mcp::query {
namespace {

constexpr int kMostStandIns = 32;
constexpr std::string_view kNoFunction = "no such function: ";

void stand_in_function(sqlite3_context* context, int, sqlite3_value**) {
  sqlite3_result_error(context, "this function is the application's", -1);
}

int stand_in_collation(void*, int left_size, const void* left, int right_size, const void* right) {
  const std::string_view a(static_cast<const char*>(left), static_cast<std::size_t>(left_size));
  const std::string_view b(static_cast<const char*>(right), static_cast<std::size_t>(right_size));
  return a.compare(b);
}

constexpr const char* kStandInMark = "mcp_performance_has_stand_ins";

void mark_stand_ins(sqlite3* db) {
  sqlite3_create_function_v2(db, kStandInMark, 0, SQLITE_UTF8, nullptr, &stand_in_function, nullptr,
                             nullptr, nullptr);
}

void on_collation_needed(void*, sqlite3* db, int, const char* name) {
  sqlite3_create_collation_v2(db, name, SQLITE_UTF8, nullptr, &stand_in_collation, nullptr);
  mark_stand_ins(db);
}

// SQLite's message without what it quotes from the statement, unless that is a name or a keyword.
std::string redacted_message(sqlite3* db) {
  const std::string message = sqlite3_errmsg(db);
  const int offset = sqlite3_error_offset(db);
  const std::string place = offset < 0 ? "" : " at byte " + std::to_string(offset);
  if (message.starts_with("unrecognized token")) return "unrecognized token" + place;
  if (message.starts_with("near \"")) {
    sqlite::Tokenizer tokens(std::string_view(message).substr(6));
    const sqlite::Token token = tokens.next();
    using sqlite::TokenKind;
    const bool tells_nothing = token.kind == TokenKind::kKeyword ||
                               token.kind == TokenKind::kName || token.kind == TokenKind::kOperator;
    return "syntax error near " + (tells_nothing ? std::string(token.text) : "a value") + place;
  }
  return message;
}

[[noreturn]] void fail(sqlite3* db) {
  const int code = db == nullptr ? SQLITE_NOMEM : sqlite3_extended_errcode(db);
  if (code == SQLITE_NOMEM) throw std::bad_alloc();
  const int primary = code & 0xff;
  const bool corrupt = primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB;
  throw Error(corrupt ? ErrorKind::kDatabaseCorrupt : ErrorKind::kQuery, redacted_message(db),
              code);
}

// True when the function that SQLite misses has been stood in for.
bool stand_in_for_missing_function(sqlite3* db) {
  const std::string message = sqlite3_errmsg(db);
  if (!message.starts_with(kNoFunction)) return false;
  const std::string name = message.substr(kNoFunction.size());
  return sqlite3_create_function_v2(db, name.c_str(), -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
                                    nullptr, &stand_in_function, nullptr, nullptr,
                                    nullptr) == SQLITE_OK;
}

Database open(const std::string& path, int flags) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  Database db(raw);
  if (code != SQLITE_OK) fail(raw);
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_collation_needed(raw, nullptr, &on_collation_needed);
  return db;
}

// Nothing of another connection lies beside the file, so there is nothing to recover or to keep.
bool lies_alone(const std::string& path) {
  if (path.starts_with("file:")) return false;  // a URI: it says itself how to open
  std::error_code error;
  return !std::filesystem::exists(path + "-wal", error) && !error &&
         !std::filesystem::exists(path + "-journal", error) && !error;
}

Database opened_for_reading(const std::string& path, int flags) {
  Database db = open(path, flags | SQLITE_OPEN_URI);
  sqlite3_db_config(db.get(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_busy_timeout(db.get(), 1000);
  execute(db.get(), "PRAGMA query_only=1");
  static_cast<void>(query_int(db.get(), "SELECT count(*) FROM sqlite_schema"));
  return db;
}

}  // namespace

Database open_read_only(const std::string& path) {
  return opened_for_reading(path, SQLITE_OPEN_READONLY);
}

Database open_and_leave_nothing(const std::string& path) {
  return opened_for_reading(path, lies_alone(path) ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
}

Database open_memory() {
  Database db = open(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  execute(db.get(), "PRAGMA secure_delete=0");
  execute(db.get(), "PRAGMA temp_store=MEMORY");
  return db;
}

Statement prepare(sqlite3* db, std::string_view sql) {
  sqlite::check_sql(sql);
  const char* tail = nullptr;
  for (int attempt = 0;; ++attempt) {
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v2(db, sql.data(), static_cast<int>(sql.size()), &raw, &tail);
    Statement statement(raw);
    if (code == SQLITE_OK) {
      if (raw == nullptr) throw Error(ErrorKind::kQuery, "there is no statement", SQLITE_MISUSE);
      sqlite::check_single(sql, tail);
      return statement;
    }
    if (attempt >= kMostStandIns || !stand_in_for_missing_function(db)) fail(db);
  }
}

bool has_stand_in_collations(sqlite3* db) noexcept {
  sqlite3_stmt* raw = nullptr;
  const int code =
      sqlite3_prepare_v2(db, "SELECT mcp_performance_has_stand_ins()", -1, &raw, nullptr);
  sqlite3_finalize(raw);
  return code == SQLITE_OK;
}

bool step(sqlite3_stmt* statement) {
  const int code = sqlite3_step(statement);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  fail(sqlite3_db_handle(statement));
}

void execute(sqlite3* db, std::string_view sql) {
  const Statement statement = prepare(db, sql);
  while (step(statement.get())) {
  }
}

std::int64_t query_int(sqlite3* db, std::string_view sql, std::int64_t otherwise) {
  const Statement statement = prepare(db, sql);
  if (!step(statement.get())) return otherwise;
  if (sqlite3_column_type(statement.get(), 0) == SQLITE_NULL) return otherwise;
  return sqlite3_column_int64(statement.get(), 0);
}

std::string column_text(sqlite3_stmt* statement, int column) {
  const unsigned char* text = sqlite3_column_text(statement, column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<std::size_t>(sqlite3_column_bytes(statement, column))};
}

void bind_text(sqlite3_stmt* statement, int number, std::string_view text) {
  sqlite3_bind_text(statement, number, text.data(), static_cast<int>(text.size()),
                    SQLITE_TRANSIENT);
}

std::string as_identifier(std::string_view identifier) {
  std::string text = "\"";
  for (const char c : identifier) {
    if (c == '"') text += c;
    text += c;
  }
  return text += '"';
}

std::string quoted_if_needed(std::string_view identifier) {
  const bool plain = !identifier.empty() &&
                     std::isdigit(static_cast<unsigned char>(identifier[0])) == 0 &&
                     std::all_of(identifier.begin(), identifier.end(),
                                 [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
  return plain && sqlite::find_keyword(identifier).empty() ? std::string(identifier)
                                                           : as_identifier(identifier);
}

bool same_name(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() &&
         sqlite3_strnicmp(a.data(), b.data(), static_cast<int>(a.size())) == 0;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

}  // namespace mcp::query
