// analysis.h: what a statement reads and writes, from SQLite's authorizer at prepare time and from
// its opcodes. The authorizer sees trigger bodies, foreign-key actions and the tables below views.
//
// Thread-compatible: lives while one connection prepares one statement.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "sqlite/profile.h"

struct sqlite3;
struct sqlite3_stmt;

namespace mcp::sqlite {

class Analysis {
 public:
  Analysis(Freshness* freshness, const std::unordered_set<std::string>& user_functions)
      : freshness_(freshness), user_functions_(user_functions) {}

  // One call of the authorizer.
  void see(int action, const char* first, const char* second, const char* schema);
  // The facts, once the statement is prepared. Reads its opcodes when it might be cacheable.
  [[nodiscard]] std::shared_ptr<const Dependencies> finish(sqlite3_stmt* statement);
  // True when nothing was seen, as for a statement that was not prepared anew.
  [[nodiscard]] bool empty() const noexcept { return !seen_; }

 private:
  [[nodiscard]] TableId id_of(const char* table);
  void see_read(const char* table);
  // A virtual table `v` writes the tables `v_...` that keep its contents, and the authorizer does
  // not see that.
  [[nodiscard]] bool reads_shadow_table(sqlite3* db) const;

  Freshness* const freshness_;
  const std::unordered_set<std::string>& user_functions_;
  Dependencies facts_;
  std::vector<std::string> compound_names_;  // of tables that are read: those with a '_'
  bool pure_ = true;
  bool seen_ = false;
};

// True for functions of SQLite whose result depends on their arguments alone.
[[nodiscard]] bool is_pure_function(const char* name);

}  // namespace mcp::sqlite
