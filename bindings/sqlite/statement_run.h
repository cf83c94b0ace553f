// statement_run.h: a statement on the thread that waits for it.
//
// Made, asked and destroyed with the interpreter lock; run() does without.
#pragma once

#include <exception>
#include <memory>
#include <optional>

#include "bindings/sqlite/endpoint.h"
#include "sqlite/execution.h"
#include "sqlite/operation.h"
#include "sqlite/pool.h"

namespace mcp::python {

// A statement that nobody has prepared yet, if it is to return rows, is taken for a read.
[[nodiscard]] bool goes_to_reader(const sqlite::Request& request) noexcept;
// Whether the lease's connection is not the one for it.
[[nodiscard]] bool moves_to_writer(const PoolState& state, const Lease& lease,
                                   const sqlite::Request& request) noexcept;

class StatementRun {
 public:
  // On the pool without a lease. The request and the lease outlive this. Throws Error when the
  // pool is closed.
  StatementRun(PoolState& state, Lease* lease, Duration timeout_ns, sqlite::Request& request);

  // Signals are answered while it waits. For the main thread.
  void answer_signals();
  // Without the interpreter lock, once.
  void run() noexcept;
  // Null with an exception set.
  [[nodiscard]] const sqlite::Answer* answer() const;

 private:
  [[nodiscard]] sqlite::Answer run_on_pool();
  [[nodiscard]] sqlite::Answer run_on_lease();

  const PoolState& state_;
  const std::shared_ptr<sqlite::Pool> pool_;
  Lease* const lease_;
  sqlite::Operation operation_;
  sqlite::Request& request_;
  bool keeps_off_writer_ = false;  // the caller has it
  std::optional<sqlite::Answer> answer_;
  std::exception_ptr failure_;
};

}  // namespace mcp::python
