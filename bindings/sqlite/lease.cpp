// lease.cpp: taking a connection for a while, ending its transaction, and opening and
// closing a pool: what is rare enough for one general kind of job.
#include "bindings/sqlite/lease.h"

#include <sqlite3.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "bindings/base/errors.h"
#include "bindings/sqlite/action.h"
#include "bindings/sqlite/holders.h"
#include "bindings/sqlite/stream.h"
#include "sqlite/pool_errors.h"
#include "sqlite/sqlite_error.h"

namespace mcp::python {
namespace {

using sqlite::Access;
using sqlite::Operation;
using sqlite::OperationPtr;
using sqlite::Pool;
using sqlite::Slot;

// What a task leaves for its caller. A connection that the caller never got goes back.
struct TaskPayload final : CompletionPayload {
  std::exception_ptr failure;
  Slot* leased = nullptr;
  std::weak_ptr<Pool> pool;
  ~TaskPayload() override {
    if (leased == nullptr) return;
    if (const auto alive = pool.lock()) alive->end_lease(*leased);
  }
};

enum class What { kBegin, kEnd, kOpen };

using Body = std::function<sqlite::Job::After(Slot&, const Operation&)>;

class Task final : public sqlite::Job {
 public:
  Task(const std::shared_ptr<Pool>& pool, Access access, OperationPtr operation, Body body,
       std::shared_ptr<CompletionQueue> queue, std::uint64_t id, What what)
      : Job(access, std::move(operation)),
        body_(std::move(body)),
        queue_(std::move(queue)),
        id_(id),
        what_(what) {
    payload_->pool = pool;
  }
  After run(Slot& slot) override {
    if (what_ == What::kEnd) {  // the connection goes back, whatever happens
      try {
        body_(slot, operation());
      } catch (...) {
        payload_->failure = std::current_exception();
      }
      return After::kRelease;
    }
    const After after = body_(slot, operation());
    if (after == After::kLease) payload_->leased = &slot;
    return after;
  }
  void finish(std::exception_ptr failure) noexcept override {
    if (failure) payload_->failure = std::move(failure);
    queue_->push({id_, std::move(payload_), true});
  }

 private:
  const Body body_;
  const std::shared_ptr<CompletionQueue> queue_;
  const std::uint64_t id_;
  const What what_;
  std::unique_ptr<TaskPayload> payload_ = std::make_unique<TaskPayload>();
};

class TaskConversion final : public Conversion {
 public:
  explicit TaskConversion(Endpoint* endpoint) : endpoint_(endpoint) { Py_INCREF(endpoint_); }
  ~TaskConversion() override { Py_DECREF(endpoint_); }
  Progress resume(Completion& completion, Instant, PyObject*& result) override {
    auto& payload = static_cast<TaskPayload&>(*completion.payload);
    if (payload.failure) {
      set_python_error_from(payload.failure);
      return Progress::kError;
    }
    if (payload.leased != nullptr && endpoint_->lease != nullptr) {
      (*endpoint_->lease)->slot = std::exchange(payload.leased, nullptr);
    }
    Py_INCREF(Py_None);
    result = Py_None;
    return Progress::kDone;
  }

 private:
  Endpoint* const endpoint_;
};

// One task on the pool (kBegin, kOpen) or on the endpoint's lease (kEnd).
class TaskAction final : public Action {
 public:
  TaskAction(Endpoint* endpoint, What what, Access access, Body body, Duration timeout_ns)
      : endpoint_(endpoint),
        what_(what),
        access_(access),
        body_(std::move(body)),
        timeout_ns_(timeout_ns) {
    Py_INCREF(endpoint_);
  }
  ~TaskAction() override { Py_DECREF(endpoint_); }

  int traverse(visitproc visit, void* arg) override {
    Py_VISIT(endpoint_);
    return 0;
  }
  Outcome try_now(PyObject*&, bool) override { return Outcome::kWait; }

  bool start(std::shared_ptr<CompletionQueue> queue, std::uint64_t id,
             OperationPtr operation) override {
    try {
      PoolState& state = *endpoint_->pool_state();
      Pool& pool = state.pool();
      if (what_ == What::kEnd)
        check_lease();
      else
        check_no_self_wait(state, access_, false);
      auto task = std::make_unique<Task>(state.current, access_, std::move(operation), body_,
                                         std::move(queue), id, what_);
      if (what_ == What::kEnd) {
        Lease& lease = **endpoint_->lease;
        pool.submit_leased(*lease.slot.exchange(nullptr), std::move(task));
      } else {
        pool.submit(std::move(task));
      }
      return true;
    } catch (...) {
      set_python_error_from(std::current_exception());
      return false;
    }
  }
  std::unique_ptr<Conversion> conversion() override {
    return std::make_unique<TaskConversion>(endpoint_);
  }
  void cancel(const OperationPtr& operation) override {
    // The end of a transaction is not stopped: it is short, and the connection is on its way back.
    PoolState& state = *endpoint_->pool_state();
    if (what_ != What::kEnd && state.generation == process_generation()) {
      state.current->cancel(operation);
    }
  }
  [[nodiscard]] Duration timeout() const noexcept override { return timeout_ns_; }

  PyObject* run_blocking() override {
    try {
      PoolState& state = *endpoint_->pool_state();
      state.pool();
      const std::shared_ptr<Pool> pool = state.current;
      Operation operation(timeout_ns_ > 0 ? now_precise() + timeout_ns_ : kNever);
      operation.set_poll(check_signals);
      if (what_ == What::kEnd)
        check_lease();
      else
        check_no_self_wait(state, access_, true);
      std::exception_ptr failure;
      {
        const GilRelease unlocked;
        try {
          run_here(*pool, operation);
        } catch (...) {
          failure = std::current_exception();
        }
      }
      if (failure) {
        if (PyErr_Occurred() == nullptr) set_python_error_from(failure);
        return nullptr;
      }
      Py_RETURN_NONE;
    } catch (...) {
      set_python_error_from(std::current_exception());
      return nullptr;
    }
  }

 private:
  void check_lease() const {
    if (endpoint_->lease == nullptr || !(*endpoint_->lease)->open()) {
      throw Error(ErrorKind::kPoolClosed, "the connection was given back to its pool");
    }
  }

  void run_here(Pool& pool, const Operation& operation) {
    if (what_ == What::kEnd) {
      Slot& slot = *(*endpoint_->lease)->slot.exchange(nullptr);
      try {
        body_(slot, operation);
      } catch (...) {
        pool.end_lease(slot);
        throw;
      }
      pool.end_lease(slot);
      return;
    }
    Slot& slot = pool.take(access_, operation);
    try {
      pool.connect(slot, operation);
      if (body_(slot, operation) == sqlite::Job::After::kLease) {
        pool.lease(slot);
        (*endpoint_->lease)->slot = &slot;
        return;
      }
    } catch (...) {
      pool.give_back(slot);
      throw;
    }
    pool.give_back(slot);
  }

  Endpoint* const endpoint_;
  const What what_;
  const Access access_;
  const Body body_;
  const Duration timeout_ns_;
};

PyObject* run_or_await(Endpoint* endpoint, What what, Access access, Body body,
                       Duration timeout_ns) {
  if (endpoint->blocking) {
    return TaskAction(endpoint, what, access, std::move(body), timeout_ns).run_blocking();
  }
  return make_awaitable(
      std::make_unique<TaskAction>(endpoint, what, access, std::move(body), timeout_ns));
}

}  // namespace

PyObject* begin_lease(Endpoint* endpoint, Transaction kind, Duration timeout_ns) {
  PoolState& state = *endpoint->pool_state();
  state.pool();
  const bool transaction = kind == Transaction::kRead || kind == Transaction::kWrite;
  endpoint->lease = new std::shared_ptr<Lease>(std::make_shared<Lease>(state, transaction));
  Pool* pool = state.current.get();
  const Access access = kind == Transaction::kNone    ? Access::kAny
                        : kind == Transaction::kWrite ? Access::kWrite
                                                      : Access::kRead;
  const Body body = [pool, kind, transaction](Slot& slot, const Operation& operation) {
    const bool moves = kind == Transaction::kNone && slot.role == sqlite::Role::kReader;
    Pool::lend(slot, moves ? sqlite::Borrower::kMovable : sqlite::Borrower::kLease);
    const sqlite::Connection::Scope scope(*slot.connection, operation);
    if (kind == Transaction::kWrite) begin_transaction(*slot.connection, pool->services());
    if (kind == Transaction::kRead) slot.connection->run("BEGIN");
    slot.expects_transaction = transaction;
    return sqlite::Job::After::kLease;
  };
  return run_or_await(endpoint, What::kBegin, access, body, timeout_ns);
}

PyObject* end_transaction(Endpoint* endpoint, bool commit) {
  Pool* pool = endpoint->pool_state()->current.get();
  const Body body = [pool, commit](Slot& slot, const Operation& operation) {
    const bool writes = slot.role == sqlite::Role::kWriter;
    if (slot.connection == nullptr) {
      if (commit && writes) throw sqlite::file_replaced();
      return sqlite::Job::After::kRelease;
    }
    sqlite::Connection& connection = *slot.connection;
    const sqlite::Connection::Scope scope(connection, operation);
    const bool lost =
        std::exchange(slot.expects_transaction, false) && !connection.in_transaction();
    const bool replaced = commit && writes && pool->file_moved_now();
    if (!commit || lost || replaced) {
      if (connection.in_transaction()) rollback_transaction(connection, pool->services());
      if (replaced) throw sqlite::file_replaced();
      if (commit && lost) {
        throw Error(ErrorKind::kQuery, "the transaction was rolled back by an earlier failure", 4);
      }
      return sqlite::Job::After::kRelease;
    }
    commit_transaction(connection, pool->services());
    return sqlite::Job::After::kRelease;
  };
  return run_or_await(endpoint, What::kEnd, Access::kAny, body, 0);
}

namespace {

void copy_pages(sqlite3* from, const std::string& path, const Operation& operation) {
  sqlite3* to = nullptr;
  const int opened = sqlite3_open_v2(
      path.c_str(), &to,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_EXRESCODE,
      nullptr);
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> closes(to, sqlite3_close);
  if (opened != SQLITE_OK) throw sqlite::sqlite_error(to, opened);
  sqlite3_backup* backup = sqlite3_backup_init(to, "main", from, "main");
  if (backup == nullptr) throw sqlite::sqlite_error(to, sqlite3_extended_errcode(to));
  constexpr int kPages = 256;
  int code;
  while ((code = sqlite3_backup_step(backup, kPages)) == SQLITE_OK) {
    if (operation.cancelled() || operation.polled()) break;
  }
  const int finished = sqlite3_backup_finish(backup);
  if (code == SQLITE_OK) throw sqlite::Stopped{sqlite::Stop::kCancelled};
  if (code != SQLITE_DONE) throw sqlite::sqlite_error(to, code);
  if (finished != SQLITE_OK) throw sqlite::sqlite_error(to, finished);
}

}  // namespace

PyObject* backup_to(Endpoint* endpoint, const std::string& path) {
  const Body body = [path](Slot& slot, const Operation& operation) {
    // One snapshot from the first page to the last: writers go on meanwhile.
    slot.connection->run("BEGIN");
    slot.connection->run("SELECT 1 FROM sqlite_schema");
    copy_pages(slot.connection->handle(), path, operation);
    slot.connection->run("COMMIT");
    return sqlite::Job::After::kRelease;
  };
  return run_or_await(endpoint, What::kOpen, Access::kRead, body, 0);
}

PyObject* open_pool(Endpoint* endpoint) {
  const Body body = [](Slot&, const Operation&) { return sqlite::Job::After::kRelease; };
  return run_or_await(endpoint, What::kOpen, Access::kWrite, body, 0);
}

PyObject* close_pool(Endpoint* endpoint) {
  PoolState& state = *endpoint->pool_state();
  state.pool();
  const LoopBridge bridge = LoopBridge::of_running_loop();
  if (!bridge) return nullptr;
  std::uint64_t id = 0;
  PyObject* future = bridge.expect(std::make_unique<TaskConversion>(endpoint), id);
  if (future == nullptr) return nullptr;
  auto done = [queue = bridge.queue(), id] {
    queue->push({id, std::make_unique<TaskPayload>(), true});
  };
  state.current->close(std::move(done));
  return future;
}

bool close_pool_blocking(Endpoint* endpoint, Duration timeout_ns) {
  PoolState& state = *endpoint->pool_state();
  state.pool();
  const std::shared_ptr<Pool> pool = state.current;
  struct Closed {
    Mutex mutex;
    CondVar changed;
    bool done = false;
  };
  const auto closed = std::make_shared<Closed>();
  const GilRelease unlocked;
  pool->close([closed] {
    const MutexLock lock(closed->mutex);
    closed->done = true;
    closed->changed.notify_all();
  });
  const Instant deadline = now_precise() + timeout_ns;
  closed->mutex.lock();
  while (!closed->done && now_precise() < deadline) {
    closed->changed.wait_for(closed->mutex,
                             std::min(sqlite::kPollInterval_ns, deadline - now_precise()));
    closed->mutex.unlock();
    if (check_signals()) return false;
    closed->mutex.lock();
  }
  const bool done = closed->done;
  closed->mutex.unlock();
  return done;
}

}  // namespace mcp::python
