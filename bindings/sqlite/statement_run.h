// statement_run.h: a statement on the thread that waits for it.
//
// Made, asked and destroyed with the interpreter lock; run() does without.
#pragma once

#include <exception>
#include <memory>
#include <optional>

#include "bindings/sqlite/endpoint.h"
#include "bindings/sqlite/holders.h"
#include "sqlite/statement_job.h"

namespace mcp::python {

class StatementRun {
 public:
  // Without a lease on the pool. The request and the lease outlive this. Throws Error.
  StatementRun(PoolState& state, sqlite::Lease* lease, Duration timeout_ns,
               sqlite::Request& request)
      : pool_((state.pool(), state.current)),
        lease_(lease),
        route_(route_of(state, lease, request, true)),
        watch_(state),
        operation_(timeout_ns > 0 ? later(now_precise(), timeout_ns) : kNever),
        request_(request) {
    operation_.set_watch(&watch_);
    request_.submitted = now_precise();
  }

  // Signals are answered while it waits. For the main thread.
  void answer_signals() { operation_.set_poll(check_signals); }

  // Once.
  void run() noexcept {
    try {
      answer_ = sqlite::run_statement_here(pool_, lease_, route_, request_, operation_);
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  // Null with an exception set.
  [[nodiscard]] const sqlite::Answer* answer() const {
    if (failure_ == nullptr) return &*answer_;
    if (PyErr_Occurred() == nullptr) set_python_error_from(failure_);  // else a signal's
    return nullptr;
  }

 private:
  const std::shared_ptr<sqlite::Pool> pool_;
  sqlite::Lease* const lease_;
  const sqlite::Route route_;
  const SelfWaitWatch watch_;
  sqlite::Operation operation_;
  sqlite::Request& request_;
  std::optional<sqlite::Answer> answer_;
  std::exception_ptr failure_;
};

}  // namespace mcp::python
