// schema.cpp: reads tables, columns and indexes from SQLite's catalogue.
#include "query/schema.h"

#include <algorithm>

#include "sqlite/tokenizer.h"

namespace mcp::query {
namespace {

constexpr std::int64_t kCounted_rows = 10'000;
constexpr std::int64_t kSmallestRow_bytes = 8;

void read_columns(sqlite3* db, Table& table) {
  // hidden: 1 is a virtual table's argument, 2 and 3 are generated columns.
  const Statement statement =
      prepare(db,
              "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1, 'main')"
              " WHERE hidden <> 1");
  bind_text(statement.get(), 1, table.name);
  while (step(statement.get())) {
    Column column{.name = column_text(statement.get(), 0),
                  .type = column_text(statement.get(), 1),
                  .collation = "BINARY"};
    column.affinity = affinity_of(column.type);
    if (table.strict && same_name(column.type, "ANY")) column.affinity = Affinity::kBlob;
    column.not_null = sqlite3_column_int(statement.get(), 2) != 0;
    column.primary_key = sqlite3_column_int(statement.get(), 3);
    column.generated = sqlite3_column_int(statement.get(), 4) != 0;
    const char* collation = nullptr;
    if (table.kind == TableKind::kTable &&
        sqlite3_table_column_metadata(db, "main", table.name.c_str(), column.name.c_str(), nullptr,
                                      &collation, nullptr, nullptr, nullptr) == SQLITE_OK &&
        collation != nullptr) {
      column.collation = collation;
    }
    table.columns.push_back(std::move(column));
  }
}

// What follows WHERE in CREATE INDEX.
std::string condition_of(sqlite3* db, const std::string& index) {
  const Statement made = prepare(
      db, "SELECT sql FROM main.sqlite_schema WHERE type = 'index' AND name = ?1 COLLATE NOCASE");
  bind_text(made.get(), 1, index);
  if (!step(made.get())) return {};
  const std::string sql = column_text(made.get(), 0);
  sqlite::Tokenizer tokens(sql);
  int depth = 0;
  for (sqlite::Token token = tokens.next(); token.kind != sqlite::TokenKind::kEnd;
       token = tokens.next()) {
    if (token.is('(')) ++depth;
    if (token.is(')')) --depth;
    if (depth != 0 || !token.is("WHERE")) continue;
    return sql.substr(static_cast<std::size_t>(token.text.data() - sql.data()) + token.text.size());
  }
  return {};
}

void read_indexes(sqlite3* db, Table& table) {
  const Statement list = prepare(
      db,
      "SELECT name, \"unique\", partial, origin FROM pragma_index_list(?1, 'main') ORDER BY seq");
  bind_text(list.get(), 1, table.name);
  while (step(list.get())) {
    Index index{.name = column_text(list.get(), 0),
                .columns = {},
                .unique = sqlite3_column_int(list.get(), 1) != 0,
                .partial = sqlite3_column_int(list.get(), 2) != 0};
    const Statement keys = prepare(
        db,
        "SELECT name, coll, \"desc\" FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno");
    bind_text(keys.get(), 1, index.name);
    while (step(keys.get())) {
      index.columns.push_back({.name = column_text(keys.get(), 0),
                               .collation = column_text(keys.get(), 1),
                               .descending = sqlite3_column_int(keys.get(), 2) != 0});
    }
    if (index.partial) index.where = condition_of(db, index.name);
    if (column_text(list.get(), 3) == "pk") table.key_has_index = true;
    table.indexes.push_back(std::move(index));
  }
}

std::optional<std::int64_t> rows_by_statistics(sqlite3* db, const std::string& table) {
  // A partial index has fewer rows than its table.
  const Statement statement = prepare(
      db,
      "SELECT max(CAST(stat AS INTEGER)) FROM sqlite_stat1 WHERE tbl = ?1 COLLATE NOCASE AND "
      "(idx IS NULL OR idx NOT IN (SELECT name FROM pragma_index_list(?1, 'main') WHERE partial))");
  bind_text(statement.get(), 1, table);
  if (!step(statement.get()) || sqlite3_column_type(statement.get(), 0) == SQLITE_NULL) {
    return std::nullopt;
  }
  return sqlite3_column_int64(statement.get(), 0);
}

void count_rows(sqlite3* db, Table& table) {
  const std::string name = as_identifier(table.name);
  const std::int64_t counted =
      query_int(db, "SELECT count(*) FROM (SELECT 1 FROM main." + name + " LIMIT " +
                        std::to_string(kCounted_rows + 1) + ")");
  if (counted <= kCounted_rows) {
    table.rows = counted;
    table.exact = true;
  } else if (!table.without_rowid && table.find_column("rowid") == nullptr) {
    const std::int64_t first = query_int(db, "SELECT min(rowid) FROM main." + name);
    const std::int64_t last = query_int(db, "SELECT max(rowid) FROM main." + name);
    const std::int64_t fit =
        query_int(db, "PRAGMA page_count") * query_int(db, "PRAGMA page_size") / kSmallestRow_bytes;
    // Rowids may be far apart: the file holds no more rows than fit.
    const double span = static_cast<double>(last) - static_cast<double>(first) + 1;
    table.rows =
        std::max(counted, span < static_cast<double>(fit) ? static_cast<std::int64_t>(span) : fit);
  }
}

}  // namespace

Affinity affinity_of(std::string_view declared_type) {
  const std::string type = lower(declared_type);
  const auto has = [&type](std::string_view part) { return type.find(part) != std::string::npos; };
  if (has("int")) return Affinity::kInteger;
  if (has("char") || has("clob") || has("text")) return Affinity::kText;
  if (type.empty() || has("blob")) return Affinity::kBlob;
  if (has("real") || has("floa") || has("doub")) return Affinity::kReal;
  return Affinity::kNumeric;
}

const Column* Table::find_column(std::string_view wanted) const {
  const int number = column_number(wanted);
  return number < 0 ? nullptr : &columns[static_cast<std::size_t>(number)];
}

int Table::column_number(std::string_view wanted) const {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (same_name(columns[i].name, wanted)) return static_cast<int>(i);
  }
  return -1;
}

const Column* Table::rowid_alias() const {
  const Column* alias = nullptr;
  for (const Column& column : columns) {
    if (column.primary_key == 0) continue;
    if (alias != nullptr || !same_name(column.type, "INTEGER")) return nullptr;
    alias = &column;
  }
  return without_rowid || key_has_index ? nullptr : alias;
}

bool is_tiny(const Table& table) {
  return table.rows.has_value() && *table.rows > 0 && *table.rows <= kTinyTable_rows;
}

Schema::Schema(sqlite3* db, const std::set<std::string>& names) {
  has_statistics_ =
      query_int(db, "SELECT count(*) FROM main.sqlite_schema WHERE name = 'sqlite_stat1'") != 0;
  const Statement encoding = prepare(db, "PRAGMA encoding");
  utf8_ = step(encoding.get()) && column_text(encoding.get(), 0) == "UTF-8";
  const Statement list =
      prepare(db,
              "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = "
              "'main' AND name = ?1 COLLATE NOCASE");
  for (const std::string& name : names) {
    sqlite3_reset(list.get());
    bind_text(list.get(), 1, name);
    if (!step(list.get())) continue;
    Table table{.name = column_text(list.get(), 0), .columns = {}, .indexes = {}, .rows = {}};
    const std::string type = column_text(list.get(), 1);
    table.kind = type == "view"      ? TableKind::kView
                 : type == "virtual" ? TableKind::kVirtual
                 : type == "shadow"  ? TableKind::kShadow
                                     : TableKind::kTable;
    table.without_rowid = sqlite3_column_int(list.get(), 2) != 0;
    table.strict = sqlite3_column_int(list.get(), 3) != 0;
    read_columns(db, table);
    if (table.kind == TableKind::kVirtual) {
      const Statement made =
          prepare(db, "SELECT sql LIKE '%USING%fts_(%' FROM main.sqlite_schema WHERE name = ?1");
      bind_text(made.get(), 1, table.name);
      table.full_text = step(made.get()) && sqlite3_column_int(made.get(), 0) != 0;
    }
    if (table.kind == TableKind::kTable || table.kind == TableKind::kShadow) {
      read_indexes(db, table);
      if (has_statistics_) table.rows = rows_by_statistics(db, table.name);
      table.exact = table.rows.has_value();
      if (!table.rows.has_value()) count_rows(db, table);
    }
    tables_.emplace(lower(table.name), std::move(table));
  }
}

const Table* Schema::find(std::string_view name) const {
  const auto found = tables_.find(lower(name));
  return found == tables_.end() ? nullptr : &found->second;
}

}  // namespace mcp::query
