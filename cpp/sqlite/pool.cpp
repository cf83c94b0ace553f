// pool.cpp: queues, and who has which connection.
#include "sqlite/pool.h"

#include <sqlite3.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "sqlite/fork_guard.h"
#include "sqlite/pool_errors.h"
#include "sqlite/routing.h"
#include "sqlite/sqlite_error.h"

namespace mcp::sqlite {
Pool::Pool(PoolOptions options)
    : options_(std::move(options)),
      shares_commits_(!options_.database.memory && (options_.database.synchronous == "FULL" ||
                                                    options_.database.synchronous == "EXTRA")),
      tracker_(options_.slow_ns),
      profiles_(tracker_),
      file_(options_.database.memory ? std::string() : file_of(options_.database.path),
            freshness_) {
  if (options_.size < 1) {
    throw invalid_argument("size", std::to_string(options_.size), "1 or more connections");
  }
  slots_.push_back(std::make_unique<Slot>(0, Role::kWriter));
  const MutexLock lock(mutex_);
  for (int i = 1; i < options_.size; ++i) {
    slots_.push_back(std::make_unique<Slot>(i, Role::kReader));
    idle_readers_.insert(idle_readers_.begin(), slots_.back().get());
  }
  guard_at_fork(*this);
}

Pool::~Pool() {
  terminate();
  unguard_at_fork(*this);
}

// ---- who has what ----

std::deque<Pool::Waiting>& Pool::queue_for(Access access) {
  // A pool of one connection has one queue, so that reads and writes take turns.
  return access == Access::kWrite || slots_.size() == 1 ? writes_ : reads_;
}

Slot* Pool::free_slot(Access access) {
  if (paused_ || renewing_) return nullptr;
  Slot* writer = slots_.front().get();
  if (access == Access::kWrite || slots_.size() == 1) return writer->held_ ? nullptr : writer;
  if (!idle_readers_.empty()) return idle_readers_.back();
  if (access == Access::kAny && !writer->held_ && writes_.empty()) return writer;
  return nullptr;
}

void Pool::enqueue(Waiting waiting) {
  const Instant now = now_precise();
  waiting.since = now;
  waiting.deadline = std::min(now + options_.acquire_timeout_ns, waiting.operation->deadline());
  const Instant deadline = waiting.deadline;
  queue_for(waiting.access).push_back(std::move(waiting));
  if (deadline < keeper_wakes_at_) {
    keeper_wakes_at_ = deadline;
    if (!keeper_.joinable()) {
      keeper_ = start_thread("mcp-sqlite-time", [this] { keep_deadlines(); });
    } else {
      deadlines_changed_.notify_one();
    }
  }
}

bool Pool::pick_from(std::deque<Waiting>& queue, Assignment& assignment) {
  if (queue.empty() || queue.front().job == nullptr) return false;
  Slot* slot = free_slot(queue.front().access);
  if (slot == nullptr) return false;
  count_wait(*slot, queue.front().since);
  assignment.job = std::move(queue.front().job);
  queue.pop_front();
  assignment.slot = slot;
  assignment.of_lease = false;
  slot->held_ = true;
  slot->operation_ = &assignment.job->operation();
  ++held_;
  if (slot->role == Role::kReader) idle_readers_.pop_back();
  return true;
}

bool Pool::pick(Assignment& assignment) {
  if (!ready_leases_.empty() && !paused_) {
    Slot* slot = ready_leases_.front();
    ready_leases_.pop_front();
    assignment.job = std::move(slot->lease_jobs_.front());
    slot->lease_jobs_.pop_front();
    assignment.slot = slot;
    assignment.of_lease = true;
    slot->running_ = true;
    slot->operation_ = &assignment.job->operation();
    return true;
  }
  return pick_from(writes_, assignment) || pick_from(reads_, assignment);
}

bool Pool::runnable() {
  if (!ready_leases_.empty() && !paused_) return true;
  for (auto* queue : {&writes_, &reads_}) {
    if (!queue->empty() && queue->front().job != nullptr &&
        free_slot(queue->front().access) != nullptr) {
      return true;
    }
  }
  return false;
}

// Gives connections to the callers' threads at the heads of the queues.
void Pool::hand_out() {
  for (auto* queue : {&writes_, &reads_}) {
    while (!queue->empty() && queue->front().waiter != nullptr) {
      Slot* slot = free_slot(queue->front().access);
      if (slot == nullptr) break;
      count_wait(*slot, queue->front().since);
      Waiter& waiter = *queue->front().waiter;
      slot->held_ = true;
      slot->operation_ = queue->front().operation;
      ++held_;
      if (slot->role == Role::kReader) idle_readers_.pop_back();
      waiter.slot = slot;
      waiter.ready.notify_one();
      queue->pop_front();
    }
  }
}

void Pool::wake_worker() {
  hand_out();
  if (looking_ > 0 || !runnable()) return;
  if (sleeping_ > wake_tokens_) {
    ++wake_tokens_;
    ++looking_;
    work_ready_.notify_one();
  } else if (workers_.size() < slots_.size() + 1) {
    ++looking_;
    workers_.push_back(start_thread("mcp-sqlite", [this] { work(); }));
  }
}

void Pool::count_wait(const Slot& slot, Instant since) noexcept {
  auto& total = slot.role == Role::kWriter ? writer_wait_ns_ : reader_wait_ns_;
  total.fetch_add(static_cast<std::uint64_t>(now_precise() - since), std::memory_order_relaxed);
}

void Pool::release(Slot& slot) {
  slot.held_ = slot.leased_ = slot.running_ = slot.ending_ = false;
  slot.borrower = Borrower::kNone;
  slot.used_for_ = nullptr;
  slot.operation_ = nullptr;
  --held_;
  if (slot.role == Role::kReader) idle_readers_.push_back(&slot);
  wake_worker();
  drain_if_closing();
}

// The connection as its next holder expects it. The caller holds the slot.
void Pool::tidy(Slot& slot) noexcept {
  slot.expects_transaction = false;
  if (slot.connection == nullptr) return;
  Connection& connection = *slot.connection;
  for (const auto& cursor : slot.cursors) cursor->end(connection);
  slot.cursors.clear();
  slot.streams.store(0);
  if (connection.in_transaction() || connection.is_announced()) {
    rollback_transaction(connection, services());
  }
  if (connection.reusable()) return;
  if (connection.broken()) {
    if (connection.corrupt()) quarantined_.fetch_add(1);
    reconnects_.fetch_add(1);
    logger("sqlite").warn("a connection broke and is replaced");
  } else {
    replaced_.fetch_add(1);
  }
  slot.connection = nullptr;
  open_count_.fetch_sub(1);
}

// ---- requests ----

void Pool::submit(std::unique_ptr<Job> job) {
  {
    const MutexLock lock(mutex_);
    if (!closing_) {
      const Operation* operation = job->operation_.get();
      const Access access = job->access_;
      if (access == Access::kWrite) drop_idle_snapshots();  // it may wait for all readers to end
      enqueue({std::move(job), nullptr, access, operation, 0, kNever});
      wake_worker();
      return;
    }
  }
  job->finish(std::make_exception_ptr(pool_closed()));
}

bool Pool::queue_leased(Slot& slot, std::unique_ptr<Job>& job, bool last) {
  const MutexLock lock(mutex_);
  if (stopping_) return false;
  slot.ending_ = last;
  slot.lease_jobs_.push_back(std::move(job));
  if (!slot.running_ && slot.lease_jobs_.size() == 1) ready_leases_.push_back(&slot);
  wake_worker();
  return true;
}

void Pool::cancel(const OperationPtr& operation) {
  operation->cancel();  // stops it where it runs
  Failed dropped;
  {
    const MutexLock lock(mutex_);
    for (auto* queue : {&writes_, &reads_}) {
      for (auto at = queue->begin(); at != queue->end(); ++at) {
        if (at->operation != operation.get() || at->job == nullptr) continue;
        dropped.emplace_back(std::move(at->job),
                             std::make_exception_ptr(Stopped{Stop::kCancelled}));
        queue->erase(at);
        wake_worker();
        drain_if_closing();
        break;
      }
    }
  }
  finish_all(dropped);
}

void Pool::finish_all(Failed& failed) noexcept {
  for (auto& [job, failure] : failed) job->finish(std::move(failure));
}

Slot* Pool::try_take_reader() {
  if (!opened_.load(std::memory_order_acquire)) return nullptr;
  const MutexLock lock(mutex_);
  if (closing_ || !queue_for(Access::kRead).empty()) return nullptr;
  Slot* slot = free_slot(Access::kRead);
  if (slot == nullptr || slot->connection == nullptr) return nullptr;
  slot->held_ = true;
  ++held_;
  if (slot->role == Role::kReader) idle_readers_.pop_back();
  return slot;
}

Pool::Turn Pool::try_take_leased(Slot& slot, const Operation* operation) {
  const MutexLock lock(mutex_);
  if (stopping_) return Turn::kClosed;
  if (slot.running_ || !slot.lease_jobs_.empty()) return Turn::kInUse;
  if (paused_) return Turn::kPaused;
  slot.running_ = true;
  slot.operation_ = operation;
  return Turn::kTaken;
}

void Pool::wait_for_fork() {
  const MutexLock lock(mutex_);
  while (paused_ && !stopping_) changed_.wait(mutex_);
}

void Pool::give_back_leased(Slot& slot) noexcept {
  const MutexLock lock(mutex_);
  slot.running_ = false;
  slot.operation_ = nullptr;
  if (stopping_ && slot.ending_) {
    release(slot);  // there are no workers any more
    return;
  }
  if (!slot.lease_jobs_.empty()) ready_leases_.push_back(&slot);
  wake_worker();
  changed_.notify_all();
}

Slot& Pool::take(Access access, const Operation& operation) {
  Waiter waiter;
  const MutexLock lock(mutex_);
  if (closing_) throw pool_closed();
  const Instant since = now_precise();
  const Instant deadline = std::min(since + options_.acquire_timeout_ns, operation.deadline());
  if (access == Access::kWrite) drop_idle_snapshots();
  queue_for(access).push_back({nullptr, &waiter, access, &operation, since, deadline});
  wake_worker();
  const WaitWatch* const watch = takes_writer(access, options_.size) ? operation.watch() : nullptr;
  bool for_itself = false;
  while (waiter.slot == nullptr && !waiter.failed) {
    const Instant now = now_precise();
    Stop why = Stop::kNone;
    if (now >= deadline)
      why = Stop::kDeadline;
    else if (operation.cancelled())
      why = Stop::kCancelled;
    if (why == Stop::kNone) {
      waiter.ready.wait_for(mutex_, std::min(deadline - now, kPollInterval_ns));
      const bool looks = operation.has_poll() || watch != nullptr;
      if (waiter.slot != nullptr || waiter.failed || !looks) continue;
      mutex_.unlock();  // polling may take the interpreter lock
      const bool interrupted = operation.polled();
      for_itself = !interrupted && watch != nullptr && watch->waits_for_itself();
      mutex_.lock();
      if (waiter.slot != nullptr || waiter.failed || !(interrupted || for_itself)) continue;
      why = Stop::kInterrupted;
    }
    auto& queue = queue_for(access);
    queue.erase(std::find_if(queue.begin(), queue.end(),
                             [&](const Waiting& one) { return one.waiter == &waiter; }));
    wake_worker();
    drain_if_closing();
    if (for_itself) throw waits_for_itself();
    if (why != Stop::kDeadline) throw Stopped{why};
    timeouts_.fetch_add(1);
    throw no_connection();
  }
  if (waiter.slot == nullptr) throw pool_closed();
  return *waiter.slot;
}

namespace {

// The last job of a lease.
class EndOfLease final : public Job {
 public:
  EndOfLease() : Job(Access::kAny, std::make_shared<Operation>()) {}
  After run(Slot&) override { return After::kRelease; }
  void finish(std::exception_ptr) noexcept override {}
  [[nodiscard]] bool expects_long() const noexcept override { return false; }
};

}  // namespace

bool Pool::checkpoint_due(const Slot& slot) {
  return slot.role == Role::kWriter && slot.connection != nullptr &&
         slot.connection->checkpoint_due();
}

void Pool::leave_to_worker(Slot& slot) {
  slot.leased_ = slot.ending_ = true;
  if (stopping_) return;
  slot.lease_jobs_.push_back(std::make_unique<EndOfLease>());
  if (!slot.running_ && slot.lease_jobs_.size() == 1) ready_leases_.push_back(&slot);
  wake_worker();
}

void Pool::give_back(Slot& slot) noexcept {
  tidy(slot);
  const MutexLock lock(mutex_);
  slot.operation_ = nullptr;
  if (checkpoint_due(slot) && !stopping_) {
    leave_to_worker(slot);
  } else {
    release(slot);
  }
}

void Pool::drop_snapshots() noexcept {
  const MutexLock lock(mutex_);
  drop_idle_snapshots();
}

void Pool::drop_idle_snapshots() noexcept {
  if (shut_) return;  // whoever shuts the pool has the connections
  for (Slot* slot : idle_readers_) {
    if (slot->connection != nullptr) slot->connection->drop_snapshot();
  }
}

void Pool::lend(Slot& slot, Borrower borrower) noexcept {
  slot.borrower = borrower;
  if (slot.connection != nullptr) slot.connection->forget_changes();
}

void Pool::lease(Slot& slot) {
  const MutexLock lock(mutex_);
  slot.leased_ = true;
  slot.running_ = false;
  slot.operation_ = nullptr;  // of the request that took it, and about to go
}

void Pool::end_lease(Slot& slot) noexcept {
  bool clean = false;
  {
    const MutexLock lock(mutex_);
    if (!slot.running_ && stopping_) {
      clean = true;  // the connection is closed as it is
    } else {
      clean = !slot.running_ && slot.lease_jobs_.empty() && slot.cursors.empty() &&
              !checkpoint_due(slot) &&
              (slot.connection == nullptr ||
               (!slot.connection->in_transaction() && !slot.connection->is_announced() &&
                slot.connection->reusable()));
    }
    if (clean) {
      slot.expects_transaction = false;
      release(slot);
    } else {
      leave_to_worker(slot);
    }
  }
}

bool Pool::in_transaction(const Slot& slot) const {
  const MutexLock lock(mutex_);
  return !shut_ && slot.connection != nullptr && slot.connection->in_transaction();
}

void Pool::note_use(Slot& slot, const ProfilePtr& profile) {
  const MutexLock lock(mutex_);
  slot.used_for_ = profile;
}

std::vector<std::string> Pool::held_for() const {
  std::vector<std::string> out;
  const MutexLock lock(mutex_);
  for (const auto& slot : slots_) {
    if (slot->held_) out.push_back(slot->used_for_ != nullptr ? slot->used_for_->sql : "");
  }
  return out;
}

Answer Pool::execute(Slot& slot, Request& request, const Operation& operation, Duration budget_ns,
                     RowSink* sink) {
  if (slot.connection == nullptr) throw file_replaced();
  if (budget_ns == 0 || slot.borrower != Borrower::kNone) note_use(slot, request.profile);
  Connection& connection = *slot.connection;
  const Connection::Scope scope(connection, operation, budget_ns);
  if (slot.borrower != Borrower::kNone && file_.moved(connection.scope_began())) {
    throw file_replaced();
  }
  connection.serve(slot.borrower);
  if (slot.expects_transaction && !connection.in_transaction()) {
    throw transaction_lost();
  }
  try {
    Answer answer = run_request(connection, request, services(), sink);
    const bool wrote = request.profile->access() == Profile::Access::kWrite;
    if (wrote && !connection.in_transaction() && file_.moved()) throw written_in_vain();
    (wrote ? writes_run_ : reads_run_).fetch_add(1, std::memory_order_relaxed);
    database_ns_.fetch_add(static_cast<std::uint64_t>(answer.execution.step_ns),
                           std::memory_order_relaxed);
    if (budget_ns > 0) inline_runs_.fetch_add(1, std::memory_order_relaxed);
    return answer;
  } catch (const Stopped& stopped) {
    if (stopped.why == Stop::kBudget) {
      inline_overruns_.fetch_add(1, std::memory_order_relaxed);
      request.profile->note_overrun();
    }
    throw;
  } catch (const Error&) {
    errors_.fetch_add(1, std::memory_order_relaxed);
    throw;
  }
}

Answer Pool::advance(Slot& slot, const std::shared_ptr<Cursor>& cursor,
                     const Operation& operation) {
  if (slot.connection == nullptr || file_.moved(now_precise())) throw file_replaced();
  const Connection::Scope scope(*slot.connection, operation);
  note_use(slot, cursor->request().profile);
  slot.connection->serve(slot.borrower);
  if (std::find(slot.cursors.begin(), slot.cursors.end(), cursor) == slot.cursors.end()) {
    if (cursor->place() == nullptr) {
      cursor->set_place(slot);
      slot.streams.fetch_add(1);
    } else if (cursor->place() != &slot) {
      throw stream_ended();
    }
    slot.cursors.push_back(cursor);
    reads_run_.fetch_add(1, std::memory_order_relaxed);
  }
  Answer answer = cursor->advance(*slot.connection, services());
  if (cursor->done()) slot.streams.fetch_sub(static_cast<int>(std::erase(slot.cursors, cursor)));
  return answer;
}

// ---- figures ----

PoolCounts Pool::counts() const {
  PoolCounts out;
  {
    const MutexLock lock(mutex_);
    out.size = static_cast<int>(slots_.size());
    out.in_use = held_;
    out.waiting = static_cast<int>(reads_.size() + writes_.size());
    out.open = open_count_.load();
    out.idle = std::max(0, out.size - out.in_use);
  }
  out.reads = reads_run_.load();
  out.writes = writes_run_.load();
  out.errors = errors_.load();
  out.timeouts = timeouts_.load();
  out.inline_runs = inline_runs_.load();
  out.inline_overruns = inline_overruns_.load();
  out.worker_runs = worker_runs_.load();
  out.shared_commits = shared_commits_.load();
  out.reconnects = reconnects_.load();
  out.quarantined = quarantined_.load();
  out.replaced = replaced_.load();
  out.starved_checkpoints = starved_checkpoints_.load();
  out.database_s = to_seconds(static_cast<Duration>(database_ns_.load()));
  out.writer_wait_s = to_seconds(static_cast<Duration>(writer_wait_ns_.load()));
  out.reader_wait_s = to_seconds(static_cast<Duration>(reader_wait_ns_.load()));
  out.wal_bytes = wal_bytes_.load();
  return out;
}

}  // namespace mcp::sqlite
