// schema.h: the tables that a statement touches, as the analysis sees them.
//
// Immutable values once read. Names compare without case, as in SQLite.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "query/handle.h"

namespace mcp::query {

// SQLite's rules on declared types (datatype3, section 3.1).
enum class Affinity { kInteger, kText, kBlob, kReal, kNumeric };
[[nodiscard]] Affinity affinity_of(std::string_view declared_type);
[[nodiscard]] inline bool is_numeric(Affinity affinity) {
  return affinity != Affinity::kText && affinity != Affinity::kBlob;
}

struct Column {
  std::string name;
  std::string type;
  std::string collation;
  Affinity affinity = Affinity::kBlob;
  bool not_null = false;
  bool generated = false;
  int primary_key = 0;  // its place in the key, from 1; 0: not part of it
};

struct IndexColumn {
  std::string name;  // empty for an expression and for the rowid
  std::string collation;
  bool descending = false;
  std::string expression = {};  // of a candidate, where there is no name
};

struct Index {
  std::string name;
  std::vector<IndexColumn> columns;  // the key, without what SQLite appends
  bool unique = false;
  bool partial = false;
  std::string where = {};  // of a partial index, as written
};

enum class TableKind { kTable, kView, kVirtual, kShadow };

struct Table {
  std::string name;
  TableKind kind = TableKind::kTable;
  bool without_rowid = false;
  bool strict = false;
  bool full_text = false;      // a virtual table of FTS3, FTS4 or FTS5
  bool key_has_index = false;  // INTEGER PRIMARY KEY DESC has one: it is no rowid, and takes NULL
  std::vector<Column> columns;
  std::vector<Index> indexes;
  // From sqlite_stat1 or counted where `exact`; otherwise from the span of rowids. Empty when
  // nothing is known without reading the whole table.
  std::optional<std::int64_t> rows;
  bool exact = false;

  [[nodiscard]] const Column* find_column(std::string_view name) const;
  [[nodiscard]] int column_number(std::string_view name) const;  // -1: none
  // The column that is the rowid by another name (INTEGER PRIMARY KEY), or null.
  [[nodiscard]] const Column* rowid_alias() const;
};

// A table so small that no index pays. 0 rows is a schema without data and says nothing.
inline constexpr std::int64_t kTinyTable_rows = 500;
[[nodiscard]] bool is_tiny(const Table& table);

class Schema {
 public:
  // Reads the named tables of `main`; names that are not there are left out. Cost does not grow
  // with the tables' size: rows are counted up to a bound only.
  Schema(sqlite3* db, const std::set<std::string>& names);

  [[nodiscard]] const Table* find(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, Table>& tables() const { return tables_; }
  // Text is kept as UTF-8: BINARY is then the order of its characters.
  [[nodiscard]] bool is_utf8() const { return utf8_; }
  // True when ANALYZE has been run.
  [[nodiscard]] bool has_statistics() const { return has_statistics_; }

 private:
  std::map<std::string, Table> tables_;  // by name in small letters
  bool has_statistics_ = false;
  bool utf8_ = true;
};

}  // namespace mcp::query
