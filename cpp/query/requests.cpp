// requests.cpp: virtual tables whose xBestIndex notes what it is asked.
#include "query/requests.h"

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "sqlite/tokenizer.h"

namespace mcp::query {
namespace {

constexpr int kMostRequests = 256;
constexpr int kColumnsToldApart = 63;

struct Recording {
  const Schema& schema;
  std::vector<LookupRequest> requests;
};

struct RecorderTable {
  sqlite3_vtab base;
  Recording* recording;
  const Table* table;
};

void add_column(std::vector<RequestedColumn>& columns, RequestedColumn column) {
  const bool known = std::any_of(columns.begin(), columns.end(), [&column](const auto& other) {
    return other.column == column.column;
  });
  if (!known) columns.push_back(std::move(column));
}

int on_connect(sqlite3* db, void* context, int count, const char* const* arguments,
               sqlite3_vtab** result, char**) {
  auto* recording = static_cast<Recording*>(context);
  if (count < 3) return SQLITE_ERROR;
  const Table* table = recording->schema.find(arguments[2]);
  if (table == nullptr) return SQLITE_ERROR;
  std::string columns;
  for (const Column& column : table->columns) {
    columns += (columns.empty() ? "" : ", ") + as_identifier(column.name) + " " + column.type +
               " COLLATE " + as_identifier(column.collation) + (column.not_null ? " NOT NULL" : "");
  }
  const int code = sqlite3_declare_vtab(db, ("CREATE TABLE t(" + columns + ")").c_str());
  if (code != SQLITE_OK) return code;
  *result = &(new RecorderTable{{}, recording, table})->base;
  return SQLITE_OK;
}

int on_disconnect(sqlite3_vtab* base) {
  delete reinterpret_cast<RecorderTable*>(base);
  return SQLITE_OK;
}

// Takes one comparison up into the request; answers whether an index could serve it.
bool take(LookupRequest& request, const sqlite3_index_info* info, int number,
          const char* collation) {
  const auto& constraint = info->aConstraint[number];
  if (constraint.usable == 0 || constraint.iColumn < 0) return false;
  RequestedColumn column{.column = constraint.iColumn, .collation = collation};
  switch (constraint.op) {
    case SQLITE_INDEX_CONSTRAINT_EQ:
    case SQLITE_INDEX_CONSTRAINT_IS:
    case SQLITE_INDEX_CONSTRAINT_ISNULL:
      add_column(request.equal, std::move(column));
      return true;
    case SQLITE_INDEX_CONSTRAINT_LIKE:
      column.collation = "NOCASE";
      add_column(request.range, std::move(column));
      return true;
    case SQLITE_INDEX_CONSTRAINT_GLOB:
    case SQLITE_INDEX_CONSTRAINT_GT:
    case SQLITE_INDEX_CONSTRAINT_GE:
    case SQLITE_INDEX_CONSTRAINT_LT:
    case SQLITE_INDEX_CONSTRAINT_LE:
      add_column(request.range, std::move(column));
      return true;
    default:
      return false;
  }
}

int on_best_index(sqlite3_vtab* base, sqlite3_index_info* info) {
  auto* recorder = reinterpret_cast<RecorderTable*>(base);
  const Table& table = *recorder->table;
  LookupRequest request{.table = table.name, .equal = {}, .range = {}, .order = {}, .used = {}};
  int argument = 0;
  for (int i = 0; i < info->nConstraint; ++i) {
    const char* collation = sqlite3_vtab_collation(info, i);
    if (take(request, info, i, collation == nullptr ? "BINARY" : collation)) {
      // Claiming a comparison with another table makes SQLite ask again without it.
      info->aConstraintUsage[i].argvIndex = ++argument;
    }
  }
  for (int i = 0; i < info->nOrderBy; ++i) {
    const auto& term = info->aOrderBy[i];
    if (term.iColumn < 0) break;
    add_column(request.order,
               {.column = term.iColumn,
                .collation = table.columns[static_cast<std::size_t>(term.iColumn)].collation,
                .descending = term.desc != 0});
  }
  const int columns = static_cast<int>(table.columns.size());
  for (int i = 0; i < std::min(columns, kColumnsToldApart); ++i) {
    if ((info->colUsed >> i & 1U) != 0) request.used.push_back(i);
  }
  request.all_used_known = columns <= kColumnsToldApart;
  auto& requests = recorder->recording->requests;
  if (requests.size() < kMostRequests) requests.push_back(std::move(request));
  info->estimatedCost = argument > 0 ? 10.0 : 1'000'000.0;
  info->estimatedRows = argument > 0 ? 10 : 1'000'000;
  return SQLITE_OK;
}

// Rows are never read or written: statements are compiled and thrown away.
int on_open(sqlite3_vtab*, sqlite3_vtab_cursor** cursor) {
  *cursor = new sqlite3_vtab_cursor{};
  return SQLITE_OK;
}
int on_close(sqlite3_vtab_cursor* cursor) {
  delete cursor;
  return SQLITE_OK;
}
int on_filter(sqlite3_vtab_cursor*, int, const char*, int, sqlite3_value**) { return SQLITE_OK; }
int on_next(sqlite3_vtab_cursor*) { return SQLITE_OK; }
int on_eof(sqlite3_vtab_cursor*) { return 1; }
int on_column(sqlite3_vtab_cursor*, sqlite3_context*, int) { return SQLITE_OK; }
int on_rowid(sqlite3_vtab_cursor*, sqlite3_int64*) { return SQLITE_OK; }
int on_update(sqlite3_vtab*, int, sqlite3_value**, sqlite3_int64*) { return SQLITE_READONLY; }

const sqlite3_module* recorder_module() {
  static const sqlite3_module module = [] {
    sqlite3_module made{};
    made.xCreate = &on_connect;
    made.xConnect = &on_connect;
    made.xBestIndex = &on_best_index;
    made.xDisconnect = &on_disconnect;
    made.xDestroy = &on_disconnect;
    made.xOpen = &on_open;
    made.xClose = &on_close;
    made.xFilter = &on_filter;
    made.xNext = &on_next;
    made.xEof = &on_eof;
    made.xColumn = &on_column;
    made.xRowid = &on_rowid;
    made.xUpdate = &on_update;
    return made;
  }();
  return &module;
}

// A virtual table is itself, empty; with it come its shadow tables.
void copy_virtual_table(sqlite3* source, sqlite3* db, const std::string& name) {
  const Statement table =
      prepare(source, "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1");
  bind_text(table.get(), 1, name);
  try {
    if (step(table.get())) execute(db, column_text(table.get(), 0));
  } catch (const Error&) {
    return;  // its module is not at hand: the statement cannot be compiled either
  }
}

// Views are those of the original: SQLite looks through them.
void copy_views(sqlite3* source, sqlite3* db) {
  const Statement views =
      prepare(source, "SELECT sql FROM main.sqlite_schema WHERE type = 'view' ORDER BY rowid");
  while (step(views.get())) {
    try {
      execute(db, column_text(views.get(), 0));
    } catch (const Error&) {
      continue;  // over something that is not here: not this statement's view
    }
  }
}

// The statement without what SQLite refuses of virtual tables and what looks nothing up: ON
// CONFLICT and RETURNING.
std::string for_virtual_tables(std::string_view sql) {
  std::string kept;
  int depth = 0;
  sqlite::Tokenizer tokens(sql);
  for (sqlite::Token token = tokens.next(); token.kind != sqlite::TokenKind::kEnd;
       token = tokens.next()) {
    sqlite::Tokenizer ahead = tokens;
    if (token.is('(')) ++depth;
    if (token.is(')')) --depth;
    if (depth == 0 && token.is("RETURNING")) break;
    if (depth == 0 && token.is("ON") && ahead.next().is("CONFLICT")) break;
    kept.append(kept.empty() ? "" : " ").append(token.text);
  }
  return kept;
}

}  // namespace

std::vector<LookupRequest> lookup_requests(sqlite3* source, const Schema& schema,
                                           std::string_view sql) {
  Recording recording{schema, {}};
  const Database db = open_memory();
  try {
    if (sqlite3_create_module_v2(db.get(), "recorder", recorder_module(), &recording, nullptr) !=
        SQLITE_OK) {
      throw std::bad_alloc();
    }
    for (const auto& [name, table] : schema.tables()) {
      if (table.kind == TableKind::kVirtual) copy_virtual_table(source, db.get(), table.name);
      if (table.kind != TableKind::kTable) continue;
      execute(db.get(), "CREATE VIRTUAL TABLE " + as_identifier(table.name) + " USING recorder");
    }
    copy_views(source, db.get());
    static_cast<void>(prepare(db.get(), for_virtual_tables(sql)));
  } catch (const Error&) {
    recording.requests.clear();
  }
  return std::move(recording.requests);
}

}  // namespace mcp::query
