// Leading a load, waiting for one, and telling whoever waits how it ended.
#include "bindings/cache/flight.h"

#include <algorithm>
#include <new>

#include "bindings/base/gil.h"
#include "bindings/base/ref.h"
#include "bindings/base/saved_error.h"
#include "bindings/base/shared_error.h"

namespace mcp::python {
namespace {

constexpr Duration kSignalLook = 50 * kMillisecond;  // how often a waiting main thread looks
constexpr Duration kFirstCycleLook = 50 * kMillisecond;
constexpr Duration kCycleLook = kSecond;  // how often a waiting thread looks whom it waits for

PyObject* inside = nullptr;  // ContextVar: the Flight in whose loader a task runs
// What _async.py hands over: how futures are completed; asyncio.CancelledError; LoadTimeout;
// leads_here(thread or task, True) -> whether it waits for this thread.
PyObject* wake_futures = nullptr;
PyObject* cancelled_error = nullptr;
PyObject* timeout_error = nullptr;
PyObject* leads_here = nullptr;
std::size_t async_loads = 0;
// In the static block: an access is one instruction.
__attribute__((tls_model("initial-exec"))) thread_local Load* innermost = nullptr;

Flight* new_flight(Load* load) {
  auto* flight = PyObject_GC_New(Flight, flight_type());
  if (flight == nullptr) return nullptr;
  flight->load = load;
  flight->own = nullptr;
  flight->lock = nullptr;
  flight->threads = 0;
  flight->outcome = Outcome::kPending;
  flight->was_cancelled = false;
  flight->result = flight->futures = flight->loop = flight->task = nullptr;
  PyObject_GC_Track(as_object(flight));
  return flight;
}

void adopt_by_parent(Load& load) {
  Load* parent = current_load();
  if (parent == nullptr) return;
  parent->children.push_back(&load);
  load.parent = parent;
  if (parent->is_async) {
    load.parent_flight = parent->flight;
    Py_INCREF(as_object(parent->flight));
  }
}

void leave_parent(Load& load) noexcept {
  if (load.parent == nullptr) return;
  std::erase(load.parent->children, &load);
  load.parent = nullptr;
}

// Whether `load` waits, through others, for a load of the chain. Waits form no cycle, since whoever
// would close one computes inline.
bool waits_for_chain(const Load* load, const Load* chain) noexcept {
  if (load == nullptr || load->is_finished) return false;
  if (is_in_chain(load, chain)) return true;
  const auto waits = [&](const auto& next) { return waits_for_chain(next, chain); };
  return std::any_of(load->children.begin(), load->children.end(), waits) ||
         std::any_of(load->waits.begin(), load->waits.end(),
                     [&](const Flight* flight) { return waits_for_chain(flight->load, chain); });
}

bool must_compute_inline(const Load& load, const Load* chain) noexcept {
  return chain != nullptr && waits_for_chain(&load, chain);
}

Flight* flight_for(Load& load) {
  if (load.flight == nullptr) load.flight = new_flight(&load);
  return load.flight;
}

void begin_load(Load& load, LoadTable& table, PyObject* key, std::uint64_t hash,
                std::uint64_t epoch, LoadTags tags) {
  load.hash = hash;
  load.key = key;
  load.thread = this_thread();
  load.thread_ident = PyThread_get_thread_ident();
  load.epoch = epoch;
  load.tags = std::move(tags);
  adopt_by_parent(load);
  table.insert(load);
}

// Hands the result to everyone who waits. Keeps the exception that is set.
void deliver(Flight* flight, Outcome outcome, PyObject* result) noexcept {
  if (flight->outcome != Outcome::kPending) return;
  flight->outcome = outcome;
  flight->result = Py_XNewRef(result);
  flight->load = nullptr;
  if (flight->lock != nullptr) PyThread_release_lock(flight->lock);
  if (flight->futures == nullptr) return;
  const ErrorSetAside aside;
  const Ref futures = Ref::steal(std::exchange(flight->futures, nullptr));
  const Ref done = Ref::steal(PyObject_CallOneArg(wake_futures, futures.get()));
  if (!done) PyErr_WriteUnraisable(as_object(flight));
}

// Whether the leader of the flight waits for this thread outside of our sight, on an executor.
bool is_awaited_by_leader(const Flight* flight) {
  const Ref leader = Ref::steal(leader_of(flight));
  if (!leader || leader.get() == Py_None || leads_here == nullptr) {
    PyErr_Clear();
    return false;
  }
  const Ref answer =
      Ref::steal(PyObject_CallFunctionObjArgs(leads_here, leader.get(), Py_True, nullptr));
  if (answer) return answer.get() == Py_True;
  PyErr_Clear();
  return false;
}

// kValue: there is a result to read.
Waited wait_on_lock(Flight* flight, Duration limit) {
  const Instant begun = now_precise();
  const Duration step = is_main_thread() ? kSignalLook : kCycleLook;
  Instant look_at = begun + kFirstCycleLook;
  for (;;) {
    const Instant now = now_precise();
    const Duration left = limit == kNever ? kNever : limit - (now - begun);
    if (left <= 0) return Waited::kTimeout;
    if (now >= look_at) {
      if (is_awaited_by_leader(flight)) return Waited::kInline;
      look_at = now + kCycleLook;
    }
    const Duration patience = std::min({step, left, std::max<Duration>(look_at - now, 0)});
    PyLockStatus status;
    Py_BEGIN_ALLOW_THREADS status =
        PyThread_acquire_lock_timed(flight->lock, patience / kMicrosecond + 1, 1);
    Py_END_ALLOW_THREADS if (status == PY_LOCK_ACQUIRED) {
      PyThread_release_lock(flight->lock);  // for the next who waits
      return Waited::kValue;
    }
    if (PyErr_CheckSignals() < 0) return Waited::kError;
  }
}

bool has_lock(Flight* flight) {
  if (flight->lock != nullptr) return true;
  flight->lock = PyThread_allocate_lock();
  if (flight->lock == nullptr) {
    PyErr_NoMemory();
    return false;
  }
  PyThread_acquire_lock(flight->lock, WAIT_LOCK);
  return true;
}

PyObject* set_hooks(PyObject*, PyObject* args) {
  PyObject *wake, *cancelled, *timeout, *leads;
  if (!PyArg_ParseTuple(args, "OOOO:_set_load_hooks", &wake, &cancelled, &timeout, &leads)) {
    return nullptr;
  }
  const auto replace = [](PyObject*& hook, PyObject* by) {
    const Ref old = Ref::steal(std::exchange(hook, Py_NewRef(by)));
  };
  replace(wake_futures, wake);
  replace(cancelled_error, cancelled);
  replace(timeout_error, timeout);
  replace(leads_here, leads);
  Py_RETURN_NONE;
}

PyMethodDef hook_methods[] = {{"_set_load_hooks", set_hooks, METH_VARARGS,
                               "_set_load_hooks(wake, cancelled, timeout, leads_here, /)\n--\n\n"
                               "_set_load_hooks(wake: Callable[[list[Future[None]]], object], "
                               "cancelled: type[BaseException], timeout: type[Exception], "
                               "leads_here: Callable[[Any, bool], bool], /) -> None\n\n"
                               "(wake, CancelledError, LoadTimeout, leads_here), from _async.py."},
                              {nullptr, nullptr, 0, nullptr}};

}  // namespace

const void* this_thread() noexcept { return &innermost; }

PyObject* leader_of(const Flight* flight) noexcept {
  if (flight->load == nullptr) Py_RETURN_NONE;
  if (!flight->load->is_async) return PyLong_FromUnsignedLong(flight->load->thread_ident);
  return Py_NewRef(flight->task == nullptr ? Py_None : flight->task);
}

Load* current_load() noexcept {
  if (innermost != nullptr || async_loads == 0) return innermost;
  PyObject* value = nullptr;
  if (PyContextVar_Get(inside, Py_None, &value) < 0) {
    PyErr_Clear();
    return nullptr;
  }
  const Ref flight = Ref::steal(value);
  // An asynchronous load outlives this call: its task holds it.
  return is_flight(value) ? as_flight(value)->load : nullptr;
}

bool is_shared_error(PyObject* exception) noexcept {
  return PyErr_GivenExceptionMatches(exception, PyExc_Exception) != 0 ||
         (cancelled_error != nullptr &&
          PyErr_GivenExceptionMatches(exception, cancelled_error) != 0);
}

Outcome outcome_of_error(PyObject* exception) noexcept {
  return is_shared_error(exception) ? Outcome::kError : Outcome::kRetry;
}

void end_load(Load& load, Outcome outcome, PyObject* result) noexcept {
  if (load.is_finished) return;
  load.is_finished = true;
  if (load.table != nullptr) load.table->remove(load);
  leave_parent(load);
  if (load.flight != nullptr) deliver(load.flight, outcome, result);
}

void forget_wait(Load* waiter, Flight* flight) noexcept {
  const auto at = std::find(waiter->waits.begin(), waiter->waits.end(), flight);
  if (at == waiter->waits.end()) return;
  waiter->waits.erase(at);
  Py_DECREF(as_object(flight));
}

Leading::Leading(LoadTable& table, PyObject* key, std::uint64_t hash, std::uint64_t epoch,
                 LoadTags tags) {
  begin_load(load_, table, key, hash, epoch, std::move(tags));
  outer_ = std::exchange(innermost, &load_);
}

Leading::~Leading() {
  innermost = outer_;
  end_load(load_, Outcome::kRetry, nullptr);
  Py_DECREF(load_.key);
  Py_XDECREF(as_object(load_.flight));
  Py_XDECREF(as_object(load_.parent_flight));
}

void Leading::finish(PyObject* value) noexcept { end_load(load_, Outcome::kValue, value); }

void Leading::finish_with_error() noexcept {
  if (load_.flight == nullptr) {
    end_load(load_, Outcome::kError, nullptr);
    return;
  }
  Ref error = take_error();
  end_load(load_, outcome_of_error(error.get()), error.get());
  set_error(std::move(error));
}

Waited wait_for_load(Load& load, PyObject** value, Duration limit) {
  Load* chain = current_load();
  const bool own_loop = load.is_async && load.thread == this_thread();
  if (own_loop || must_compute_inline(load, chain)) return Waited::kInline;
  Flight* flight = flight_for(load);
  if (flight == nullptr || !has_lock(flight)) return Waited::kError;
  const Ref held = Ref::borrow(as_object(flight));
  if (chain != nullptr) {
    chain->waits.push_back(flight);
    Py_INCREF(as_object(flight));
  }
  ++flight->threads;
  const Waited waited = wait_on_lock(flight, limit);
  --flight->threads;
  if (chain != nullptr) forget_wait(chain, flight);
  if (waited != Waited::kValue) return waited;
  if (flight->outcome == Outcome::kRetry) return Waited::kRetry;
  if (flight->outcome == Outcome::kError) {
    const Ref own = own_exception(flight->result);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(own.get())), own.get());
    return Waited::kError;
  }
  *value = Py_NewRef(flight->result);
  return Waited::kValue;
}

PyObject* begin_async_load(LoadTable& table, PyObject* key, std::uint64_t hash, std::uint64_t epoch,
                           LoadTags tags) {
  auto* load = new (std::nothrow) Load;
  Flight* flight = load == nullptr ? nullptr : new_flight(load);
  if (flight == nullptr) {
    delete load;
    Py_DECREF(key);
    return PyErr_Occurred() ? nullptr : PyErr_NoMemory();
  }
  flight->own = load;
  load->flight = flight;  // not counted: the flight owns the load
  load->is_async = true;
  ++async_loads;
  begin_load(*load, table, key, hash, epoch, std::move(tags));
  return as_object(flight);
}

PyObject* join_async(Load& load) {
  const bool own_thread = !load.is_async && load.thread == this_thread();
  if (own_thread || must_compute_inline(load, current_load())) Py_RETURN_NONE;
  Flight* flight = flight_for(load);
  return flight == nullptr ? nullptr : Py_NewRef(as_object(flight));
}

void async_load_ended() noexcept { --async_loads; }

void raise_load_timeout(PyObject* name, PyObject* key, Duration limit) {
  const Ref seconds = Ref::steal(PyFloat_FromDouble(to_seconds(limit)));
  if (!seconds) return;
  PyErr_Format(timeout_error == nullptr ? PyExc_TimeoutError : timeout_error,
               "%S: waited %S seconds (wait_timeout) for the load of %R that another caller began",
               name, seconds.get(), key);
}

bool add_flight_hooks(PyObject* module) {
  inside = PyContextVar_New("mcp_performance_load", Py_None);
  return inside != nullptr && PyModule_AddObjectRef(module, "_inside_load", inside) == 0 &&
         PyModule_AddFunctions(module, hook_methods) == 0;
}

}  // namespace mcp::python
