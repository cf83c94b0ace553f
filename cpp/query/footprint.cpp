// footprint.cpp: collects what the authorizer tells.
#include "query/footprint.h"

#include <algorithm>
#include <array>

#include "query/assigned.h"

namespace mcp::query {
namespace {

struct Recorder {
  Footprint footprint;
  Trust trust = Trust::kTrusted;
};

// Functions that read files, load code or take pointers; all else computes.
constexpr std::array<std::string_view, 8> kForbiddenFunctions = {
    "load_extension", "fts3_tokenizer", "readfile", "writefile",
    "edit",           "fts5",           "lsmode",   "fileio_ls"};

bool is_ordinary(std::string_view table) {
  return !table.empty() && !table.starts_with("sqlite_") && !table.starts_with("pragma_");
}

void note(Footprint& footprint, int action, std::string_view table, const char* column) {
  if (!is_ordinary(table)) return;
  const std::string name(table);
  switch (action) {
    case SQLITE_READ:
      footprint.reads[name];
      if (column != nullptr && *column != '\0') footprint.reads[name].insert(column);
      break;
    case SQLITE_INSERT:
      footprint.writes[name].inserts = true;
      break;
    case SQLITE_DELETE:
      footprint.writes[name].deletes = true;
      break;
    case SQLITE_UPDATE:
      if (column != nullptr) footprint.writes[name].updated.insert(column);
      break;
    default:
      break;
  }
}

bool is_allowed(int action, const char* first, const char* second, const char* schema) noexcept {
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE:
      return true;
    case SQLITE_FUNCTION: {
      const std::string_view name = second == nullptr ? "" : second;
      return std::none_of(
          kForbiddenFunctions.begin(), kForbiddenFunctions.end(),
          [name](std::string_view forbidden) { return same_name(name, forbidden); });
    }
    case SQLITE_READ:
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
      // No schema: a common table expression or a subquery.
      if (schema != nullptr && std::string_view(schema) != "main") return false;
      return first == nullptr || *first == '\0' || is_ordinary(first) ||
             (action == SQLITE_READ && std::string_view(first).starts_with("sqlite_"));
    default:
      return false;
  }
}

int on_authorize(void* context, int action, const char* first, const char* second,
                 const char* schema, const char*) {
  auto& recorder = *static_cast<Recorder*>(context);
  if (recorder.trust == Trust::kUntrusted && !is_allowed(action, first, second, schema))
    return SQLITE_DENY;
  if (action == SQLITE_FUNCTION && second != nullptr) {
    recorder.footprint.functions.insert(lower(second));
  }
  if (first != nullptr) note(recorder.footprint, action, first, second);
  return SQLITE_OK;
}

}  // namespace

std::set<std::string> Footprint::tables() const {
  std::set<std::string> names;
  for (const auto& [name, columns] : reads) names.insert(name);
  for (const auto& [name, changes] : writes) names.insert(name);
  return names;
}

Footprint footprint_of(sqlite3* db, std::string_view sql, Trust trust) {
  Recorder recorder{.footprint = {}, .trust = trust};
  sqlite3_set_authorizer(db, &on_authorize, &recorder);
  struct Reset {
    sqlite3* db;
    ~Reset() { sqlite3_set_authorizer(db, nullptr, nullptr); }
  } const reset{db};
  const Statement statement = prepare(db, sql);
  recorder.footprint.readonly = sqlite3_stmt_readonly(statement.get()) != 0;
  // The authorizer is not asked about the rows that make way.
  if (!recorder.footprint.readonly && is_replacing(lexed_of(sql))) {
    for (auto& [table, changes] : recorder.footprint.writes) {
      changes.deletes = changes.deletes || changes.inserts || !changes.updated.empty();
    }
  }
  return std::move(recorder.footprint);
}

}  // namespace mcp::query
