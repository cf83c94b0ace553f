// backup.cpp: SQLite's backup interface, in slices.
#include "sqlite/backup.h"

#include <sqlite3.h>

#include <memory>

#include "sqlite/sqlite_error.h"

namespace mcp::sqlite {
namespace {

constexpr int kPagesAStep = 256;

void copy_pages(sqlite3* from, const std::string& path, const Operation& operation) {
  sqlite3* to = nullptr;
  const int opened = sqlite3_open_v2(
      path.c_str(), &to,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_EXRESCODE,
      nullptr);
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> closes(to, sqlite3_close);
  if (opened != SQLITE_OK) throw sqlite_error(to, opened);
  sqlite3_backup* backup = sqlite3_backup_init(to, "main", from, "main");
  if (backup == nullptr) throw sqlite_error(to, sqlite3_extended_errcode(to));
  int code;
  while ((code = sqlite3_backup_step(backup, kPagesAStep)) == SQLITE_OK) {
    if (operation.cancelled() || operation.polled()) break;
  }
  const int finished = sqlite3_backup_finish(backup);
  if (code == SQLITE_OK) throw Stopped{Stop::kCancelled};
  if (code != SQLITE_DONE) throw sqlite_error(to, code);
  if (finished != SQLITE_OK) throw sqlite_error(to, finished);
}

}  // namespace

void copy_database(Connection& from, const std::string& path, const Operation& operation) {
  from.run("BEGIN");
  from.run("SELECT 1 FROM sqlite_schema");  // the snapshot begins with the first read
  copy_pages(from.handle(), path, operation);
  from.run("COMMIT");
}

}  // namespace mcp::sqlite
