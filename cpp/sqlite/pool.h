// pool.h: one writer and N-1 readers of one database, and who has them when.
//
// Requests wait in two queues, first come, first served: one for the writer, one for the readers.
// A connection is had by a worker that runs a job, by a caller's own thread, or by a lease, which
// keeps it across several jobs. Workers are started when there is work, and no more are woken than
// the queue needs: a worker that is about to look for work again counts.
//
// Safe from any thread. mutex_ is held for bookkeeping only: never while a statement runs, a
// connection opens, or a job's own code runs. It is taken before no other lock of this room.
// Call terminate() before the last reference goes; a forked child abandons the pool instead.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "sqlite/connection.h"
#include "sqlite/cursor.h"
#include "sqlite/execution.h"
#include "sqlite/file_watch.h"
#include "sqlite/profile.h"
#include "sqlite/tracker.h"

namespace mcp::sqlite {

struct PoolOptions {
  DatabaseOptions database;
  int size = 5;
  Duration acquire_timeout_ns = 30 * kSecond;
  Duration inline_budget_ns = 100 * kMicrosecond;  // 0: nothing runs inline
  Duration slow_ns = 50 * kMillisecond;
  bool tracking = true;
  // Runs on each new connection, on the thread that opened it. May throw.
  std::function<void(Connection&)> init;
};

enum class Access { kRead, kWrite, kAny };  // kAny: a reader, or the writer when it is free

class Pool;

// A connection's place in the pool. What is not the pool's bookkeeping belongs to the holder.
struct Slot {
  Slot(int number, Role duty) : index(number), role(duty) {}
  const int index;
  const Role role;
  // Null until first needed, and after it broke; in a lease, once the file was replaced.
  std::unique_ptr<Connection> connection;
  bool expects_transaction = false;     // a lease's transaction is open
  Borrower borrower = Borrower::kNone;  // set by Pool::lend()
  std::vector<std::shared_ptr<Cursor>> cursors;
  // How many cursors there are, or will be, for whoever does not hold it.
  std::atomic<int> streams{0};

 private:
  friend class Pool;
  bool held_ = false;
  bool leased_ = false;
  bool running_ = false;  // a job of the lease is
  bool ending_ = false;   // nobody has the lease any more
  std::deque<std::unique_ptr<class Job>> lease_jobs_;
  const Operation* operation_ = nullptr;
  ProfilePtr used_for_;  // the last statement of whoever holds it
};

// Work for one connection. Destroyed on any thread.
class Job {
 public:
  enum class After { kRelease, kLease };

  Job(Access access, OperationPtr operation) : access_(access), operation_(std::move(operation)) {}
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // With the connection. What it throws goes to finish(). kLease keeps the connection.
  virtual After run(Slot& slot) = 0;
  // Exactly once, after run() or without it, and mostly after the connection was given back.
  // `failure` is null after a run() that returned.
  virtual void finish(std::exception_ptr failure) noexcept = 0;
  // Whether this is one short write, fit to share a transaction with others of its like. Constant.
  [[nodiscard]] virtual bool may_share_commit() const noexcept { return false; }
  // run() in a transaction that somebody else commits, or rolls back: then run() follows.
  virtual void run_shared(Slot&) {}
  // What run_shared() had done at `ended` was committed from `began` to `committed`.
  virtual void note_commit(Instant /*ended*/, Instant /*began*/, Instant /*committed*/) {}
  // False: its caller has the writer, and must not be made to wait for it. Constant.
  [[nodiscard]] virtual bool may_wait_for_writer() const noexcept { return true; }
  // Whether run() is expected to take long enough to be worth another worker for what waits.
  [[nodiscard]] virtual bool expects_long() const noexcept { return true; }

  [[nodiscard]] const Operation& operation() const noexcept { return *operation_; }

 private:
  friend class Pool;
  Access access_;
  const OperationPtr operation_;
};

struct PoolCounts {
  int size = 0, open = 0, idle = 0, in_use = 0, waiting = 0;
  std::uint64_t reads = 0, writes = 0, errors = 0, timeouts = 0;
  std::uint64_t inline_runs = 0, inline_overruns = 0, worker_runs = 0, shared_commits = 0;
  std::uint64_t reconnects = 0, quarantined = 0, replaced = 0, starved_checkpoints = 0;
  double database_s = 0, writer_wait_s = 0, reader_wait_s = 0;
  std::uint64_t wal_bytes = 0;
};

// Calls visit(name, value) for each figure, under the name that Python and the reports have for it.
template <class Visit>
void visit_fields(const PoolCounts& counts, Visit&& visit) {
  visit("size", counts.size);
  visit("open", counts.open);
  visit("idle", counts.idle);
  visit("in_use", counts.in_use);
  visit("waiting", counts.waiting);
  visit("reads", counts.reads);
  visit("writes", counts.writes);
  visit("errors", counts.errors);
  visit("timeouts", counts.timeouts);
  visit("inline_runs", counts.inline_runs);
  visit("inline_overruns", counts.inline_overruns);
  visit("worker_runs", counts.worker_runs);
  visit("reconnects", counts.reconnects);
  visit("quarantined", counts.quarantined);
  visit("replaced", counts.replaced);
  visit("database_seconds", counts.database_s);
  visit("writer_wait_seconds", counts.writer_wait_s);
  visit("reader_wait_seconds", counts.reader_wait_s);
  visit("wal_bytes", counts.wal_bytes);
  visit("starved_checkpoints", counts.starved_checkpoints);
  visit("shared_commits", counts.shared_commits);
}

class Pool {
 public:
  explicit Pool(PoolOptions options);  // throws Error; opens nothing
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Opens the writer and the freshness watch, if they are not. Throws Error. May block.
  void open(const Operation& operation);

  // Queues a job for the workers. A closed pool finishes it with PoolClosed here.
  void submit(std::unique_ptr<Job> job);
  // Drops or stops whatever runs or waits for `operation`.
  void cancel(const OperationPtr& operation);

  // An open reader that nobody waits for, or null. Never blocks.
  [[nodiscard]] Slot* try_take_reader();
  // For Lease, which knows that the slot is still leased to it.
  enum class Turn { kTaken, kInUse, kPaused, kClosed };
  // The connection for the caller's thread, while no job has it or waits for it. terminate() stops
  // `operation`, which may be null.
  [[nodiscard]] Turn try_take_leased(Slot& slot, const Operation* operation);
  void give_back_leased(Slot& slot) noexcept;
  // The job's turn on the connection, in order; `last` where the job gives the connection back.
  // False: the pool has ended, and the job is left.
  [[nodiscard]] bool queue_leased(Slot& slot, std::unique_ptr<Job>& job, bool last = false);
  // Returns once no fork is under way.
  void wait_for_fork();
  // Waits on the caller's thread. Throws Error (kPoolTimeout, kPoolClosed), Stopped.
  [[nodiscard]] Slot& take(Access access, const Operation& operation);
  // Ends what take() and try_take_reader() began. Rolls back what was left open.
  void give_back(Slot& slot) noexcept;
  // Idle readers hold no snapshot (Connection::share_snapshot()) from here on.
  void drop_snapshots() noexcept;
  // Whoever holds the slot may from here on leave something on its connection, until the slot is
  // given back.
  static void lend(Slot& slot, Borrower borrower) noexcept;
  // Turns a taken slot into a leased one.
  void lease(Slot& slot);
  // The lease is over: its open transaction is rolled back once its jobs are done.
  void end_lease(Slot& slot) noexcept;

  // Of a guarded database: the file that its name stands for from here on.
  void expect(const FileId& id);
  // Opens the slot's connection if it is not, and all of the pool anew if the database file was
  // replaced. The caller holds the slot, which is not leased. Throws Error, Stopped.
  Connection& connect(Slot& slot, const Operation& operation);
  // Whether the database file was replaced, as of FileWatch::kLookEvery_ns ago: then nothing that
  // is open or kept tells of it, and connect() will open it anew.
  [[nodiscard]] bool file_moved() noexcept { return file_.moved(now_precise()); }
  // The same, at this moment.
  [[nodiscard]] bool file_moved_now() noexcept { return file_.moved(); }
  // A number that has grown since the last call if anybody has committed to the database, or if
  // that cannot be told: before it is open, during a commit, once the file was replaced. Takes no
  // connection and runs no statement.
  [[nodiscard]] std::uint64_t version() noexcept {
    if (file_moved()) freshness_.forget_version();
    return freshness_.version();
  }
  // A number that is another once the file that was open is not the one that lies there, or was
  // damaged: what was committed to it may be missing.
  [[nodiscard]] std::uint64_t era() noexcept;
  // The database's file; empty for one in memory.
  [[nodiscard]] const std::string& file() const noexcept { return file_.file(); }
  // Whether a leased connection is in a transaction.
  [[nodiscard]] bool in_transaction(const Slot& slot) const;

  // run_request() on a slot that the caller holds and has connected, counted. `budget_ns` is 0 on
  // workers.
  [[nodiscard]] Answer execute(Slot& slot, Request& request, const Operation& operation,
                               Duration budget_ns, RowSink* sink);

  // The next rows of a cursor, which belongs to the slot from here on.
  [[nodiscard]] Answer advance(Slot& slot, const std::shared_ptr<Cursor>& cursor,
                               const Operation& operation);

  // For fork_guard.h. Hands out nothing more until resume_after_fork(), and closes what is not in
  // use. False when something still was at `deadline`.
  [[nodiscard]] bool pause_for_fork(Instant deadline);
  void resume_after_fork();

  // No more requests. `done` is called once when the last connection is closed, on some thread.
  void close(std::function<void()> done);
  // The same, and waits for it. False when the operation ended first.
  [[nodiscard]] bool close_and_wait(const Operation& operation);
  // The same at once: what runs is stopped, what waits fails. Returns when the workers have ended.
  void terminate();
  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_relaxed); }

  [[nodiscard]] PoolCounts counts() const;
  // The last statement of each connection that is held; empty where none was run yet.
  [[nodiscard]] std::vector<std::string> held_for() const;

  [[nodiscard]] Freshness& freshness() noexcept { return freshness_; }
  [[nodiscard]] Tracker& tracker() noexcept { return tracker_; }
  [[nodiscard]] ProfileTable& profiles() noexcept { return profiles_; }
  [[nodiscard]] Services services() noexcept {
    return {freshness_, options_.tracking ? &tracker_ : nullptr};
  }
  [[nodiscard]] const PoolOptions& options() const noexcept { return options_; }
  // Whether a commit waits for the disk, so that sharing one is worth the effort.
  [[nodiscard]] bool shares_commits() const noexcept { return shares_commits_; }

 private:
  // Opens the file that has its name now. Throws also where that was replaced meanwhile.
  void open_once(const Operation& operation) REQUIRES(open_mutex_);
  // Whether a guarded pool has open what it expects: not to be opened anew.
  [[nodiscard]] bool awaits_word();
  struct Waiter {  // a caller's thread that waits for a connection
    CondVar ready;
    Slot* slot = nullptr;
    bool failed = false;
  };
  struct Waiting {  // one of the two
    std::unique_ptr<Job> job;
    Waiter* waiter = nullptr;
    Access access = Access::kRead;
    const Operation* operation = nullptr;
    Instant since = 0;
    Instant deadline = kNever;
  };
  struct Assignment {
    std::unique_ptr<Job> job;
    Slot* slot = nullptr;
    bool of_lease = false;
  };
  struct Member {  // of those that had the connection together, mostly of one
    std::unique_ptr<Job> job;
    std::exception_ptr failure;
    Instant ended = 0;  // its own statement
  };
  using Failed = std::vector<std::pair<std::unique_ptr<Job>, std::exception_ptr>>;

  // Hands out nothing more, and takes the connections that are not in use. False when something
  // still was at `deadline`.
  [[nodiscard]] bool pause(Instant deadline, std::vector<std::unique_ptr<Connection>>& unused);
  void close_unused(const Operation& operation);
  void renew(Slot& slot, const Operation& operation);
  void let_go_of_file(const Operation& operation);
  void drop_idle_snapshots() noexcept REQUIRES(mutex_);
  std::deque<Waiting>& queue_for(Access access) REQUIRES(mutex_);
  [[nodiscard]] Slot* free_slot(Access access) REQUIRES(mutex_);
  bool pick(Assignment& assignment) REQUIRES(mutex_);
  bool pick_from(std::deque<Waiting>& queue, Assignment& assignment) REQUIRES(mutex_);
  void hand_out() REQUIRES(mutex_);
  [[nodiscard]] bool runnable() REQUIRES(mutex_);
  void wake_worker() REQUIRES(mutex_);
  // Of a request that has waited since then and has the slot, or its share of it, now.
  void count_wait(const Slot& slot, Instant since) noexcept;
  void release(Slot& slot) REQUIRES(mutex_);
  // A worker tidies the slot up, checkpoints if that is due, and releases it.
  void leave_to_worker(Slot& slot) REQUIRES(mutex_);
  [[nodiscard]] static bool checkpoint_due(const Slot& slot);
  void enqueue(Waiting waiting) REQUIRES(mutex_);
  void note_use(Slot& slot, const ProfilePtr& profile);
  void work();
  void run(Assignment& assignment);
  [[nodiscard]] std::exception_ptr current_failure();
  [[nodiscard]] Job::After attempt(Slot& slot, Job& job);
  void leave(Slot& slot, std::span<Member> members);
  [[nodiscard]] std::unique_ptr<Job> take_sharer(const Slot& slot);
  [[nodiscard]] bool goes_on(Slot& slot, const Job& job);
  void run_sharing(Slot& slot, std::unique_ptr<Job> first, std::unique_ptr<Job> second);
  [[nodiscard]] bool run_together(Slot& slot, std::vector<Member>& members);
  [[nodiscard]] bool run_member(Slot& slot, Member& member);
  void tidy(Slot& slot) noexcept;
  void checkpoint(Connection& connection) noexcept;
  void keep_deadlines();
  void drain_if_closing() REQUIRES(mutex_);
  void shut_connections();
  static void finish_all(Failed& failed) noexcept;
  static void on_slow(void* self);

  const PoolOptions options_;
  const bool shares_commits_;
  Tracker tracker_;
  ProfileTable profiles_;
  Freshness freshness_;
  FileWatch file_;
  LeftLog log_;                               // written under open_mutex_
  std::vector<std::unique_ptr<Slot>> slots_;  // the writer first
  Mutex open_mutex_;                          // taken before mutex_; held while the database opens
  std::atomic<bool> opened_{false};

  mutable Mutex mutex_;
  CondVar work_ready_;
  CondVar deadlines_changed_;
  CondVar changed_;  // a slot was given back, a worker ended
  std::deque<Waiting> reads_ GUARDED_BY(mutex_);
  std::deque<Waiting> writes_ GUARDED_BY(mutex_);
  std::vector<Slot*> idle_readers_ GUARDED_BY(mutex_);  // most recently used last
  std::deque<Slot*> ready_leases_ GUARDED_BY(mutex_);   // leased, with a job, none running
  std::vector<std::thread> workers_ GUARDED_BY(mutex_);
  std::thread keeper_ GUARDED_BY(mutex_);
  Instant keeper_wakes_at_ GUARDED_BY(mutex_) = kNever;
  int looking_ GUARDED_BY(mutex_) = 0;  // workers that will look for work soon
  int sleeping_ GUARDED_BY(mutex_) = 0;
  int wake_tokens_ GUARDED_BY(mutex_) = 0;
  bool closing_ GUARDED_BY(mutex_) = false;
  std::atomic<bool> closed_{false};  // closing_, for those who only look
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool shut_ GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> on_closed_ GUARDED_BY(mutex_);
  int held_ GUARDED_BY(mutex_) = 0;
  bool paused_ GUARDED_BY(mutex_) = false;    // a fork is under way
  bool renewing_ GUARDED_BY(mutex_) = false;  // the file was replaced: nobody gets a connection
  FileId expected_ GUARDED_BY(mutex_){};      // of a guarded database
  std::uint64_t renewals_ GUARDED_BY(mutex_) = 0;

  std::atomic<std::uint64_t> reads_run_{0}, writes_run_{0}, errors_{0}, timeouts_{0};
  std::atomic<std::uint64_t> inline_runs_{0}, inline_overruns_{0}, worker_runs_{0};
  std::atomic<std::uint64_t> shared_commits_{0};
  std::atomic<std::uint64_t> reconnects_{0}, quarantined_{0}, replaced_{0}, database_ns_{0};
  std::atomic<std::uint64_t> writer_wait_ns_{0}, reader_wait_ns_{0};
  std::atomic<std::uint64_t> wal_bytes_{0}, starved_checkpoints_{0};
  std::atomic<int> open_count_{0};
};

}  // namespace mcp::sqlite
