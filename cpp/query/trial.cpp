#include "query/trial.h"

#include <algorithm>
#include <optional>

#include "base/error.h"

namespace mcp::query {
namespace {

constexpr int kPagesAStep = 4096;
constexpr int kOpcodesALook = 4096;
constexpr int kChunks = 200;
constexpr int kRepeats = 16;
constexpr double kEnough_s = 0.01;  // of runs for one set of parameters

[[nodiscard]] Error out_of_time() {
  return {ErrorKind::kQuery, "the copy took longer than the time budget", SQLITE_INTERRUPT};
}

int on_progress(void* end) { return now_precise() > *static_cast<const Instant*>(end) ? 1 : 0; }

// While one lives, statements on the connection are stopped at `end`.
class StopAt {
 public:
  StopAt(sqlite3* db, Instant end) : db_(db), end_(end) {
    sqlite3_progress_handler(db_, kOpcodesALook, &on_progress, &end_);
  }
  ~StopAt() { sqlite3_progress_handler(db_, 0, nullptr, nullptr); }
  StopAt(const StopAt&) = delete;
  StopAt& operator=(const StopAt&) = delete;

 private:
  sqlite3* db_;
  Instant end_;
};

// A transaction that leaves nothing behind.
class Rollback {
 public:
  explicit Rollback(sqlite3* db) : db_(db) { execute(db_, "BEGIN"); }
  ~Rollback() { sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr); }
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;

 private:
  sqlite3* db_;
};

}  // namespace

Trial::Trial(sqlite3* source, const Schema& schema, const TrialLimits& limits, Instant deadline)
    : limits_(limits), statistics_(schema.has_statistics()) {
  const std::int64_t bytes =
      query_int(source, "PRAGMA page_count") * query_int(source, "PRAGMA page_size");
  sampled_ = bytes > limits_.copy_bytes;
  if (sampled_) {
    sample(source, schema, deadline);
  } else {
    db_ = open_memory();
    back_up(source, deadline);
  }
  execute(db(), "PRAGMA foreign_keys=0");
}

void Trial::back_up(sqlite3* source, Instant deadline) {
  sqlite3_backup* backup = sqlite3_backup_init(db(), "main", source, "main");
  if (backup == nullptr)
    throw Error(ErrorKind::kQuery, sqlite3_errmsg(db()), sqlite3_errcode(db()));
  int code = SQLITE_OK;
  bool late = false;
  while (!late && (code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED)) {
    code = sqlite3_backup_step(backup, kPagesAStep);
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) sqlite3_sleep(1);
    late = code != SQLITE_DONE && now_precise() > deadline;
  }
  sqlite3_backup_finish(backup);
  if (late) throw out_of_time();
  if (code != SQLITE_DONE) throw Error(ErrorKind::kQuery, sqlite3_errstr(code), code);
}

void Trial::sample(sqlite3* source, const Schema& schema, Instant deadline) {
  db_ = clone_schema(source);
  execute(db(), "PRAGMA foreign_keys=0");
  sqlite3_db_config(db(), SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  execute(db(), "BEGIN");
  for (const auto& [name, table] : schema.tables()) {
    if (table.kind == TableKind::kTable) sample_table(source, table, deadline);
  }
  execute(db(), "COMMIT");
  sqlite3_db_config(db(), SQLITE_DBCONFIG_ENABLE_TRIGGER, 1, nullptr);
}

// Chunks of neighbouring rows at even distances: values keep their neighbourhood, and the cost does
// not grow with the table.
void Trial::sample_table(sqlite3* source, const Table& table, Instant deadline) {
  const std::string name = "main." + quoted(table.name);
  std::string marks;
  std::string columns;
  for (const Column& column : table.columns) {
    if (column.generated) continue;
    columns += (columns.empty() ? "" : ", ") + quoted(column.name);
    marks += marks.empty() ? "?" : ", ?";
  }
  const bool by_rowid = !table.without_rowid && table.find_column("rowid") == nullptr;
  const Statement insert = prepare(db(), by_rowid ? "INSERT OR IGNORE INTO " + name + " (rowid, " +
                                                        columns + ") VALUES (?, " + marks + ")"
                                                  : "INSERT OR IGNORE INTO " + name + " (" +
                                                        columns + ") VALUES (" + marks + ")");
  const std::int64_t chunk = std::max<std::int64_t>(limits_.sample_rows / kChunks, 1);
  const auto first =
      by_rowid ? static_cast<double>(query_int(source, "SELECT min(rowid) FROM " + name)) : 0;
  const auto last =
      by_rowid ? static_cast<double>(query_int(source, "SELECT max(rowid) FROM " + name)) : 0;
  const Statement rows =
      prepare(source, by_rowid ? "SELECT rowid, " + columns + " FROM " + name +
                                     " WHERE rowid >= ?1 ORDER BY rowid LIMIT ?2"
                               : "SELECT " + columns + " FROM " + name + " WHERE ?1 = ?1 LIMIT ?2");
  for (int i = 0; i < (by_rowid ? kChunks : 1); ++i) {
    if (now_precise() > deadline) throw out_of_time();
    const double at = first + (last - first) * i / kChunks;
    sqlite3_bind_int64(rows.get(), 1, static_cast<std::int64_t>(at));
    sqlite3_bind_int64(rows.get(), 2, by_rowid ? chunk : limits_.sample_rows);
    while (step(rows.get())) {
      for (int column = 0; column < sqlite3_column_count(rows.get()); ++column) {
        sqlite3_bind_value(insert.get(), column + 1, sqlite3_column_value(rows.get(), column));
      }
      step(insert.get());
      sqlite3_reset(insert.get());
    }
    sqlite3_reset(rows.get());
  }
}

void Trial::create(const CandidateIndex& index) {
  execute(db(), index.ddl());
  if (statistics_) {
    execute(db(), "ANALYZE main." + quoted(index.name));
  }
}

Cost Trial::measure(const TrialQuery& query) {
  Cost cost;
  for (const ParameterSet& parameters : query.parameters) {
    Cost best = run(query, parameters);
    double spent_s = best.seconds;
    for (int repeat = 1; repeat < kRepeats && spent_s < kEnough_s; ++repeat) {
      const double seconds = run(query, parameters).seconds;
      best.seconds = std::min(best.seconds, seconds);
      spent_s += seconds;
    }
    cost.steps += best.steps;
    cost.seconds += best.seconds;
    cost.stopped = cost.stopped || best.stopped;
  }
  const auto runs = static_cast<double>(query.parameters.size());
  cost.steps /= runs;
  cost.seconds /= runs;
  return cost;
}

Cost Trial::run(const TrialQuery& query, const ParameterSet& parameters) {
  std::optional<Rollback> undone;
  if (!query.readonly) undone.emplace(db());
  const Statement statement = prepare(db(), query.sql);
  parameters.bind(statement.get(), query.outline);
  const StopAt stop(db(), now_precise() + limits_.run_ns);
  // In memory nothing is waited for: a busy machine must not change the advice.
  const Duration start = thread_cpu_time();
  int code = SQLITE_ROW;
  while (code == SQLITE_ROW) code = sqlite3_step(statement.get());
  const Duration spent = thread_cpu_time() - start;
  if (code != SQLITE_DONE && code != SQLITE_INTERRUPT) {
    throw Error(ErrorKind::kQuery, sqlite3_errmsg(db()), code);
  }
  return {.steps = static_cast<double>(
              sqlite3_stmt_status(statement.get(), SQLITE_STMTSTATUS_VM_STEP, 0)),
          .seconds = static_cast<double>(spent) / kSecond,
          .stopped = code == SQLITE_INTERRUPT};
}

}  // namespace mcp::query
