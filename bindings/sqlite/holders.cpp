// holders.cpp: compares the caller with those who have connections.
#include "bindings/sqlite/holders.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "bindings/base/gil.h"
#include "bindings/base/weak.h"
#include "bindings/loop/running.h"
#include "bindings/sqlite/endpoint.h"

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
  if (!other.task_) return false;
  const Ref task = referent(task_.get());
  return task && task.get() == referent(other.task_.get()).get();
}

bool Holder::waits_for_caller(bool blocking) const noexcept {
  static PyObject* function = nullptr;  // kept from the first use on, under the interpreter lock
  if (function == nullptr) {
    const Ref waits = Ref::steal(PyImport_ImportModule("mcp_performance._base._waits"));
    if (waits) function = PyObject_GetAttrString(waits.get(), "leads_here");
  }
  const Ref start = task_ ? referent(task_.get()) : Ref::steal(PyLong_FromUnsignedLong(thread_));
  Ref answer;
  if (function != nullptr && start) {
    answer = Ref::steal(PyObject_CallFunctionObjArgs(function, start.get(),
                                                     blocking ? Py_True : Py_False, nullptr));
  }
  PyErr_Clear();
  return answer.get() == Py_True;
}

bool caller_has_writer(const PoolState& state, bool blocking, const sqlite::Lease* own) {
  if (state.leases->empty()) return false;
  const Holder me = Holder::caller();
  // Gathered first: asking who waits for whom runs Python code, in which leases may come and go.
  std::vector<std::shared_ptr<const Holder>> writers;
  for (const HeldLease* held : *state.leases) {
    if (held->lease.get() != own && held->lease->has_writer()) writers.push_back(held->holder);
  }
  return std::any_of(writers.begin(), writers.end(), [&](const auto& writer) {
    return writer->stops_for(me, blocking) || writer->waits_for_caller(blocking);
  });
}

bool SelfWaitWatch::waits_for_itself() const {
  const GilAcquire gil;
  return gil && caller_has_writer(state_, true, nullptr);
}

sqlite::Route route_of(const PoolState& state, const sqlite::Lease* lease,
                       const sqlite::Request& request, bool blocking) {
  std::optional<sqlite::Standing> standing;
  if (lease != nullptr) standing = lease->standing();
  // A read beside the writer asks nobody: looking through who waits for whom takes microseconds.
  const bool may_take_writer =
      state.options.size == 1 || request.profile->access() != sqlite::Profile::Access::kRead;
  return sqlite::route_of(request, standing, state.options.size,
                          may_take_writer && caller_has_writer(state, blocking, lease));
}

}  // namespace mcp::python
