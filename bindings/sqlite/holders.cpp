// holders.cpp: compares the caller with those who have connections.
#include "bindings/sqlite/holders.h"

#include <algorithm>

#include "bindings/loop/running.h"
#include "bindings/sqlite/endpoint.h"
#include "sqlite/pool_errors.h"

namespace mcp::python {
namespace {

// The task that runs on this thread, or null; never with an exception set.
Ref current_task() {
  static PyObject* function = nullptr;  // kept from the first use on, under the interpreter lock
  const Ref loop = running_loop();
  if (loop && function == nullptr) {
    const Ref asyncio = Ref::steal(PyImport_ImportModule("asyncio"));
    if (asyncio) function = PyObject_GetAttrString(asyncio.get(), "current_task");
  }
  Ref task;
  if (loop && function != nullptr) {
    task = Ref::steal(PyObject_CallOneArg(function, loop.get()));
  }
  PyErr_Clear();
  return task && task.get() != Py_None ? std::move(task) : Ref();
}

}  // namespace

Holder Holder::caller() {
  Holder out;
  out.thread_ = PyThread_get_thread_ident();
  const Ref task = current_task();
  if (task) out.task_ = Ref::steal(PyWeakref_NewRef(task.get(), nullptr));
  PyErr_Clear();
  return out;
}

bool Holder::stops_for(const Holder& other, bool blocking) const noexcept {
  if (blocking || !task_) return thread_ == other.thread_;
  // The same weak reference as long as the task lives, since neither has a callback.
  return task_.get() == other.task_.get() && PyWeakref_GetObject(task_.get()) != Py_None;
}

bool would_wait_for_itself(const PoolState& state, sqlite::Access access, bool blocking) {
  if (state.leases.empty()) return false;
  const Holder me = Holder::caller();
  int readers = 0, writers = 0;
  for (const Lease* lease : state.leases) {
    const sqlite::Slot* slot = lease->slot;
    if (slot == nullptr || !lease->holder.stops_for(me, blocking)) continue;
    ++(slot->role == sqlite::Role::kWriter ? writers : readers);
  }
  const int all_readers = state.options.size - 1;
  if (access == sqlite::Access::kWrite || all_readers == 0) return writers == 1;
  return readers == all_readers && (access == sqlite::Access::kRead || writers == 1);
}

void check_no_self_wait(const PoolState& state, sqlite::Access access, bool blocking) {
  if (would_wait_for_itself(state, access, blocking)) throw sqlite::waits_for_itself();
}

}  // namespace mcp::python
