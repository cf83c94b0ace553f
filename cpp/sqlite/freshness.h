// freshness.h: proves that no commit has changed a table since a moment in the past, whoever
// committed: this pool, another connection or another process.
//
// In WAL mode every commit changes the 48-byte header of the wal-index, which lies in memory that
// all processes share; reading and comparing both copies takes 20 ns. In the other journal modes
// the proof is `PRAGMA data_version` on a connection of its own. A private in-memory database needs
// neither, since all its writers report here.
//
// A header that moved is either explained by a commit of this pool, which names the tables it
// changed, or it is foreign and everything older is void (the epoch grows). Commits of the pool are
// told apart under the database's write lock: between begin_write() and end_write() nobody else can
// commit, so exactly one step of the change counter is ours.
//
// Safe from any thread. Holds its lock for a few loads and stores, in the data_version mode also
// around that pragma; never while waiting for a database lock.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"

struct sqlite3;
struct sqlite3_stmt;

namespace mcp::sqlite {

using TableId = std::uint32_t;

// What a transaction has written.
struct WriteSet {
  std::vector<TableId> tables;
  bool everything = false;  // DDL, statements outside the analysis
};

class Freshness {
 public:
  enum class Mode { kWalIndex, kDataVersion, kPrivate, kNone };

  struct Observation {
    bool proven = false;  // false: nothing may be served or admitted now
    std::uint64_t epoch = 0;
    std::uint64_t clock = 0;  // own commits that have been accounted for
  };

  // A state of the database, as the wal-index names it.
  using Token = std::array<std::uint64_t, 6>;

  // How far checkpoints have come. In WAL mode nothing else writes to the database's file.
  struct Checkpoints {
    bool known = false;
    std::uint64_t log = 0;              // changes whenever the log is begun anew
    std::uint32_t begun = 0, done = 0;  // frames of it
    [[nodiscard]] bool at_rest() const noexcept { return known && begun == done; }
    friend bool operator==(const Checkpoints&, const Checkpoints&) = default;
  };

  Freshness() = default;  // proves nothing until attach()
  ~Freshness();
  Freshness(const Freshness&) = delete;
  Freshness& operator=(const Freshness&) = delete;

  // `watch` is a connection that has read the database once and that nobody else uses; owned from
  // here on. It keeps the shared memory mapped, and an in-memory database alive.
  void attach(sqlite3* watch, Mode mode);
  void detach();
  // The last connection to be closed, as the watch is, deletes the log, though told not to before.
  void delete_log_at_close();
  // detach(); the watch is the caller's again.
  [[nodiscard]] sqlite3* release();

  [[nodiscard]] Observation observe();
  // True when nothing in `tables` has changed since `then`, proven at this moment.
  [[nodiscard]] bool unchanged(const Observation& then, std::span<const TableId> tables);

  // The state that the last commit left, whoever's it was. False where no shared memory tells, and
  // during a commit.
  [[nodiscard]] bool newest_state(Token& token);

  [[nodiscard]] Checkpoints checkpoints();

  // A number that has grown since the last call if anybody has committed, or if it cannot be told.
  // It costs a look at the header, and needs no proof of whose the commit was.
  [[nodiscard]] std::uint64_t version();
  // What version() tells from here on is not what it told before.
  void forget_version();

  // REQUIRES: the caller's connection holds the database's write lock.
  void begin_write();
  // Ends what begin_write() began: after COMMIT, with what was written and whether anything of it
  // went into the log (without that, a header that moved is another's doing); or after ROLLBACK,
  // with null.
  void end_write(const WriteSet* written, bool logged);
  // A change that the analysis cannot name.
  void invalidate_all();

  // Around whatever may commit, and the end_write() or invalidate_all() that accounts for it. What
  // only we can tell of, a commit to a private database, others see before it is accounted for:
  // nothing of such a database is proven meanwhile.
  class Commit {
   public:
    explicit Commit(Freshness& freshness, bool may_commit = true);
    ~Commit();
    Commit(const Commit&) = delete;
    Commit& operator=(const Commit&) = delete;

   private:
    Freshness* const freshness_;  // null: nothing commits
  };

  // The number of a table name; names differ in more than case.
  [[nodiscard]] TableId table(std::string_view name);
  [[nodiscard]] Mode mode() const;

 private:
  [[nodiscard]] bool read_token(Token& token) REQUIRES(mutex_);
  [[nodiscard]] Observation observe_locked() REQUIRES(mutex_);
  void map_wal_index() REQUIRES(mutex_);

  mutable Mutex mutex_;
  sqlite3* watch_ GUARDED_BY(mutex_) = nullptr;
  Mode mode_ GUARDED_BY(mutex_) = Mode::kNone;
  const volatile std::uint64_t* header_ GUARDED_BY(mutex_) = nullptr;  // both copies, shared memory
  sqlite3_stmt* data_version_ GUARDED_BY(mutex_) = nullptr;
  Token known_ GUARDED_BY(mutex_){};  // the last token that is explained
  Token seen_ GUARDED_BY(mutex_){};   // by version(), if has_seen_
  bool has_seen_ GUARDED_BY(mutex_) = false;
  std::uint64_t version_ GUARDED_BY(mutex_) = 1;
  bool writing_ GUARDED_BY(mutex_) = false;
  int committing_ GUARDED_BY(mutex_) = 0;  // Commits that live
  std::uint64_t epoch_ GUARDED_BY(mutex_) = 1;
  std::uint64_t clock_ GUARDED_BY(mutex_) = 1;
  std::vector<std::uint64_t> changed_at_ GUARDED_BY(mutex_);  // by TableId
  std::unordered_map<std::string, TableId> ids_ GUARDED_BY(mutex_);
};

}  // namespace mcp::sqlite
