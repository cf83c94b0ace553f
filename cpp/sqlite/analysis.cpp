// analysis.cpp: what the authorizer and the opcodes tell of a statement.
#include "sqlite/analysis.h"

#include <sqlite3.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string_view>

namespace mcp::sqlite {
namespace {

// An allow-list: the date functions carry SQLite's deterministic flag and are not ('now').
constexpr std::string_view kPure[] = {"abs",
                                      "acos",
                                      "acosh",
                                      "asin",
                                      "asinh",
                                      "atan",
                                      "atan2",
                                      "atanh",
                                      "avg",
                                      "ceil",
                                      "ceiling",
                                      "char",
                                      "coalesce",
                                      "concat",
                                      "concat_ws",
                                      "cos",
                                      "cosh",
                                      "count",
                                      "cume_dist",
                                      "degrees",
                                      "dense_rank",
                                      "exp",
                                      "first_value",
                                      "floor",
                                      "format",
                                      "glob",
                                      "group_concat",
                                      "hex",
                                      "ifnull",
                                      "iif",
                                      "instr",
                                      "json",
                                      "json_array",
                                      "json_array_length",
                                      "json_extract",
                                      "json_group_array",
                                      "json_group_object",
                                      "json_insert",
                                      "json_object",
                                      "json_patch",
                                      "json_quote",
                                      "json_remove",
                                      "json_replace",
                                      "json_set",
                                      "json_type",
                                      "json_valid",
                                      "->",
                                      "->>",
                                      "lag",
                                      "last_value",
                                      "lead",
                                      "length",
                                      "like",
                                      "likelihood",
                                      "likely",
                                      "ln",
                                      "log",
                                      "log10",
                                      "log2",
                                      "lower",
                                      "ltrim",
                                      "max",
                                      "min",
                                      "mod",
                                      "nth_value",
                                      "ntile",
                                      "nullif",
                                      "octet_length",
                                      "percent_rank",
                                      "pi",
                                      "pow",
                                      "power",
                                      "printf",
                                      "quote",
                                      "radians",
                                      "rank",
                                      "replace",
                                      "round",
                                      "row_number",
                                      "rtrim",
                                      "sign",
                                      "sin",
                                      "sinh",
                                      "soundex",
                                      "sqrt",
                                      "string_agg",
                                      "substr",
                                      "substring",
                                      "sum",
                                      "tan",
                                      "tanh",
                                      "total",
                                      "trim",
                                      "trunc",
                                      "typeof",
                                      "unhex",
                                      "unicode",
                                      "unlikely",
                                      "upper",
                                      "zeroblob"};

bool starts_with(const char* text, const char* prefix) {
  return sqlite3_strnicmp(text, prefix, static_cast<int>(std::strlen(prefix))) == 0;
}

void add(std::vector<TableId>& set, TableId id) {
  if (std::find(set.begin(), set.end(), id) == set.end()) set.push_back(id);
}

// What EXPLAIN shows of a program: whether it touches nothing but ordinary tables of the main
// database.
bool reads_main_only(sqlite3* db, const char* sql) {
  const std::string explanation = std::string("EXPLAIN ") + sql;
  sqlite3_stmt* explain = nullptr;
  if (sqlite3_prepare_v2(db, explanation.c_str(), -1, &explain, nullptr) != SQLITE_OK) return false;
  bool main_only = true;
  int code;
  while ((code = sqlite3_step(explain)) == SQLITE_ROW) {
    const std::string_view opcode = reinterpret_cast<const char*>(sqlite3_column_text(explain, 1));
    if (opcode == "Transaction")
      main_only &= sqlite3_column_int(explain, 2) == 0;
    else if (opcode == "OpenRead")
      main_only &= sqlite3_column_int(explain, 4) == 0;
    else if (opcode == "VOpen" || opcode == "VFilter")
      main_only = false;
  }
  sqlite3_finalize(explain);
  return main_only && code == SQLITE_DONE;
}

// True unless main."<name>" is an ordinary table, or no table.
bool is_virtual(sqlite3* db, const std::string& name) {
  if (sqlite3_table_column_metadata(db, "main", name.c_str(), nullptr, nullptr, nullptr, nullptr,
                                    nullptr, nullptr) != SQLITE_OK) {
    return false;
  }
  const std::unique_ptr<char, decltype(&sqlite3_free)> sql(
      sqlite3_mprintf("SELECT 1 FROM main.\"%w\"", name.c_str()), sqlite3_free);
  return sql == nullptr || !reads_main_only(db, sql.get());
}

std::string lower_case(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace

bool is_pure_function(const char* name) {
  return std::any_of(std::begin(kPure), std::end(kPure), [name](std::string_view pure) {
    return sqlite3_stricmp(name, pure.data()) == 0;
  });
}

TableId Analysis::id_of(const char* table) { return freshness_->table(table); }

void Analysis::see_read(const char* table) {
  const TableId id = id_of(table);
  if (std::find(facts_.reads.begin(), facts_.reads.end(), id) != facts_.reads.end()) return;
  facts_.reads.push_back(id);
  if (std::strchr(table, '_') != nullptr) compound_names_.emplace_back(table);
}

void Analysis::see(int action, const char* first, const char* second, const char* schema) {
  seen_ = true;
  const bool main = schema == nullptr || sqlite3_stricmp(schema, "main") == 0;
  switch (action) {
    case SQLITE_READ:
      if (!main || starts_with(first, "sqlite_"))
        pure_ = false;
      else if (freshness_ != nullptr)
        see_read(first);
      break;
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE:
      break;
    case SQLITE_FUNCTION:
      if (!is_pure_function(second) || user_functions_.contains(lower_case(second))) pure_ = false;
      break;
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
      pure_ = false;
      // Writing the schema table is DDL.
      if (starts_with(first, "sqlite_"))
        facts_.writes.everything = true;
      else if (freshness_ != nullptr)
        add(facts_.writes.tables, id_of(first));
      break;
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
      pure_ = false;
      facts_.controls_transaction = true;
      break;
    case SQLITE_PRAGMA:
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
      pure_ = false;
      facts_.outside_transaction = true;
      facts_.writes.everything = true;
      break;
    default:  // DDL of every kind, ANALYZE, REINDEX
      pure_ = false;
      facts_.writes.everything = true;
      break;
  }
}

bool Analysis::reads_shadow_table(sqlite3* db) const {
  return std::any_of(compound_names_.begin(), compound_names_.end(), [db](const std::string& name) {
    for (auto end = name.find('_'); end != std::string::npos; end = name.find('_', end + 1)) {
      if (is_virtual(db, name.substr(0, end))) return true;
    }
    return false;
  });
}

std::shared_ptr<const Dependencies> Analysis::finish(sqlite3_stmt* statement) {
  const bool readonly = sqlite3_stmt_readonly(statement) != 0;
  // VACUUM reaches the authorizer with nothing: it writes and names no table.
  if (!readonly && facts_.writes.tables.empty() && !facts_.writes.everything &&
      !facts_.controls_transaction) {
    facts_.writes.everything = true;
    facts_.outside_transaction = true;
  }
  facts_.cacheable = readonly && pure_ && freshness_ != nullptr && !facts_.reads.empty() &&
                     reads_main_only(sqlite3_db_handle(statement), sqlite3_sql(statement)) &&
                     !reads_shadow_table(sqlite3_db_handle(statement));
  return std::make_shared<const Dependencies>(std::move(facts_));
}

}  // namespace mcp::sqlite
