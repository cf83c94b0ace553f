// statement.cpp: column names, and the least recently used statement.
#include "sqlite/statement.h"

namespace mcp::sqlite {

std::shared_ptr<const ColumnNames> Statement::column_names() {
  const int reprepares = sqlite3_stmt_status(handle_, SQLITE_STMTSTATUS_REPREPARE, 0);
  if (names_ == nullptr || names_reprepares_ != reprepares) {
    auto names = std::make_shared<ColumnNames>();
    for (int column = 0; column < columns(); ++column) {
      const char* name = sqlite3_column_name(handle_, column);
      const char* type = sqlite3_column_decltype(handle_, column);
      names->names.emplace_back(name != nullptr ? name : "");
      names->types.emplace_back(type != nullptr ? type : "");
    }
    names_ = std::move(names);
    names_reprepares_ = reprepares;
  }
  return names_;
}

bool Statement::take_reprepared() noexcept {
  const int reprepares = sqlite3_stmt_status(handle_, SQLITE_STMTSTATUS_REPREPARE, 0);
  return std::exchange(reprepares_, reprepares) != reprepares;
}

StatementCache::Entry* StatementCache::find(std::uint64_t id) {
  if (!recent_.empty() && recent_.front().first == id) return &recent_.front();
  const auto found = by_profile_.find(id);
  if (found == by_profile_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found->second);
  return &recent_.front();
}

std::unique_ptr<Statement> StatementCache::take(const Profile& profile) {
  Entry* entry = find(profile.id);
  if (entry == nullptr) return nullptr;
  return std::move(entry->second);  // its place stays, empty, until it comes back
}

void StatementCache::put(std::unique_ptr<Statement> statement) {
  const std::uint64_t id = statement->profile().id;
  if (Entry* entry = find(id)) {
    if (entry->second == nullptr) entry->second = std::move(statement);
    return;  // else a twin came back first
  }
  recent_.emplace_front(id, std::move(statement));
  by_profile_.emplace(id, recent_.begin());
  if (recent_.size() > kCapacity) {
    by_profile_.erase(recent_.back().first);
    recent_.pop_back();
  }
}

void StatementCache::clear() noexcept {
  by_profile_.clear();
  recent_.clear();
}

}  // namespace mcp::sqlite
