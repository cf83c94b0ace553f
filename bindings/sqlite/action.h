// action.h: one thing that a caller asked for, run at once, on the caller's thread, or on a
// worker while a coroutine waits.
#pragma once

#include <memory>

#include "bindings/base/gil.h"
#include "bindings/loop/bridge.h"
#include "sqlite/operation.h"
#include "sqlite/pool.h"

namespace mcp::python {

class Action {
 public:
  enum class Outcome { kDone, kError, kWait, kTurn };

  virtual ~Action() = default;
  virtual int traverse(visitproc visit, void* arg) = 0;

  // What can be had at once: a cached result, or a short statement unless that is up to a worker.
  // kWait: start() it. kTurn: not ready to, and the loop has waited long enough: once more after
  // others had their turn.
  virtual Outcome try_now(PyObject*& result, bool leave_to_worker) = 0;
  // Hands the work to the pool. The conversion is destroyed if it never completes. False with an
  // exception set.
  virtual bool start(std::shared_ptr<CompletionQueue> queue, std::uint64_t id,
                     sqlite::OperationPtr operation) = 0;
  [[nodiscard]] virtual std::unique_ptr<Conversion> conversion() = 0;
  // The caller is gone.
  virtual void cancel(const sqlite::OperationPtr& operation) = 0;
  // Seconds that the caller gives it, as a duration; 0 for no limit of its own.
  [[nodiscard]] virtual Duration timeout() const noexcept = 0;
  // True when the wait was for another caller's work: try_now() again.
  [[nodiscard]] virtual bool wants_retry() const noexcept { return false; }
  // On the caller's thread. A new reference, or nullptr with an exception set.
  virtual PyObject* run_blocking() = 0;
};

// An awaitable that runs `action`; single-use. A new reference, or nullptr with an exception set.
[[nodiscard]] PyObject* make_awaitable(std::unique_ptr<Action> action);
void bind_awaitable(pybind11::module_& module);

}  // namespace mcp::python
