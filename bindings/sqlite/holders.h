// holders.h: who has connections of a pool for a while, so that a caller that would wait for the
// writer that it has itself is told at once.
//
// A task is itself, and whoever it waits for: tasks that it starts may wait for what it has as long
// as it goes on meanwhile (_base/_waits.py says whether it does). A thread that waits stops
// everything on it, so a blocking caller conflicts with whatever was borrowed on its thread.
// Everything here needs the interpreter lock.
#pragma once

#include "bindings/base/ref.h"
#include "sqlite/lease.h"
#include "sqlite/operation.h"
#include "sqlite/routing.h"

namespace mcp::python {

struct PoolState;

// Who borrows.
class Holder {
 public:
  Holder() = default;  // nobody
  // The caller: the task that runs on this thread, or the thread.
  [[nodiscard]] static Holder caller();
  // Whether `other`, a caller on this thread, cannot go on before this one does while it waits.
  [[nodiscard]] bool stops_for(const Holder& other, bool blocking) const noexcept;
  // Whether this one, who is not the caller, waits for the caller.
  [[nodiscard]] bool waits_for_caller(bool blocking) const noexcept;

 private:
  Ref task_;  // a weak reference, null without
  unsigned long thread_ = 0;
};

// Whether the caller would wait for itself if it waited for the pool's writer. `own`: the lease
// that asks, or null; another thread may have moved it to the writer meanwhile, where it has
// nothing to wait for.
[[nodiscard]] bool caller_has_writer(const PoolState& state, bool blocking,
                                     const sqlite::Lease* own);
// The route of a statement of the caller, on the lease if that is not null. Throws Error.
[[nodiscard]] sqlite::Route route_of(const PoolState& state, const sqlite::Lease* lease,
                                     const sqlite::Request& request, bool blocking);

// Looks while a blocking caller waits. `state` outlives it.
class SelfWaitWatch final : public sqlite::WaitWatch {
 public:
  explicit SelfWaitWatch(const PoolState& state) : state_(state) {}
  [[nodiscard]] bool waits_for_itself() const override;

 private:
  const PoolState& state_;
};

}  // namespace mcp::python
