// trial.cpp: makes indexes on a copy, and measures statements with them.
#include "query/trial.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/error.h"

namespace mcp::query {
namespace {

constexpr int kPagesAStep = 4096;
constexpr int kOpcodesALook = 4096;
constexpr int kChunks = 200;

[[nodiscard]] Error out_of_time() {
  return {ErrorKind::kQuery, "the copy took longer than the time budget", SQLITE_INTERRUPT};
}

// While one lives, statements on the connection are stopped after so many steps, or at the time
// limit.
class StopAt {
 public:
  StopAt(sqlite3* db, double most_steps, TimeLimit end)
      : db_(db), looks_(most_steps / kOpcodesALook), end_(end) {
    sqlite3_progress_handler(db_, kOpcodesALook, &on_progress, this);
  }
  ~StopAt() { sqlite3_progress_handler(db_, 0, nullptr, nullptr); }
  StopAt(const StopAt&) = delete;
  StopAt& operator=(const StopAt&) = delete;

 private:
  static int on_progress(void* context) {
    auto& self = *static_cast<StopAt*>(context);
    self.looks_ -= 1;
    return self.looks_ < 0 || self.end_.passed() ? 1 : 0;
  }

  sqlite3* db_;
  double looks_;
  TimeLimit end_;
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

// The schema may be edited by hand while one lives, and is read anew afterwards.
class SchemaEdit {
 public:
  explicit SchemaEdit(sqlite3* db) : db_(db) { execute(db_, "PRAGMA writable_schema=1"); }
  ~SchemaEdit() { sqlite3_exec(db_, "PRAGMA writable_schema=RESET", nullptr, nullptr, nullptr); }
  SchemaEdit(const SchemaEdit&) = delete;
  SchemaEdit& operator=(const SchemaEdit&) = delete;

 private:
  sqlite3* db_;
};

double page_lookups(sqlite3* db) {
  int lookups = 0;
  int highest = 0;
  sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_HIT, &lookups, &highest, 1);
  return lookups;
}

double counter(sqlite3_stmt* statement, int which) {
  return static_cast<double>(sqlite3_stmt_status(statement, which, 0));
}

}  // namespace

Trial::Trial(sqlite3* source, const Schema& schema, const TrialLimits& limits, TimeLimit limit)
    : limits_(limits), limit_(limit), has_statistics_(schema.has_statistics()) {
  const std::int64_t bytes =
      query_int(source, "PRAGMA page_count") * query_int(source, "PRAGMA page_size");
  sampled_ = bytes > limits_.copy_bytes;
  if (sampled_) {
    sample(source, schema);
  } else {
    db_ = open_memory();
    back_up(source);
  }
  execute(db(), "PRAGMA foreign_keys=1");
  if (has_statistics_) original_ = read_statistics();
  bytes_ = size();
}

void Trial::back_up(sqlite3* source) {
  sqlite3_backup* backup = sqlite3_backup_init(db(), "main", source, "main");
  if (backup == nullptr)
    throw Error(ErrorKind::kQuery, sqlite3_errmsg(db()), sqlite3_errcode(db()));
  int code = SQLITE_OK;
  bool late = false;
  while (!late && (code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED)) {
    code = sqlite3_backup_step(backup, kPagesAStep);
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) sqlite3_sleep(1);
    late = code != SQLITE_DONE && limit_.passed_waiting();
  }
  sqlite3_backup_finish(backup);
  if (late) throw out_of_time();
  if (code != SQLITE_DONE) throw Error(ErrorKind::kQuery, sqlite3_errstr(code), code);
}

void Trial::sample(sqlite3* source, const Schema& schema) {
  db_ = clone_schema(source);
  sqlite3_db_config(db(), SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  execute(db(), "BEGIN");
  for (const auto& [name, table] : schema.tables()) {
    if (table.kind == TableKind::kTable) sample_table(source, table);
  }
  execute(db(), "COMMIT");
  sqlite3_db_config(db(), SQLITE_DBCONFIG_ENABLE_TRIGGER, 1, nullptr);
}

// Chunks of neighbouring rows at even distances: values keep their neighbourhood, and the cost does
// not grow with the table.
void Trial::sample_table(sqlite3* source, const Table& table) {
  const std::string name = "main." + as_identifier(table.name);
  std::string marks;
  std::string columns;
  for (const Column& column : table.columns) {
    if (column.generated) continue;
    columns += (columns.empty() ? "" : ", ") + as_identifier(column.name);
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
    if (limit_.passed_waiting()) throw out_of_time();
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

std::int64_t Trial::size() const {
  return query_int(db(), "PRAGMA page_count") * query_int(db(), "PRAGMA page_size");
}

std::int64_t Trial::create(const CandidateIndex& index) {
  show(made_);  // the row of one that is hidden could be taken
  const std::int64_t before = size();
  {
    const StopAt stop(db(), std::numeric_limits<double>::infinity(), limit_);
    execute(db(), index.ddl());
  }
  made_.insert(index.name);
  remember_index(index.name);
  return size() - before;
}

void Trial::remember_index(const std::string& name) {
  if (rows_.count(name) != 0) return;
  const Statement row = prepare(
      db(), "SELECT rowid, rootpage, name, tbl_name, sql FROM sqlite_schema WHERE name = ?1");
  bind_text(row.get(), 1, name);
  if (!step(row.get())) return;
  rows_[name] = {.rowid = sqlite3_column_int64(row.get(), 0),
                 .root = sqlite3_column_int64(row.get(), 1),
                 .name = column_text(row.get(), 2),
                 .table = column_text(row.get(), 3),
                 .sql = column_text(row.get(), 4)};
}

void Trial::show(const std::set<std::string>& made, const std::set<std::string>& without) {
  for (const std::string& name : without) remember_index(name);
  const bool as_it_is = std::all_of(rows_.begin(), rows_.end(), [&](const auto& entry) {
    const auto& [name, row] = entry;
    const bool wanted = made_.count(name) != 0 ? made.count(name) != 0 : without.count(name) == 0;
    return wanted == row.shown;
  });
  if (!as_it_is) edit_schema(made, without);
}

void Trial::edit_schema(const std::set<std::string>& made, const std::set<std::string>& without) {
  const SchemaEdit edit(db());
  const Statement hide = prepare(db(), "DELETE FROM sqlite_schema WHERE rowid = ?1");
  const Statement reveal =
      prepare(db(),
              "INSERT INTO sqlite_schema (rowid, type, name, tbl_name, rootpage, sql)"
              " VALUES (?1, 'index', ?2, ?3, ?4, ?5)");
  for (auto& [name, row] : rows_) {
    const bool wanted = made_.count(name) != 0 ? made.count(name) != 0 : without.count(name) == 0;
    if (wanted == row.shown) continue;
    sqlite3_stmt* statement = wanted ? reveal.get() : hide.get();
    sqlite3_bind_int64(statement, 1, row.rowid);
    if (wanted) {
      bind_text(statement, 2, row.name);
      bind_text(statement, 3, row.table);
      sqlite3_bind_int64(statement, 4, row.root);
      bind_text(statement, 5, row.sql);
    }
    step(statement);
    sqlite3_reset(statement);
    row.shown = wanted;
  }
}

void Trial::use(Statistics statistics) {
  if (statistics == statistics_) return;
  if (statistics == Statistics::kAsTheyAre) {
    write_statistics(original_);
  } else if (fresh_.empty()) {
    show(made_);
    const StopAt stop(db(), std::numeric_limits<double>::infinity(), limit_);
    execute(db(), "ANALYZE");
    fresh_ = read_statistics();
  } else {
    write_statistics(fresh_);
  }
  statistics_ = statistics;
}

std::vector<Trial::StatisticsRow> Trial::read_statistics() const {
  std::vector<StatisticsRow> found;
  const Statement rows = prepare(db(), "SELECT tbl, idx, stat FROM main.sqlite_stat1");
  while (step(rows.get())) {
    found.push_back(
        {column_text(rows.get(), 0), column_text(rows.get(), 1), column_text(rows.get(), 2)});
  }
  return found;
}

void Trial::write_statistics(const std::vector<StatisticsRow>& rows) {
  const SchemaEdit edit(db());
  execute(db(), "DELETE FROM sqlite_stat1");
  const Statement insert =
      prepare(db(), "INSERT INTO sqlite_stat1 VALUES (?1, nullif(?2, ''), ?3)");
  for (const StatisticsRow& row : rows) {
    bind_text(insert.get(), 1, row.table);
    bind_text(insert.get(), 2, row.index);
    bind_text(insert.get(), 3, row.stat);
    step(insert.get());
    sqlite3_reset(insert.get());
  }
}

std::vector<PlanStep> Trial::explained(const TrialRun& run) const {
  const Statement statement = prepare(db(), "EXPLAIN QUERY PLAN " + std::string(run.sql));
  run.parameters.bind(statement.get(), *run.outline);
  return read_plan(statement.get());
}

Cost Trial::measure(const TrialQuery& query, double most_steps) {
  Cost cost;
  for (const TrialRun& one : query.runs) {
    run(one, query.readonly, most_steps, cost);
    if (cost.stopped && cost.runs == 1) break;  // it takes too long with any values
  }
  const double runs = std::max(1, cost.runs);
  cost.steps /= runs;
  cost.pages /= runs;
  cost.visited /= runs;
  cost.seconds /= runs;
  return cost;
}

void Trial::run(const TrialRun& one, bool readonly, double most_steps, Cost& cost) {
  std::optional<Rollback> undone;
  if (!readonly) undone.emplace(db());
  const Statement statement = prepare(db(), one.sql);
  one.parameters.bind(statement.get(), *one.outline);
  const StopAt stop(db(), most_steps, limit_);
  static_cast<void>(page_lookups(db()));
  // In memory nothing is waited for: CPU time is the time.
  const Duration start = thread_cpu_time();
  int code = SQLITE_ROW;
  while (code == SQLITE_ROW) code = sqlite3_step(statement.get());
  const Duration spent = thread_cpu_time() - start;
  cost.pages += page_lookups(db());
  // A write that the sampled values make impossible has looked everything up first.
  const bool refused = !readonly && (code & 0xff) == SQLITE_CONSTRAINT;
  if (code != SQLITE_DONE && code != SQLITE_INTERRUPT && !refused) {
    throw Error(ErrorKind::kQuery, sqlite3_errmsg(db()), code);
  }
  cost.steps += counter(statement.get(), SQLITE_STMTSTATUS_VM_STEP);
  cost.visited += counter(statement.get(), SQLITE_STMTSTATUS_FULLSCAN_STEP) +
                  counter(statement.get(), SQLITE_STMTSTATUS_AUTOINDEX);
  cost.seconds += to_seconds(spent);
  cost.stopped = cost.stopped || code == SQLITE_INTERRUPT;
  ++cost.runs;
}

}  // namespace mcp::query
