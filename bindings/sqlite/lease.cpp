// lease.cpp: the tasks of a pool (cpp/sqlite/pool_task.h), awaited or waited for.
#include "bindings/sqlite/lease.h"

#include <memory>
#include <utility>

#include "bindings/sqlite/action.h"
#include "bindings/sqlite/holders.h"
#include "sqlite/pool_errors.h"
#include "sqlite/pool_task.h"

namespace mcp::python {
namespace {

using sqlite::Operation;
using sqlite::OperationPtr;
using sqlite::Pool;
using sqlite::PoolTask;

class TaskConversion final : public Conversion {
 public:
  explicit TaskConversion(Endpoint* endpoint) : endpoint_(endpoint) { Py_INCREF(endpoint_); }
  ~TaskConversion() override { Py_DECREF(endpoint_); }
  Progress resume(Completion& completion, Instant, PyObject*& result) override {
    auto& reply = static_cast<sqlite::Reply&>(*completion.payload);
    if (reply.failure) {
      set_python_error_from(reply.failure);
      return Progress::kError;
    }
    if (reply.leased) endpoint_->lease()->begin(std::move(reply.leased));
    result = Py_NewRef(Py_None);
    return Progress::kDone;
  }

 private:
  Endpoint* const endpoint_;
};

class TaskAction final : public Action {
 public:
  TaskAction(Endpoint* endpoint, PoolTask task, Duration timeout_ns)
      : endpoint_(endpoint), task_(std::move(task)), timeout_ns_(timeout_ns) {
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
      task_.submit(checked_pool(false), std::move(operation), {std::move(queue), id});
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
    PoolState& state = *endpoint_->pool_state();
    if (task_.waits_for_connection() && state.generation == process_generation()) {
      state.current->cancel(operation);
    }
  }
  [[nodiscard]] Duration timeout() const noexcept override { return timeout_ns_; }

  PyObject* run_blocking() override {
    try {
      const std::shared_ptr<Pool> pool = checked_pool(true);
      Operation operation(timeout_ns_ > 0 ? later(now_precise(), timeout_ns_) : kNever);
      const SelfWaitWatch watch(*endpoint_->pool_state());
      operation.set_poll(check_signals);
      operation.set_watch(&watch);
      const std::exception_ptr failure = without_gil([&] { task_.run_here(pool, operation); });
      if (failure == nullptr) Py_RETURN_NONE;
      if (PyErr_Occurred() == nullptr) set_python_error_from(failure);  // else a signal's
    } catch (...) {
      set_python_error_from(std::current_exception());
    }
    return nullptr;
  }

 private:
  // Throws Error where the task would wait for its own caller.
  [[nodiscard]] const std::shared_ptr<Pool>& checked_pool(bool blocking) const {
    PoolState& state = *endpoint_->pool_state();
    state.pool();
    if (task_.waits_for_connection() && sqlite::takes_writer(task_.access(), state.options.size) &&
        caller_has_writer(state, blocking, nullptr)) {
      throw sqlite::waits_for_itself();
    }
    return state.current;
  }

  Endpoint* const endpoint_;
  const PoolTask task_;
  const Duration timeout_ns_;
};

PyObject* run_or_await(Endpoint* endpoint, PoolTask task, Duration timeout_ns) {
  auto action = std::make_unique<TaskAction>(endpoint, std::move(task), timeout_ns);
  return endpoint->blocking ? action->run_blocking() : make_awaitable(std::move(action));
}

}  // namespace

PyObject* begin_lease(Endpoint* endpoint, sqlite::Block block, Duration timeout_ns) {
  PoolState& state = *endpoint->pool_state();
  state.pool();
  endpoint->held = new HeldLease(state, sqlite::is_transaction(block));
  return run_or_await(endpoint, PoolTask::begin(endpoint->held->lease, block), timeout_ns);
}

PyObject* end_transaction(Endpoint* endpoint, bool commit) {
  if (endpoint->held == nullptr) throw sqlite::given_back();
  return run_or_await(endpoint, PoolTask::end(endpoint->held->lease, commit), 0);
}

PyObject* backup_to(Endpoint* endpoint, const std::string& path) {
  return run_or_await(endpoint, PoolTask::backup(path), 0);
}

PyObject* open_pool(Endpoint* endpoint) { return run_or_await(endpoint, PoolTask::open(), 0); }

PyObject* close_pool(Endpoint* endpoint) {
  PoolState& state = *endpoint->pool_state();
  state.pool();
  const LoopBridge bridge = LoopBridge::of_running_loop();
  if (!bridge) return nullptr;
  std::uint64_t id = 0;
  PyObject* future = bridge.expect(std::make_unique<TaskConversion>(endpoint), id);
  if (future == nullptr) return nullptr;
  state.current->close([reply_to = sqlite::ReplyTo{bridge.queue(), id}] {
    reply_to.send(std::make_unique<sqlite::Reply>(), true);
  });
  return future;
}

bool close_pool_blocking(Endpoint* endpoint, Duration timeout_ns) {
  PoolState& state = *endpoint->pool_state();
  state.pool();
  const std::shared_ptr<Pool> pool = state.current;
  Operation operation(later(now_precise(), timeout_ns));
  operation.set_poll(check_signals);
  const GilRelease unlocked;
  return pool->close_and_wait(operation);
}

}  // namespace mcp::python
