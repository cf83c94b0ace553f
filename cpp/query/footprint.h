// footprint.h: which tables and columns a statement reads and writes, as SQLite's authorizer tells
// while it compiles: below views, in triggers and through foreign keys.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "query/handle.h"

namespace mcp::query {

struct TableWrites {
  bool inserts = false;
  bool deletes = false;
  std::set<std::string> updated;  // columns
};

struct Footprint {
  std::map<std::string, std::set<std::string>> reads;  // table: its columns
  std::map<std::string, TableWrites> writes;
  std::set<std::string> functions;  // in small letters
  bool readonly = true;

  [[nodiscard]] std::set<std::string> tables() const;
};

// Untrusted text is compiled under an authorizer that lets nothing by but reading and changing
// ordinary tables of `main`: ATTACH, PRAGMA, transactions, DDL and the functions that reach outside
// are refused with Error.
enum class Trust { kTrusted, kUntrusted };

// Compiles `sql` and forgets it. Throws Error as prepare() does. The connection's authorizer is
// replaced while this works and gone afterwards.
[[nodiscard]] Footprint footprint_of(sqlite3* db, std::string_view sql, Trust trust);

}  // namespace mcp::query
