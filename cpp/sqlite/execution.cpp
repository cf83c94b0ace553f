// execution.cpp: binds, wraps, steps, tracks and proves one request.
#include "sqlite/execution.h"

#include <sqlite3.h>

#include <algorithm>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/slices.h"

namespace mcp::sqlite {
namespace {

// Gives the statement back, whatever happens.
class Borrowed {
 public:
  Borrowed(Connection& connection, std::unique_ptr<Statement> statement)
      : connection_(connection), statement_(std::move(statement)) {}
  ~Borrowed() { connection_.release(std::move(statement_)); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Statement& operator*() const noexcept { return *statement_; }
  Statement* operator->() const noexcept { return statement_.get(); }

 private:
  Connection& connection_;
  std::unique_ptr<Statement> statement_;
};

// One transaction around what one request writes, unless the connection is in one already.
class WriteScope {
 public:
  WriteScope(Connection& connection, Services services, bool wanted)
      : connection_(connection), services_(services), open_(wanted) {
    if (open_) begin_transaction(connection_, services_);
  }
  ~WriteScope() {
    if (open_) rollback_transaction(connection_, services_);
  }
  WriteScope(const WriteScope&) = delete;
  WriteScope& operator=(const WriteScope&) = delete;
  void commit() {
    if (!open_) return;
    commit_transaction(connection_, services_);
    open_ = false;
  }

 private:
  Connection& connection_;
  const Services services_;
  bool open_;
};

void add_writes(WriteSet& to, const WriteSet& from) {
  to.everything |= from.everything;
  for (const TableId id : from.tables) {
    if (std::find(to.tables.begin(), to.tables.end(), id) == to.tables.end()) {
      to.tables.push_back(id);
    }
  }
}

// Puts down what a statement may have written, however it ends: what fails within a transaction can
// have written all the same (OR FAIL, RAISE(FAIL), the rows before the one that failed). At its
// end, because a changed schema gives the statement new facts.
class WriteRecord {
 public:
  WriteRecord(Connection& connection, const Statement& statement)
      : connection_(connection), statement_(statement) {}
  ~WriteRecord() {
    if (statement_.readonly()) return;
    try {
      add_writes(connection_.written(), statement_.dependencies()->writes);
    } catch (const std::bad_alloc&) {
      connection_.written().everything = true;
    }
  }
  WriteRecord(const WriteRecord&) = delete;
  WriteRecord& operator=(const WriteRecord&) = delete;

 private:
  Connection& connection_;
  const Statement& statement_;
};

void step_rows(Connection& connection, Statement& statement, const Request& request, RowSink* sink,
               Answer& answer) {
  bool more = connection.step(statement);
  const int columns = statement.columns();  // after the first step: it may have prepared anew
  if (!request.want_rows || columns == 0) {
    while (more) more = connection.step(statement);
    return;
  }
  answer.names = statement.column_names();
  answer.rows = RowBlock(columns);
  while (more) {
    answer.rows.append_row(statement.handle());
    ++answer.execution.rows;
    if (request.first_row_only) break;
    if (sink != nullptr &&
        answer.rows.bytes() >= slices().part_bytes.load(std::memory_order_relaxed)) {
      sink->take(std::move(answer.rows), answer.names);
      answer.rows = RowBlock(columns);
    }
    more = connection.step(statement);
  }
}

// With its parameters bound. Leaves a statement that reads for release() to reset.
std::int64_t run_once(Connection& connection, Statement& statement, const Request& request,
                      RowSink* sink, Answer& answer) {
  const std::int64_t before = sqlite3_total_changes64(connection.handle());
  step_rows(connection, statement, request, sink, answer);
  if (statement.readonly()) return 0;
  sqlite3_reset(statement.handle());  // before COMMIT
  // sqlite3_changes() keeps the figure of the last DML; a statement that changed nothing has none.
  return sqlite3_total_changes64(connection.handle()) == before
             ? 0
             : sqlite3_changes64(connection.handle());
}

// Many rows are written whole or not at all, within a transaction of the caller's too.
class RowsScope {
 public:
  RowsScope(Connection& connection, bool wanted) : connection_(connection), open_(wanted) {
    if (open_) connection_.begin_savepoint();
  }
  ~RowsScope() {
    if (open_) connection_.abandon_savepoint();
  }
  RowsScope(const RowsScope&) = delete;
  RowsScope& operator=(const RowsScope&) = delete;
  void keep() {
    if (!open_) return;
    connection_.end_savepoint();
    open_ = false;
  }

 private:
  Connection& connection_;
  bool open_;
};

// Once, or for each row of many. `is_within`: a transaction that goes on after it.
void run_all(Connection& connection, Statement& statement, const Request& request, bool is_within,
             RowSink* sink, Answer& answer) {
  const WriteRecord record(connection, statement);
  if (!request.many) {
    request.params.bind(statement.handle());
    answer.changes = run_once(connection, statement, request, sink, answer);
    return;
  }
  RowsScope rows(connection, is_within);
  for (std::size_t row = 0; row < request.batch.size(); ++row) {
    request.batch.bind(statement.handle(), row);
    answer.changes += run_once(connection, statement, request, sink, answer);
  }
  rows.keep();
}

void run_statement(Connection& connection, Statement& statement, const Request& request,
                   Services services, RowSink* sink, Answer& answer) {
  const bool writes = !statement.readonly();
  const bool wrap = (writes || request.many) && !connection.in_transaction() &&
                    !statement.dependencies()->outside_transaction &&
                    !statement.dependencies()->controls_transaction;
  WriteScope scope(connection, services, wrap);
  const Instant begun = writes ? now_precise() : 0;
  const auto dependencies = statement.dependencies();
  const Freshness::Commit accounted(
      services.freshness,
      !wrap && (dependencies->controls_transaction || (writes && !connection.in_transaction())));
  run_all(connection, statement, request, !wrap && connection.in_transaction(), sink, answer);
  if (writes) request.profile->note_write(now_precise() - begun);
  scope.commit();
  // What ends outside begin_transaction() and commit_transaction() is nobody's in particular.
  if ((writes || dependencies->controls_transaction) && !wrap && !connection.in_transaction()) {
    services.freshness.invalidate_all();
  }
}

Error only_for_writes() {
  return {ErrorKind::kQuery, "executemany takes statements that write", SQLITE_MISUSE};
}

void track(Services services, const Answer& answer) {
  if (services.tracker != nullptr) services.tracker->record(*answer.figures, answer.execution);
}

}  // namespace

void count_work(Statement& statement, Execution& execution) {
  const auto take = [&statement](int counter) {
    return static_cast<std::uint64_t>(sqlite3_stmt_status(statement.handle(), counter, 1));
  };
  execution.rows_scanned += take(SQLITE_STMTSTATUS_FULLSCAN_STEP);
  execution.sorts += take(SQLITE_STMTSTATUS_SORT);
  execution.auto_indexes += take(SQLITE_STMTSTATUS_AUTOINDEX);
}

void begin_transaction(Connection& connection, Services services) {
  connection.begin_immediate();
  connection.written() = {};
  services.freshness.begin_write();
  connection.set_announced(true);
}

void commit_transaction(Connection& connection, Services services) {
  const Freshness::Commit accounted(services.freshness);
  connection.commit();
  const WriteSet written = std::exchange(connection.written(), {});
  if (connection.is_announced()) {
    services.freshness.end_write(&written, connection.has_logged());
    connection.set_announced(false);
  } else if (written.everything || !written.tables.empty()) {
    services.freshness.invalidate_all();
  }
}

void rollback_transaction(Connection& connection, Services services) noexcept {
  connection.rollback();
  if (connection.is_announced()) services.freshness.end_write(nullptr, false);
  connection.set_announced(false);
  connection.written() = {};
}

namespace {

// Whether `request` may run on this connection. Throws NeedsWriter, Error.
void check_place(const Connection& connection, Statement& statement, const Request& request) {
  if (!statement.readonly() && connection.role() == Role::kReader) throw NeedsWriter{};
  if (request.many && statement.readonly()) throw only_for_writes();
  if (statement.dependencies()->controls_transaction && !request.may_control_transaction) {
    throw Error(ErrorKind::kQuery, "use transaction() instead of BEGIN, COMMIT and SAVEPOINT",
                SQLITE_MISUSE);
  }
}

}  // namespace

Answer run_request(Connection& connection, Request& request, Services services, RowSink* sink) {
  Answer answer;
  if (request.profile->placeholders.empty) {  // as sqlite3, where it is no error
    if (request.many) throw only_for_writes();
    return answer;
  }
  if (services.tracker != nullptr) answer.figures = request.profile->figures();
  const Instant start = connection.scope_began();
  answer.execution.queue_ns = request.submitted != 0 ? start - request.submitted : 0;
  try {
    if (connection.role() == Role::kWriter && connection.borrower() == Borrower::kNone) {
      connection.forget_changes();
    }
    // Before anything is prepared: an old snapshot has an old schema.
    const bool shares = request.share_snapshot && !connection.in_transaction();
    if (!shares || !connection.snapshot_is_newest(services.freshness)) connection.drop_snapshot();
    Borrowed statement(connection, connection.prepare(request.profile));
    check_place(connection, *statement, request);
    const bool may_keep =
        request.want_proof && statement->dependencies()->cacheable && !connection.in_transaction();
    if (may_keep) answer.seen = services.freshness.observe();
    if (shares && statement->dependencies()->cacheable) {
      connection.share_snapshot(services.freshness);
    } else {
      connection.drop_snapshot();
    }
    run_statement(connection, *statement, request, services, sink, answer);
    if (services.tracker != nullptr) count_work(*statement, answer.execution);
    if (may_keep) {
      answer.dependencies = statement->dependencies();
      answer.cacheable = answer.dependencies->cacheable &&
                         services.freshness.unchanged(answer.seen, answer.dependencies->reads);
    }
  } catch (const NeedsWriter&) {
    throw;
  } catch (const Stopped& stopped) {
    connection.drop_snapshot();
    if (stopped.why != Stop::kBudget) {
      answer.execution.step_ns = now_precise() - start;
      answer.execution.failed = true;
      track(services, answer);
    }
    throw;
  } catch (...) {
    connection.drop_snapshot();
    answer.execution.step_ns = now_precise() - start;
    answer.execution.failed = true;
    track(services, answer);
    throw;
  }
  answer.left_snapshot = connection.holds_snapshot();
  answer.ended = now_precise();
  answer.execution.step_ns = answer.ended - start;
  request.profile->note_run(answer.execution.step_ns);
  if (!request.track_later) track(services, answer);
  return answer;
}

}  // namespace mcp::sqlite
