// connection.cpp: opens, prepares, steps, commits; and stops what runs too long.
#include "sqlite/connection.h"

#include <time.h>

#include <algorithm>
#include <cctype>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "sqlite/analysis.h"
#include "sqlite/pool_errors.h"
#include "sqlite/sqlite_error.h"

namespace mcp::sqlite {
namespace {

constexpr int kProgressOpcodes = 200;                   // about 2 us of work
constexpr Duration kSlowAfter_ns = 200 * kMicrosecond;  // a worker that runs longer is busy
constexpr Duration kLongestNap_ns = 5 * kMillisecond;

void nap(Duration ns) noexcept {
  const timespec time{ns / kSecond, ns % kSecond};
  nanosleep(&time, nullptr);
}

}  // namespace

Connection::Connection(const DatabaseOptions& options, Role role, Freshness* freshness,
                       const Operation& operation)
    : role_(role), freshness_(freshness), busy_timeout_ns_(options.busy_timeout_ns) {
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI |
                         SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(options.path.c_str(), &db_, kFlags, nullptr);
  try {
    if (code != SQLITE_OK) throw sqlite_error(db_, code);
    if (options.guarded) sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_progress_handler(db_, kProgressOpcodes, on_progress, this);
    sqlite3_busy_handler(db_, on_busy, this);
    sqlite3_set_authorizer(db_, on_authorize, this);
    changes_.define_on(db_);
    const Scope scope(*this, operation);
    set_pragmas(options);
    sqlite3_wal_hook(db_, on_wal, this);  // in place of automatic checkpoints
  } catch (...) {
    sqlite3_close_v2(db_);
    throw;
  }
}

Connection::~Connection() {
  statements_.clear();
  sqlite3_finalize(begin_);
  sqlite3_finalize(begin_read_);
  sqlite3_finalize(commit_);
  sqlite3_finalize(begin_savepoint_);
  sqlite3_finalize(undo_savepoint_);
  sqlite3_finalize(end_savepoint_);
  sqlite3_close_v2(db_);
}

void Connection::set_pragmas(const DatabaseOptions& options) {
  const bool readonly = readonly_database();
  if (role_ == Role::kWriter && !options.memory && !readonly) {
    const char* wanted = options.wal ? "wal" : "delete";
    const std::string mode = query_text("PRAGMA journal_mode");
    // Leaving another journal mode alone when WAL is off: somebody chose it.
    if (options.wal && mode != wanted && query_text("PRAGMA journal_mode=wal") != wanted) {
      throw Error(ErrorKind::kDatabase, "the database cannot be switched to write-ahead logging");
    }
  }
  const auto set = [this](const std::string& name, const std::string& value,
                          const std::string& expected) {
    run(("PRAGMA " + name + "=" + value).c_str());
    const std::string got = query_text("PRAGMA " + name);
    if (got != expected) {
      throw Error(ErrorKind::kDatabase, "PRAGMA " + name + "=" + value + " left it at " + got);
    }
  };
  static constexpr std::pair<const char*, const char*> kLevels[] = {
      {"OFF", "0"}, {"NORMAL", "1"}, {"FULL", "2"}, {"EXTRA", "3"}};
  for (const auto& [name, number] : kLevels) {
    if (options.synchronous == name) set("synchronous", name, number);
  }
  const std::string pages = std::to_string(options.cache_pages);
  set("cache_size", pages, pages);
  set("temp_store", "MEMORY", "2");
  if (role_ == Role::kWriter) {
    run("PRAGMA journal_size_limit=67108864");
    page_bytes_ = std::stoi(query_text("PRAGMA page_size"));
  }
}

void Connection::seal() {
  if (role_ == Role::kReader) run("PRAGMA query_only=1");
  forget_changes();
  borrower_ = Borrower::kNone;
}

bool Connection::readonly_database() const noexcept {
  return sqlite3_db_readonly(db_, "main") == 1;
}

Connection::Scope::Scope(Connection& connection, const Operation& operation, Duration budget)
    : connection_(connection) {
  if (budget == 0) connection.drop_snapshot();
  connection.operation_ = &operation;
  connection.stop_ = Stop::kNone;
  connection.user_failure_.clear();
  connection.busy_since_ = 0;
  const bool inline_run = budget > 0;
  const Instant now = now_precise();
  connection.scope_began_ = now;
  connection.budget_end_ = inline_run ? now + budget : kNever;
  connection.next_poll_ = operation.has_poll() ? now + kPollInterval_ns : kNever;
  connection.slow_at_ =
      inline_run || connection.slow_hook_ == nullptr ? kNever : now + kSlowAfter_ns;
}

Connection::Scope::~Scope() { connection_.operation_ = nullptr; }

bool Connection::should_stop() noexcept {
  if (user_code_failed()) return true;
  if (operation_ == nullptr) return false;
  if (stop_ != Stop::kNone) return true;
  if (operation_->cancelled()) {
    stop_ = Stop::kCancelled;
    return true;
  }
  const Instant now = now_precise();
  if (now >= budget_end_) {
    stop_ = Stop::kBudget;
  } else if (now >= operation_->deadline()) {
    stop_ = Stop::kDeadline;
  } else if (now >= next_poll_) {
    next_poll_ = now + kPollInterval_ns;
    if (operation_->polled()) stop_ = Stop::kInterrupted;
  }
  if (now >= slow_at_) {
    slow_at_ = kNever;
    slow_hook_(slow_argument_);
  }
  return stop_ != Stop::kNone;
}

int Connection::on_progress(void* self) noexcept {
  return static_cast<Connection*>(self)->should_stop() ? 1 : 0;
}

int Connection::on_busy(void* pointer, int attempt) noexcept {
  auto& self = *static_cast<Connection*>(pointer);
  if (self.budget_end_ != kNever && self.operation_ != nullptr) {
    self.stop_ = Stop::kBudget;  // an inline run waits for nobody
    return 0;
  }
  if (self.should_stop()) return 0;
  const Instant now = now_precise();
  if (attempt == 0) self.busy_since_ = now;
  const Instant deadline = self.operation_ != nullptr ? self.operation_->deadline() : kNever;
  // A caller that named its time waits that long; the others wait for the busy timeout.
  const Instant until = deadline != kNever ? deadline : self.busy_since_ + self.busy_timeout_ns_;
  if (now >= until) return 0;
  nap(std::min({kLongestNap_ns, Duration{50} * kMicrosecond << std::min(attempt, 7), until - now}));
  return 1;
}

template <class Call>
int Connection::unlocked(Call call) {
  int code = call();
  for (int attempt = 0; code == SQLITE_LOCKED_SHAREDCACHE && on_busy(this, attempt) != 0; ++attempt)
    code = call();
  return code;
}

int Connection::on_wal(void* self, sqlite3* db, const char* schema, int frames) noexcept {
  if (sqlite3_stricmp(schema, "main") != 0) {  // attached: as SQLite's own hook does
    if (frames >= kCheckpointFrames) {
      sqlite3_wal_checkpoint_v2(db, schema, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    }
    return SQLITE_OK;
  }
  auto& connection = *static_cast<Connection*>(self);
  if (frames < connection.wal_frames_) connection.next_checkpoint_ = kCheckpointFrames;
  connection.wal_frames_ = frames;
  connection.has_logged_ = true;
  return SQLITE_OK;
}

bool Connection::admit(int action, const char* first, const char* second, const char* schema,
                       const char* trigger) {
  const Trace trace = trace_of(db_, action, first, second, schema);
  if (trace == Trace::kNone) return true;
  // The temporary triggers that there are by now are init's: their work is no wish of the caller.
  const bool allowed =
      trace == Trace::kConnection && (borrower_ == Borrower::kLease || trigger != nullptr);
  if (allowed) {
    touched_ = leaves_ = true;
  } else {
    refused_ = {trace, trace_name(action, first)};
  }
  return allowed;
}

int Connection::on_authorize(void* pointer, int action, const char* first, const char* second,
                             const char* schema, const char* trigger) noexcept {
  auto& self = *static_cast<Connection*>(pointer);
  if (self.analysis_ == nullptr) return SQLITE_OK;
  try {
    if (self.preparing_ && !self.admit(action, first, second, schema, trigger)) return SQLITE_DENY;
    self.analysis_->see(action, first != nullptr ? first : "", second != nullptr ? second : "",
                        schema);
  } catch (const std::bad_alloc&) {
    return SQLITE_DENY;
  }
  return SQLITE_OK;
}

void Connection::refuse(Profile& profile) const {
  if (refused_.trace == Trace::kConnection && borrower_ == Borrower::kMovable) {
    profile.set_access(Profile::Access::kWrite);
    throw NeedsWriter{};
  }
  const char* rest =
      refused_.trace == Trace::kProcess
          ? " would change all connections of the process: use init="
          : " would change one connection of the pool: use init= to have it on all of them, or "
            "acquire() to have it for the length of a block";
  throw Error(ErrorKind::kQuery, refused_.what + rest, SQLITE_AUTH);
}

void Connection::check_user_code() {
  if (!user_code_failed()) return;
  throw Error(ErrorKind::kQuery, std::exchange(user_failure_, {}), SQLITE_ERROR);
}

void Connection::fail(int code) {
  check_user_code();
  if (stop_ != Stop::kNone) throw Stopped{stop_};
  if (breaks_connection(code)) broken_ = true;
  if (is_corruption(code)) corrupt_ = true;
  if ((code & 0xff) == SQLITE_BUSY || code == SQLITE_LOCKED_SHAREDCACHE) throw not_unlocked(code);
  throw sqlite_error(db_, code);
}

std::unique_ptr<Statement> Connection::prepare(const ProfilePtr& profile) {
  if (auto cached = statements_.take(*profile)) return cached;
  Analysis analysis(freshness_, user_functions_);
  analysis_ = &analysis;
  refused_.trace = Trace::kNone;
  leaves_ = false;
  preparing_ = borrower_ != Borrower::kInit;
  sqlite3_stmt* handle = nullptr;
  const char* tail = nullptr;
  const int code = unlocked([&] {
    return sqlite3_prepare_v3(db_, profile->sql.c_str(), static_cast<int>(profile->sql.size()) + 1,
                              SQLITE_PREPARE_PERSISTENT, &handle, &tail);
  });
  preparing_ = false;
  analysis_ = nullptr;
  if (refused_.trace != Trace::kNone) refuse(*profile);
  if (code != SQLITE_OK) fail(code);
  if (handle == nullptr) throw Error(ErrorKind::kQuery, "the statement is empty", SQLITE_MISUSE);
  auto statement = std::make_unique<Statement>(handle, profile);
  check_single(profile->sql, tail);
  auto facts = analysis.finish(handle);
  // BEGIN and many a PRAGMA are "read-only" to SQLite. BEGIN leads to writes, and a setting belongs
  // where the lease will write.
  profile->set_access(statement->readonly() && !facts->controls_transaction && !leaves_
                          ? Profile::Access::kRead
                          : Profile::Access::kWrite);
  statement->set_dependencies(facts);
  profile->set_dependencies(std::move(facts));
  return statement;
}

void Connection::release(std::unique_ptr<Statement> statement) noexcept {
  statement->reset();
  try {
    statements_.put(std::move(statement));
  } catch (const std::bad_alloc&) {
    // Then it is prepared again when it is needed.
  }
}

bool Connection::more_after(Statement& statement, int code) {
  if (user_code_failed() && !statement.readonly()) {
    statement.reset();
    rollback();  // it wrote by an order that does not hold
  }
  check_user_code();
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  fail(code);
}

bool Connection::step(Statement& statement) {
  if (sqlite3_stmt_busy(statement.handle()) != 0) {
    return more_after(statement, sqlite3_step(statement.handle()));
  }
  // A changed schema makes SQLite prepare the statement again in here, with new facts.
  Analysis analysis(freshness_, user_functions_);
  analysis_ = &analysis;
  const int code = unlocked([&] { return sqlite3_step(statement.handle()); });
  analysis_ = nullptr;
  if (statement.take_reprepared() && !analysis.empty()) {
    auto facts = analysis.finish(statement.handle());
    statement.set_dependencies(facts);
    statement.profile().set_dependencies(std::move(facts));
  }
  return more_after(statement, code);
}

void Connection::run_prepared(sqlite3_stmt*& handle, const char* sql) {
  int code = SQLITE_OK;
  if (handle == nullptr) {
    code = unlocked([&] {
      return sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
    });
    if (code != SQLITE_OK) fail(code);
  }
  code = unlocked([&] {
    const int done = sqlite3_step(handle);
    sqlite3_reset(handle);
    return done;
  });
  if (code != SQLITE_DONE) fail(code);
}

void Connection::begin_immediate() { run_prepared(begin_, "BEGIN IMMEDIATE"); }

void Connection::commit() { run_prepared(commit_, "COMMIT"); }

void Connection::begin_savepoint() { run_prepared(begin_savepoint_, "SAVEPOINT mcp_shared"); }

void Connection::undo_savepoint() { run_prepared(undo_savepoint_, "ROLLBACK TO mcp_shared"); }

void Connection::end_savepoint() { run_prepared(end_savepoint_, "RELEASE mcp_shared"); }

void Connection::abandon_savepoint() noexcept {
  if (!in_transaction()) return;  // what failed has ended that too
  const Operation* operation = std::exchange(operation_, nullptr);  // nothing stops it
  if (sqlite3_exec(db_, "ROLLBACK TO mcp_shared; RELEASE mcp_shared", nullptr, nullptr, nullptr) !=
      SQLITE_OK) {
    rollback();
  }
  operation_ = operation;
}

bool Connection::has_deferred_violation() const noexcept {
  int count = 0, highest = 0;
  sqlite3_db_status(db_, SQLITE_DBSTATUS_DEFERRED_FKS, &count, &highest, 0);
  return count != 0;
}

bool Connection::snapshot_is_newest(Freshness& freshness) const {
  Freshness::Token newest;
  return holds_snapshot_ && freshness.newest_state(newest) && newest == snapshot_;
}

void Connection::share_snapshot(Freshness& freshness) {
  Freshness::Token newest;
  const bool known = freshness.newest_state(newest);
  if (holds_snapshot_) {
    if (known && newest == snapshot_) return;
    drop_snapshot();
  }
  if (!known) return;
  // The next read takes a snapshot that is no older than `newest`.
  run_prepared(begin_read_, "BEGIN");
  snapshot_ = newest;
  holds_snapshot_ = true;
}

void Connection::drop_snapshot() noexcept {
  if (!holds_snapshot_) return;
  const Operation* operation = std::exchange(operation_, nullptr);  // nothing stops this
  try {
    run_prepared(commit_, "COMMIT");
  } catch (...) {
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  operation_ = operation;
  holds_snapshot_ = false;
  if (in_transaction()) broken_ = true;
}

void Connection::run(const char* sql) {
  const int code = unlocked([&] { return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr); });
  if (code != SQLITE_OK) fail(code);
}

std::string Connection::query_text(const std::string& sql) {
  sqlite3_stmt* handle = nullptr;
  int code = sqlite3_prepare_v2(db_, sql.c_str(), -1, &handle, nullptr);
  std::string text;
  if (code == SQLITE_OK) {
    code = sqlite3_step(handle);
    if (code == SQLITE_ROW) {
      const unsigned char* value = sqlite3_column_text(handle, 0);
      if (value != nullptr) text = reinterpret_cast<const char*>(value);
    }
  }
  sqlite3_finalize(handle);
  if (code != SQLITE_ROW && code != SQLITE_DONE) fail(code);
  return text;
}

void Connection::rollback() noexcept {
  if (!in_transaction()) return;
  const Operation* operation = std::exchange(operation_, nullptr);  // nothing stops a rollback
  sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  operation_ = operation;
  if (in_transaction()) broken_ = true;
}

int Connection::checkpoint() noexcept {
  next_checkpoint_ = wal_frames_ + kCheckpointFrames;
  int in_wal = 0;
  int copied = 0;
  if (sqlite3_wal_checkpoint_v2(db_, "main", SQLITE_CHECKPOINT_PASSIVE, &in_wal, &copied) !=
          SQLITE_OK ||
      in_wal < 0) {
    return wal_frames_;
  }
  wal_frames_ = in_wal;
  return in_wal - copied;
}

void Connection::note_user_function(const std::string& name) {
  std::string key(name);
  std::transform(key.begin(), key.end(), key.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  user_functions_.insert(std::move(key));
  statements_.clear();
}

}  // namespace mcp::sqlite
