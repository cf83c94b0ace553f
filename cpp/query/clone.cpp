// clone.cpp: copies a schema and its statistics into memory.
#include "query/clone.h"

#include <algorithm>

#include "base/error.h"

namespace mcp::query {
namespace {

constexpr int kSampled_rows = 10'000;

// sqlite_stat1 and, where it exists, sqlite_stat4. ANALYZE makes the tables; their rows are copied.
void copy_statistics(sqlite3* source, sqlite3* clone) {
  if (query_int(source, "SELECT count(*) FROM main.sqlite_schema WHERE name = 'sqlite_stat1'") ==
      0) {
    return;
  }
  execute(clone, "ANALYZE");
  execute(clone, "DELETE FROM sqlite_stat1");
  const Statement rows = prepare(source, "SELECT tbl, idx, stat FROM main.sqlite_stat1");
  const Statement insert = prepare(clone, "INSERT INTO sqlite_stat1 VALUES (?1, ?2, ?3)");
  while (step(rows.get())) {
    for (int i = 0; i < 3; ++i) {
      sqlite3_bind_value(insert.get(), i + 1, sqlite3_column_value(rows.get(), i));
    }
    step(insert.get());
    sqlite3_reset(insert.get());
  }
  execute(clone, "ANALYZE sqlite_schema");  // loads what was just written
}

// "rows average-rows-for-one-value-of-the-first-column ... of-the-first-two ..."
std::string estimated_stat(sqlite3* source, const Table& table, const CandidateIndex& index) {
  const std::string where = index.where.empty() ? "" : " WHERE " + index.where;
  const std::string sample = "(SELECT * FROM main." + as_identifier(table.name) + where +
                             " LIMIT " + std::to_string(kSampled_rows) + ")";
  const std::int64_t sampled = query_int(source, "SELECT count(*) FROM " + sample);
  const double share = index.where.empty() ? 1 : index.share;
  const std::int64_t rows = std::max<std::int64_t>(
      static_cast<std::int64_t>(static_cast<double>(table.rows.value_or(sampled)) * share), 1);
  std::string stat = std::to_string(rows);
  std::string prefix;
  for (const IndexColumn& column : index.columns) {
    prefix += (prefix.empty() ? "" : ", ") +
              (column.name.empty() ? column.expression : as_identifier(column.name));
    if (!column.collation.empty()) prefix += " COLLATE " + as_identifier(column.collation);
    const std::int64_t distinct = query_int(
        source, "SELECT count(*) FROM (SELECT DISTINCT " + prefix + " FROM " + sample + ")");
    // Values that are all different in the sample are taken to be so in the table.
    const bool unique = sampled > 0 && distinct * 10 >= sampled * 9;
    const std::int64_t in_table = unique ? rows * distinct / sampled : distinct;
    stat += " " + std::to_string((rows + std::max<std::int64_t>(in_table, 1) - 1) /
                                 std::max<std::int64_t>(in_table, 1));
  }
  return stat;
}

}  // namespace

Database clone_schema(sqlite3* source) {
  Database clone = open_memory();
  // Tables before what stands on them; within a kind in the order of creation.
  const Statement objects =
      prepare(source,
              "SELECT sql FROM main.sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE "
              "'sqlite\\_%' ESCAPE '\\'"
              " ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END, rowid");
  while (step(objects.get())) {
    try {
      execute(clone.get(), column_text(objects.get(), 0));
    } catch (const Error&) {
      continue;
    }
  }
  copy_statistics(source, clone.get());
  return clone;
}

bool CandidateIndex::has_expression() const {
  return std::any_of(columns.begin(), columns.end(),
                     [](const IndexColumn& column) { return column.name.empty(); });
}

std::string CandidateIndex::ddl() const {
  std::string text =
      "CREATE INDEX " + quoted_if_needed(name) + " ON " + quoted_if_needed(table) + "(";
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const IndexColumn& column = columns[i];
    if (i > 0) text += ", ";
    text += column.name.empty() ? column.expression : quoted_if_needed(column.name);
    if (!column.collation.empty()) text += " COLLATE " + quoted_if_needed(column.collation);
    if (column.descending) text += " DESC";
  }
  text += ")";
  return where.empty() ? text : text + " WHERE " + where;
}

void add_hypothetical(sqlite3* clone, sqlite3* source, const Schema& schema,
                      const CandidateIndex& index) {
  execute(clone, index.ddl());
  const Table* table = schema.find(index.table);
  if (!schema.has_statistics() || table == nullptr) return;
  const Statement insert = prepare(clone, "INSERT INTO sqlite_stat1 VALUES (?1, ?2, ?3)");
  bind_text(insert.get(), 1, index.table);
  bind_text(insert.get(), 2, index.name);
  bind_text(insert.get(), 3, estimated_stat(source, *table, index));
  step(insert.get());
  execute(clone, "ANALYZE sqlite_schema");
}

void drop_index(sqlite3* db, const std::string& name) {
  execute(db, "DROP INDEX IF EXISTS " + as_identifier(name));
}

}  // namespace mcp::query
