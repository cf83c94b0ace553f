// pool_opening.cpp: a pool opens its database, and opens it anew when the file was replaced.
//
// Two files of one name share the names of their log and of its index, so nothing of the new one is
// opened while anything of the old one is. Whoever finds the file replaced stops handing out
// connections, closes those that nobody runs a statement on, leases included, waits for the rest,
// empties the log that the old file left, and lets the pool go on. What runs meanwhile ends on the
// old file; what was borrowed from it fails at its next statement.
//
// A file that was damaged in use (FileWatch) is opened anew in the same way: nothing that SQLite
// remembers of it is true any more, and others who open it do not see what is committed here.
//
// A guarded pool leaves that to its owner, who puts the files in order and says by expect() which
// one is to be opened. A connection finds the log by its name alone, so it is not used unless the
// log that it found is the one that the others have.
#include <sqlite3.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "sqlite/fork_guard.h"
#include "sqlite/pool.h"
#include "sqlite/pool_errors.h"
#include "sqlite/sqlite_error.h"

namespace mcp::sqlite {
namespace {

using Handle = std::unique_ptr<sqlite3, int (*)(sqlite3*)>;

// A connection that has read the database once, for Freshness.
Handle open_watch(const DatabaseOptions& database, const Operation& operation) {
  sqlite3* opened = nullptr;
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
  int code = sqlite3_open_v2(database.path.c_str(), &opened, kFlags, nullptr);
  Handle watch(opened, sqlite3_close_v2);
  if (code == SQLITE_OK) {
    if (database.guarded) sqlite3_db_config(opened, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    const Duration left = operation.deadline() == kNever ? database.busy_timeout_ns
                                                         : operation.deadline() - now_precise();
    sqlite3_busy_timeout(opened, static_cast<int>(std::max<Duration>(left / kMillisecond, 0)));
    code = sqlite3_exec(opened, "SELECT 1 FROM sqlite_schema", nullptr, nullptr, nullptr);
    sqlite3_busy_timeout(opened, 0);
  }
  if (code == SQLITE_OK) return watch;
  throw(code & 0xff) == SQLITE_BUSY ? not_unlocked(code) : sqlite_error(opened, code);
}

// Whether SQLite's own look at the name finds another file than the one that it has open.
bool has_moved(sqlite3* db) noexcept {
  int moved = 0;
  return sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
         moved != 0;
}

// How often a file that is replaced again and again is tried.
constexpr int kMostOpenings = 20;

}  // namespace

void Pool::open(const Operation& operation) {
  if (opened_.load(std::memory_order_acquire)) return;
  const MutexLock lock(open_mutex_);
  if (opened_.load(std::memory_order_relaxed)) return;
  check_not_inherited(file());
  // Whatever fails while the file is being replaced says nothing of the new one.
  for (int left = kMostOpenings - 1;; --left) {
    FileId before;
    const bool was_there = identify(file(), before);
    try {
      return open_once(operation);
    } catch (const Error&) {
      FileId now;
      if (options_.database.guarded || left == 0 || !was_there ||
          (identify(file(), now) && now == before))
        throw;
    }
  }
}

void Pool::open_once(const Operation& operation) {
  // The first connection decides on the journal mode; the watch keeps the shared memory mapped and
  // proves freshness. Nobody has the writer before the pool is open.
  Connection first(options_.database, Role::kWriter, nullptr, operation);
  FileId id;
  const bool watched = identify(file(), id);
  Handle watch = open_watch(options_.database, operation);
  FileId later;
  if (watched && (has_moved(first.handle()) || has_moved(watch.get()) || !identify(file(), later) ||
                  later != id)) {
    throw Error(ErrorKind::kDatabase, "the database file was replaced while it was being opened");
  }
  if (options_.database.guarded) {
    const MutexLock lock(mutex_);
    if (!watched || id != expected_) throw file_unexpected();
  }
  auto mode = Freshness::Mode::kDataVersion;
  if (options_.database.memory)
    mode = Freshness::Mode::kPrivate;
  else if (first.query_text("PRAGMA journal_mode") == "wal")
    mode = Freshness::Mode::kWalIndex;
  else if (shares_cache(options_.database.path))
    mode = Freshness::Mode::kNone;
  freshness_.attach(watch.release(), mode);
  if (watched) {
    file_.begin(id);
    log_.remember(file());
  }
  opened_.store(true, std::memory_order_release);
}

void Pool::expect(const FileId& id) {
  const MutexLock lock(mutex_);
  expected_ = id;
}

bool Pool::awaits_word() {
  const MutexLock lock(mutex_);
  return options_.database.guarded && file_.has(expected_);
}

Connection& Pool::connect(Slot& slot, const Operation& operation) {
  for (;;) {
    open(operation);
    if (file_.moved()) {
      if (awaits_word()) throw file_.is_damaged() ? file_damaged() : file_unexpected();
      renew(slot, operation);
      continue;
    }
    if (slot.connection != nullptr) return *slot.connection;
    std::uint64_t renewals = 0;
    {
      const MutexLock lock(mutex_);
      renewals = renewals_;
    }
    std::unique_ptr<Connection> connection;
    try {
      connection =
          std::make_unique<Connection>(options_.database, slot.role, &freshness_, operation);
    } catch (const Error&) {
      if (!file_moved_now()) throw;
      continue;
    }
    if (options_.database.guarded && !log_.is_beside(file())) throw log_replaced();
    {
      const Freshness::Commit accounted(freshness_, options_.database.memory);
      if (options_.init) options_.init(*connection);
      connection->rollback();
      connection->seal();
      connection->set_slow_hook(&Pool::on_slow, this);
      if (options_.database.memory) freshness_.invalidate_all();
    }
    if (file_.moved()) continue;
    const MutexLock lock(mutex_);
    if (renewing_ || renewals != renewals_) continue;  // it may be of either file
    slot.connection = std::move(connection);
    open_count_.fetch_add(1);
    return *slot.connection;
  }
}

// ---- a file that was replaced, or damaged ----

namespace {

// A connection to a file that was replaced, and what depends on it.
struct Old {
  std::unique_ptr<Connection> connection;
  std::vector<std::shared_ptr<Cursor>> cursors;
};

// Waits a little, and throws when `operation` should not wait any longer.
void wait_on(CondVar& changed, Mutex& mutex, const Operation& operation, Instant deadline)
    REQUIRES(mutex) {
  if (operation.cancelled()) throw Stopped{Stop::kCancelled};
  const Instant now = now_precise();
  if (now >= deadline) {
    throw Error(ErrorKind::kPoolTimeout,
                "the database file was replaced, and a statement still runs on the old one");
  }
  changed.wait_for(mutex, std::min(deadline - now, kPollInterval_ns));
  if (!operation.has_poll()) return;
  mutex.unlock();  // polling may take the interpreter lock
  const bool interrupted = operation.polled();
  mutex.lock();
  if (interrupted) throw Stopped{Stop::kInterrupted};
}

int checkpoint_at_last(sqlite3* watch, int mode, const Operation& operation) noexcept {
  const Duration left = std::min<Duration>(operation.deadline() - now_precise(), kSecond);
  sqlite3_busy_timeout(watch, static_cast<int>(std::max<Duration>(left, 0) / kMillisecond));
  const int code = sqlite3_wal_checkpoint_v2(watch, "main", mode, nullptr, nullptr);
  sqlite3_busy_timeout(watch, 0);
  return code;
}

// What was committed to a log that has lost its name, or its index, goes into the file, where
// that can harm nobody.
void leave_damaged(sqlite3* watch, const FileWatch& file, const Operation& operation) {
  if (file.takes_log() &&
      checkpoint_at_last(watch, SQLITE_CHECKPOINT_FULL, operation) == SQLITE_OK) {
    logger("sqlite").warn("what a deleted log of the database held was put into its file");
  }
  // What lies beside the file now is not this connection's to delete.
  sqlite3_db_config(watch, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}

}  // namespace

// Closes whatever nobody runs a statement on, until nothing is open.
void Pool::close_unused(const Operation& operation) {
  const Instant deadline =
      std::min(operation.deadline(), now_precise() + options_.acquire_timeout_ns);
  for (;;) {
    std::vector<Old> unused;
    {
      const MutexLock lock(mutex_);
      for (const auto& slot : slots_) {
        const bool used = slot->held_ && (!slot->leased_ || slot->running_);
        if (used || slot->connection == nullptr) continue;
        unused.push_back({std::move(slot->connection), std::exchange(slot->cursors, {})});
        slot->streams.store(0);
      }
      if (unused.empty()) {
        if (open_count_.load() == 0) return;
        wait_on(changed_, mutex_, operation, deadline);
        continue;
      }
    }
    for (Old& old : unused) {
      for (const auto& cursor : old.cursors) cursor->end(*old.connection);
      if (old.connection->in_transaction() || old.connection->is_announced()) {
        rollback_transaction(*old.connection, services());
      }
      old.connection = nullptr;
      open_count_.fetch_sub(1);
    }
  }
}

// The watch is the last that has the old file open.
void Pool::let_go_of_file(const Operation& operation) {
  const MutexLock lock(open_mutex_);
  const auto mode = freshness_.mode();
  Handle watch(freshness_.release(), sqlite3_close_v2);
  if (watch != nullptr && file_.is_there()) {
    leave_damaged(watch.get(), file_, operation);
  } else if (watch != nullptr && log_.is_left_over(file())) {
    // Into the old file. What stays in the log would be taken for changes of the new one.
    const int code = checkpoint_at_last(watch.get(), SQLITE_CHECKPOINT_TRUNCATE, operation);
    if ((code & 0xff) == SQLITE_BUSY) {
      freshness_.attach(watch.release(), mode);
      throw Error(ErrorKind::kDatabase,
                  "the database file was replaced, and another process still uses the log of the "
                  "old one: close it there",
                  code);
    }
  }
  opened_.store(false);
  file_.end();
}

std::uint64_t Pool::era() noexcept {
  const bool moved = file_moved_now();
  const MutexLock lock(mutex_);
  return renewals_ + (moved ? 1 : 0);
}

void Pool::renew(Slot& slot, const Operation& operation) {
  if (slot.connection != nullptr) {
    slot.connection = nullptr;
    open_count_.fetch_sub(1);
  }
  {
    const MutexLock lock(mutex_);
    changed_.notify_all();
    if (std::exchange(renewing_, true)) {  // by another thread, which waits for this one too
      const Instant deadline =
          std::min(operation.deadline(), now_precise() + options_.acquire_timeout_ns);
      while (renewing_) wait_on(changed_, mutex_, operation, deadline);
      return;
    }
  }
  const auto end = [this](bool renewed) {
    const MutexLock lock(mutex_);
    renewing_ = false;
    renewals_ += renewed ? 1 : 0;
    changed_.notify_all();
    wake_worker();
  };
  const bool damaged = file_.is_damaged();
  try {
    close_unused(operation);
    let_go_of_file(operation);
  } catch (...) {
    end(false);
    throw;
  }
  end(true);
  logger("sqlite").warn(damaged
                            ? "the database file was written over, or lost its log, while it "
                              "was in use: its connections are opened anew"
                            : "the database file was replaced: its connections are opened anew");
}

}  // namespace mcp::sqlite
