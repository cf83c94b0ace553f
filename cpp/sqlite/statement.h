// statement.h: a prepared statement, and the cache of them that each connection has.
//
// Thread-compatible: they belong to their connection. A statement in use is out of the cache until
// it is given back, reset and with its bindings cleared.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sqlite/profile.h"

namespace mcp::sqlite {

struct ColumnNames {
  std::vector<std::string> names;
  std::vector<std::string> types;  // as declared, empty for an expression
};

class Statement {
 public:
  Statement(sqlite3_stmt* handle, ProfilePtr profile)
      : handle_(handle), profile_(std::move(profile)) {}
  ~Statement() { sqlite3_finalize(handle_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  [[nodiscard]] sqlite3_stmt* handle() const noexcept { return handle_; }
  [[nodiscard]] Profile& profile() const noexcept { return *profile_; }
  [[nodiscard]] bool readonly() const noexcept { return sqlite3_stmt_readonly(handle_) != 0; }
  [[nodiscard]] int columns() const noexcept { return sqlite3_column_count(handle_); }
  // Read again when SQLite prepared the statement anew.
  [[nodiscard]] std::shared_ptr<const ColumnNames> column_names();
  // True once after each time SQLite prepared the statement anew, as it does when the schema
  // changed.
  [[nodiscard]] bool take_reprepared() noexcept;

  [[nodiscard]] const std::shared_ptr<const Dependencies>& dependencies() const noexcept {
    return dependencies_;
  }
  void set_dependencies(std::shared_ptr<const Dependencies> dependencies) noexcept {
    dependencies_ = std::move(dependencies);
  }
  void reset() noexcept {
    sqlite3_reset(handle_);
    sqlite3_clear_bindings(handle_);
  }

 private:
  sqlite3_stmt* const handle_;
  const ProfilePtr profile_;
  std::shared_ptr<const Dependencies> dependencies_;
  std::shared_ptr<const ColumnNames> names_;
  int reprepares_ = 0;
  int names_reprepares_ = -1;
};

class StatementCache {
 public:
  static constexpr std::size_t kCapacity = 128;

  // Null when it is not there or in use.
  [[nodiscard]] std::unique_ptr<Statement> take(const Profile& profile);
  void put(std::unique_ptr<Statement> statement);
  void clear() noexcept;

 private:
  using Entry = std::pair<std::uint64_t, std::unique_ptr<Statement>>;
  [[nodiscard]] Entry* find(std::uint64_t id);  // and makes it the most recently used

  std::list<Entry> recent_;  // most recently used first
  std::unordered_map<std::uint64_t, std::list<Entry>::iterator> by_profile_;
};

}  // namespace mcp::sqlite
