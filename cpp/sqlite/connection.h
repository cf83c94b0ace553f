// connection.h: one SQLite connection: opened and checked, its statements prepared, analysed and
// stepped, and stopped when the operation that it runs for is over.
//
// Thread-compatible: whoever holds it has it alone. Nothing here waits for another thread of the
// pool; waiting for another process's lock ends with the operation.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "sqlite/borrowed_state.h"
#include "sqlite/database_options.h"
#include "sqlite/operation.h"
#include "sqlite/params.h"
#include "sqlite/row_block.h"
#include "sqlite/statement.h"

namespace mcp::sqlite {

// Thrown when an operation was stopped before its end.
struct Stopped {
  Stop why;
};

// Thrown by a statement that turned out to belong on the writer, on a connection that only reads.
struct NeedsWriter {};

// For whom statements are prepared, and what becomes of those that leave something on the
// connection for the next one (borrowed_state.h).
enum class Borrower {
  kInit,     // the pool and init=: what they leave is how the connection is meant to be
  kNone,     // a statement by itself: refused
  kMovable,  // a lease that may still move to the writer: it moves first
  kLease,    // a lease that stays: allowed, and the connection is not reusable() afterwards
};

class Connection {
 public:
  // Opens, sets the pragmas in order and reads them back, within the operation's time. Throws
  // Error, Stopped.
  Connection(const DatabaseOptions& options, Role role, Freshness* freshness,
             const Operation& operation);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The end of the set-up, after the user's own: readers refuse to write from here on.
  void seal();

  // While one of these lives, what runs on the connection is stopped with its operation, or after
  // `budget` (0: none). With a budget no lock is waited for; without, no snapshot is held.
  class Scope {
   public:
    Scope(Connection& connection, const Operation& operation, Duration budget = 0);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Connection& connection_;
  };

  // When the Scope that is open began.
  [[nodiscard]] Instant scope_began() const noexcept { return scope_began_; }

  void serve(Borrower borrower) noexcept { borrower_ = borrower; }
  [[nodiscard]] Borrower borrower() const noexcept { return borrower_; }
  // The next statement sees nothing of what was changed before in changes(), total_changes() and
  // last_insert_rowid().
  void forget_changes() noexcept { changes_.forget(db_); }

  // A statement of this connection, analysed; give it back with release(). Throws Error, Stopped,
  // NeedsWriter.
  [[nodiscard]] std::unique_ptr<Statement> prepare(const ProfilePtr& profile);
  void release(std::unique_ptr<Statement> statement) noexcept;

  // True: a row; false: the end. Throws Error, Stopped.
  bool step(Statement& statement);

  // Runs fixed SQL to its end. Throws Error, Stopped.
  void run(const char* sql);
  [[nodiscard]] std::string query_text(const std::string& sql);

  // Takes the database's write lock, waiting for other processes within the operation's time.
  void begin_immediate();
  void commit();
  // Around each of the statements that share a transaction. Throw Error.
  void begin_savepoint();
  void undo_savepoint();
  void end_savepoint();
  // Undoes what was done since begin_savepoint(), whatever has failed; nothing where the
  // transaction is over.
  void abandon_savepoint() noexcept;
  // Whether a foreign key waits for COMMIT to be checked, and does not hold yet.
  [[nodiscard]] bool has_deferred_violation() const noexcept;
  // In one that a request asked for.
  [[nodiscard]] bool in_transaction() const noexcept {
    return !holds_snapshot_ && sqlite3_get_autocommit(db_) == 0;
  }
  // Never throws; afterwards the connection is in no transaction, or broken.
  void rollback() noexcept;

  // Half of a short SELECT is the kernel's: taking and leaving the lock on its snapshot. After this
  // the statements that only read ordinary tables of the main database share one. What is read then
  // is no older than the moment of this call: a snapshot that is held already is dropped unless the
  // wal-index proves that it is the newest state still. Where no wal-index tells, nothing is held.
  // REQUIRES: in no transaction.
  void share_snapshot(Freshness& freshness);
  [[nodiscard]] bool snapshot_is_newest(Freshness& freshness) const;
  void drop_snapshot() noexcept;
  [[nodiscard]] bool holds_snapshot() const noexcept { return holds_snapshot_; }

  // What the statements of the transaction at hand have written.
  [[nodiscard]] WriteSet& written() noexcept { return written_; }
  // Whether Freshness::begin_write() was told of the transaction at hand, and waits for its end.
  [[nodiscard]] bool is_announced() const noexcept { return is_announced_; }
  void set_announced(bool announced) noexcept {
    is_announced_ = announced;
    has_logged_ = false;
  }
  // Whether a commit since set_announced() has put something into the main database's log.
  [[nodiscard]] bool has_logged() const noexcept { return has_logged_; }

  [[nodiscard]] sqlite3* handle() const noexcept { return db_; }
  [[nodiscard]] Role role() const noexcept { return role_; }
  [[nodiscard]] bool broken() const noexcept { return broken_; }
  // Whether it is as it was when it was opened, but for what is in the database.
  [[nodiscard]] bool reusable() const noexcept { return !broken_ && !touched_; }
  [[nodiscard]] bool corrupt() const noexcept { return corrupt_; }
  [[nodiscard]] bool readonly_database() const noexcept;
  [[nodiscard]] int wal_frames() const noexcept { return wal_frames_; }
  [[nodiscard]] int page_bytes() const noexcept { return page_bytes_; }
  [[nodiscard]] bool checkpoint_due() const noexcept { return wal_frames_ >= next_checkpoint_; }
  // Copies what it can of the WAL into the database without waiting for anybody. Returns the
  // frames that are left because a reader still needs them.
  int checkpoint() noexcept;

  // Functions that are not SQLite's own make a result uncacheable.
  void note_user_function(const std::string& name);
  // User code that SQLite called failed and had no way to say so: what runs fails with `why`, and
  // leaves nothing behind.
  void fail_user_code(std::string why) { user_failure_ = std::move(why); }
  [[nodiscard]] bool user_code_failed() const noexcept { return !user_failure_.empty(); }
  void check_user_code();  // throws Error
  // Called when a statement has run for longer than a moment, once for each Scope.
  void set_slow_hook(void (*hook)(void*), void* argument) noexcept {
    slow_hook_ = hook;
    slow_argument_ = argument;
  }

 private:
  friend class Analysis;

  static constexpr int kCheckpointFrames = 1000;

  struct Refused {  // by the authorizer, while a statement is prepared
    Trace trace = Trace::kNone;
    std::string what;
  };

  // False: refused.
  [[nodiscard]] bool admit(int action, const char* first, const char* second, const char* schema,
                           const char* trigger);
  [[noreturn]] void refuse(Profile& profile) const;
  static int on_authorize(void* self, int action, const char* first, const char* second,
                          const char* schema, const char* trigger) noexcept;
  // In a cache that connections share, SQLite returns at once where another has a table locked, and
  // asks no busy handler: calls again while on_busy() says so.
  template <class Call>
  int unlocked(Call call);
  void run_prepared(sqlite3_stmt*& handle, const char* sql);
  void set_pragmas(const DatabaseOptions& options);
  [[noreturn]] void fail(int code);
  [[nodiscard]] bool more_after(Statement& statement, int code);
  [[nodiscard]] bool should_stop() noexcept;
  static int on_progress(void* self) noexcept;
  static int on_busy(void* self, int attempt) noexcept;
  static int on_wal(void* self, sqlite3* db, const char* schema, int frames) noexcept;

  sqlite3* db_ = nullptr;
  const Role role_;
  Freshness* const freshness_;
  const Duration busy_timeout_ns_;
  StatementCache statements_;
  std::unordered_set<std::string> user_functions_;
  class Analysis* analysis_ = nullptr;  // collects for the statement that is being prepared
  Borrower borrower_ = Borrower::kInit;
  bool preparing_ = false;  // for the borrower
  bool leaves_ = false;     // the statement that is being prepared leaves something
  Refused refused_;
  Changes changes_;
  WriteSet written_;
  bool is_announced_ = false;
  bool has_logged_ = false;
  bool broken_ = false;
  bool touched_ = false;
  bool corrupt_ = false;
  int wal_frames_ = 0;
  int page_bytes_ = 4096;
  int next_checkpoint_ = kCheckpointFrames;
  bool holds_snapshot_ = false;
  Freshness::Token snapshot_{};
  sqlite3_stmt* begin_ = nullptr;
  sqlite3_stmt* begin_read_ = nullptr;
  sqlite3_stmt* commit_ = nullptr;
  sqlite3_stmt* begin_savepoint_ = nullptr;
  sqlite3_stmt* undo_savepoint_ = nullptr;
  sqlite3_stmt* end_savepoint_ = nullptr;

  // Of the Scope that is open:
  const Operation* operation_ = nullptr;
  Instant scope_began_ = 0;
  Instant budget_end_ = kNever;
  Instant busy_since_ = 0;
  Instant next_poll_ = 0;
  Instant slow_at_ = kNever;
  Stop stop_ = Stop::kNone;
  std::string user_failure_;
  void (*slow_hook_)(void*) = nullptr;
  void* slow_argument_ = nullptr;
};

}  // namespace mcp::sqlite
