#include "bindings/cache/flight.h"

#include <pythread.h>

#include <algorithm>
#include <cstddef>
#include <new>

#include "base/clock.h"
#include "bindings/base/gil.h"
#include "bindings/base/ref.h"

namespace mcp::python {

enum class Outcome : char { kPending, kValue, kError, kRetry };

struct Flight {
  PyObject_HEAD Load* load;  // nullptr once finished
  Load* own;                 // of an asynchronous leader; deleted with the flight
  PyThread_type_lock lock;   // held until the result is there; nullptr until a thread waits
  Outcome outcome;
  PyObject* result;   // value or exception
  PyObject* futures;  // list of the coroutines' futures, or nullptr
  PyObject* loop;     // of an asynchronous leader
  PyObject* task;
};

namespace {

constexpr Duration kSignalLook = 50 * kMillisecond;  // how often a waiting main thread looks

PyTypeObject* flight_type = nullptr;
PyObject* inside = nullptr;        // ContextVar: the Flight in whose loader a task runs
PyObject* wake_futures = nullptr;  // _cache_async.wake
LoadTable* first_table = nullptr;
std::size_t async_loads = 0;
// In the static block: an access is one instruction.
__attribute__((tls_model("initial-exec"))) thread_local Load* innermost = nullptr;

// What tells threads apart. The one that forks keeps it.
const void* this_thread() noexcept { return &innermost; }

PyObject* as_object(Flight* flight) { return reinterpret_cast<PyObject*>(flight); }
Flight* as_flight(PyObject* object) { return reinterpret_cast<Flight*>(object); }

Flight* new_flight(Load* load) {
  auto* flight = PyObject_GC_New(Flight, flight_type);
  if (flight == nullptr) return nullptr;
  flight->load = load;
  flight->own = nullptr;
  flight->lock = nullptr;
  flight->outcome = Outcome::kPending;
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

bool is_in_chain(const Load* load, const Load* chain) noexcept {
  for (; chain != nullptr; chain = chain->parent) {
    if (chain == load) return true;
  }
  return false;
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

void forget_wait(Load* waiter, Flight* flight) noexcept {
  const auto at = std::find(waiter->waits.begin(), waiter->waits.end(), flight);
  if (at == waiter->waits.end()) return;
  waiter->waits.erase(at);
  Py_DECREF(as_object(flight));
}

Flight* flight_for(Load& load) {
  if (load.flight == nullptr) load.flight = new_flight(&load);
  return load.flight;
}

// Hands the result to everyone who waits. Keeps the exception that is set.
void deliver(Flight* flight, Outcome outcome, PyObject* result) noexcept {
  if (flight->outcome != Outcome::kPending) return;
  flight->outcome = outcome;
  flight->result = Py_XNewRef(result);
  flight->load = nullptr;
  if (flight->lock != nullptr) PyThread_release_lock(flight->lock);
  if (flight->futures == nullptr) return;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  const Ref futures = Ref::steal(std::exchange(flight->futures, nullptr));
  const Ref done = Ref::steal(PyObject_CallOneArg(wake_futures, futures.get()));
  if (!done) PyErr_WriteUnraisable(as_object(flight));
  PyErr_Restore(type, value, traceback);
}

// An interruption of the leader is its own: the others try again.
Outcome outcome_of_error(PyObject* exception) noexcept {
  return PyErr_GivenExceptionMatches(exception, PyExc_Exception) ? Outcome::kError
                                                                 : Outcome::kRetry;
}

void end_load(Load& load, Outcome outcome, PyObject* result) noexcept {
  if (load.is_finished) return;
  load.is_finished = true;
  if (load.table != nullptr) load.table->remove(load);
  leave_parent(load);
  if (load.flight != nullptr) deliver(load.flight, outcome, result);
}

// True when the result is there, false with an exception set.
bool wait_on_lock(Flight* flight) {
  const PY_TIMEOUT_T patience_us = is_main_thread() ? kSignalLook / kMicrosecond : -1;
  for (;;) {
    PyLockStatus status;
    Py_BEGIN_ALLOW_THREADS status = PyThread_acquire_lock_timed(flight->lock, patience_us, 1);
    Py_END_ALLOW_THREADS if (status == PY_LOCK_ACQUIRED) {
      PyThread_release_lock(flight->lock);  // for the next who waits
      return true;
    }
    if (PyErr_CheckSignals() < 0) return false;
  }
}

PyObject* raise_again(PyObject* exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
  return nullptr;
}

}  // namespace

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

LoadTable::LoadTable() : buckets_(8) {
  next_table_ = first_table;
  if (first_table != nullptr) first_table->previous_table_ = this;
  first_table = this;
}

LoadTable::~LoadTable() {
  clear();
  if (next_table_ != nullptr) next_table_->previous_table_ = previous_table_;
  (previous_table_ != nullptr ? previous_table_->next_table_ : first_table) = next_table_;
}

Load* LoadTable::find(const KeyView& view, std::uint64_t hash, bool& failed) {
  failed = false;
  for (Load* load = buckets_[hash & (buckets_.size() - 1)]; load != nullptr; load = load->next) {
    if (load->hash != hash) continue;
    const Match match = matches_fast(load->key, view);
    if (match == Match::kEqual) return load;
    if (match == Match::kDifferent) continue;
    const std::uint64_t version = version_;
    const Ref key = Ref::borrow(load->key);
    const int equal = matches_slow(key.get(), view);
    if (equal < 0) {
      failed = true;
      return nullptr;
    }
    if (version != version_) return find(view, hash, failed);  // __eq__ changed the table
    if (equal) return load;
  }
  return nullptr;
}

void LoadTable::insert(Load& load) {
  if (count_ >= buckets_.size()) grow();
  Load*& head = buckets_[load.hash & (buckets_.size() - 1)];
  load.next = head;
  load.table = this;
  head = &load;
  ++count_;
  ++version_;
}

void LoadTable::remove(Load& load) noexcept {
  Load** at = &buckets_[load.hash & (buckets_.size() - 1)];
  while (*at != &load) at = &(*at)->next;
  *at = load.next;
  load.table = nullptr;
  --count_;
  ++version_;
}

void LoadTable::clear() noexcept {
  if (count_ == 0) return;
  for (Load*& head : buckets_) {
    for (Load* load = std::exchange(head, nullptr); load != nullptr; load = load->next) {
      load->table = nullptr;
    }
  }
  count_ = 0;
  ++version_;
}

void LoadTable::forget_other_threads() noexcept {
  const void* me = this_thread();
  for (Load*& head : buckets_) {
    for (Load** at = &head; *at != nullptr;) {
      Load* load = *at;
      if (load->thread == me) {
        at = &load->next;
        continue;
      }
      *at = load->next;
      load->table = nullptr;
      --count_;
    }
  }
  ++version_;
}

void LoadTable::grow() {
  std::vector<Load*> old(buckets_.size() * 2);
  old.swap(buckets_);
  for (Load* load : old) {
    while (load != nullptr) {
      Load* following = load->next;
      Load*& head = buckets_[load->hash & (buckets_.size() - 1)];
      load->next = head;
      head = load;
      load = following;
    }
  }
}

void forget_loads_after_fork() noexcept {
  for (LoadTable* table = first_table; table != nullptr; table = table->next_table_) {
    table->forget_other_threads();
  }
}

Leading::Leading(LoadTable& table, PyObject* key, std::uint64_t hash, std::uint64_t epoch) {
  load_.hash = hash;
  load_.key = key;
  load_.thread = this_thread();
  load_.epoch = epoch;
  adopt_by_parent(load_);
  table.insert(load_);
  outer_ = std::exchange(innermost, &load_);
}

Leading::~Leading() {
  innermost = outer_;
  end_load(load_, Outcome::kRetry, nullptr);
  Py_DECREF(load_.key);
  Py_XDECREF(reinterpret_cast<PyObject*>(load_.flight));
  Py_XDECREF(reinterpret_cast<PyObject*>(load_.parent_flight));
}

void Leading::finish(PyObject* value) noexcept { end_load(load_, Outcome::kValue, value); }

void Leading::finish_with_error() noexcept {
  if (load_.flight == nullptr) {
    end_load(load_, Outcome::kError, nullptr);
    return;
  }
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  end_load(load_, outcome_of_error(value), value);
  PyErr_Restore(type, value, traceback);
}

Waited wait_for_load(Load& load, PyObject** value) {
  Load* chain = current_load();
  const bool own_loop = load.is_async && load.thread == this_thread();
  if (own_loop || must_compute_inline(load, chain)) return Waited::kInline;
  Flight* flight = flight_for(load);
  if (flight == nullptr) return Waited::kError;
  if (flight->lock == nullptr) {
    flight->lock = PyThread_allocate_lock();
    if (flight->lock == nullptr) {
      PyErr_NoMemory();
      return Waited::kError;
    }
    PyThread_acquire_lock(flight->lock, WAIT_LOCK);
  }
  const Ref held = Ref::borrow(as_object(flight));
  if (chain != nullptr) {
    chain->waits.push_back(flight);
    Py_INCREF(as_object(flight));
  }
  const bool arrived = wait_on_lock(flight);
  if (chain != nullptr) forget_wait(chain, flight);
  if (!arrived) return Waited::kError;
  if (flight->outcome == Outcome::kRetry) return Waited::kRetry;
  if (flight->outcome == Outcome::kError) {
    raise_again(flight->result);
    return Waited::kError;
  }
  *value = Py_NewRef(flight->result);
  return Waited::kValue;
}

PyObject* begin_async_load(LoadTable& table, PyObject* key, std::uint64_t hash,
                           std::uint64_t epoch) {
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
  load->hash = hash;
  load->key = key;
  load->thread = this_thread();
  load->epoch = epoch;
  ++async_loads;
  adopt_by_parent(*load);
  table.insert(*load);
  return as_object(flight);
}

PyObject* join_async(Load& load) {
  const bool own_thread = !load.is_async && load.thread == this_thread();
  if (own_thread || must_compute_inline(load, current_load())) Py_RETURN_NONE;
  Flight* flight = flight_for(load);
  return flight == nullptr ? nullptr : Py_NewRef(as_object(flight));
}

Load* load_of(PyObject* flight) noexcept { return as_flight(flight)->load; }

bool is_flight(PyObject* object) noexcept { return Py_IS_TYPE(object, flight_type); }

namespace {

int flight_traverse(PyObject* object, visitproc visit, void* arg) {
  Flight* self = as_flight(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->result);
  Py_VISIT(self->futures);
  Py_VISIT(self->loop);
  Py_VISIT(self->task);
  if (self->own != nullptr) {
    Py_VISIT(self->own->key);
    Py_VISIT(as_object(self->own->parent_flight));
  }
  return 0;
}

int flight_clear(PyObject* object) {
  Flight* self = as_flight(object);
  Py_CLEAR(self->result);
  Py_CLEAR(self->futures);
  Py_CLEAR(self->loop);
  Py_CLEAR(self->task);
  return 0;
}

void flight_dealloc(PyObject* object) {
  Flight* self = as_flight(object);
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (Load* own = self->own; own != nullptr) {
    own->flight = nullptr;
    end_load(*own, Outcome::kRetry, nullptr);
    for (Flight* flight : own->waits) Py_DECREF(as_object(flight));
    Py_DECREF(own->key);
    Py_XDECREF(as_object(own->parent_flight));
    delete own;
    --async_loads;
  }
  flight_clear(object);
  if (self->lock != nullptr) PyThread_free_lock(self->lock);
  PyObject_GC_Del(object);
  Py_DECREF(type);
}

PyObject* flight_finish(PyObject* object, PyObject* value) {
  if (Load* load = as_flight(object)->load; load != nullptr) {
    end_load(*load, Outcome::kValue, value);
  }
  Py_RETURN_NONE;
}

PyObject* flight_fail(PyObject* object, PyObject* exception) {
  if (Load* load = as_flight(object)->load; load != nullptr) {
    end_load(*load, outcome_of_error(exception), exception);
  }
  Py_RETURN_NONE;
}

// Nobody new joins, and the result will not be stored.
PyObject* flight_abandon(PyObject* object, PyObject*) {
  Load* load = as_flight(object)->load;
  if (load != nullptr && load->table != nullptr) load->table->remove(*load);
  Py_RETURN_NONE;
}

// False when the load has ended by now.
PyObject* flight_add_waiter(PyObject* object, PyObject* future) {
  Flight* self = as_flight(object);
  if (self->outcome != Outcome::kPending) Py_RETURN_FALSE;
  if (self->futures == nullptr && (self->futures = PyList_New(0)) == nullptr) return nullptr;
  if (PyList_Append(self->futures, future) < 0) return nullptr;
  if (Load* waiter = current_load(); waiter != nullptr && waiter->flight != self) {
    waiter->waits.push_back(self);
    Py_INCREF(object);
  }
  Py_RETURN_TRUE;
}

// Returns how many still wait, threads counted as one.
PyObject* flight_remove_waiter(PyObject* object, PyObject* future) {
  Flight* self = as_flight(object);
  if (Load* waiter = current_load(); waiter != nullptr) forget_wait(waiter, self);
  Py_ssize_t left = self->lock != nullptr ? 1 : 0;
  if (self->futures != nullptr) {
    for (Py_ssize_t i = PyList_GET_SIZE(self->futures); i-- > 0;) {
      if (PyList_GET_ITEM(self->futures, i) != future) continue;
      if (PyList_SetSlice(self->futures, i, i + 1, nullptr) < 0) return nullptr;
    }
    left += PyList_GET_SIZE(self->futures);
  }
  return PyLong_FromSsize_t(left);
}

// (True, value), (False, None) to try again, or the exception raised.
PyObject* flight_result(PyObject* object, PyObject*) {
  Flight* self = as_flight(object);
  switch (self->outcome) {
    case Outcome::kValue:
      return PyTuple_Pack(2, Py_True, self->result);
    case Outcome::kError:
      return raise_again(self->result);
    case Outcome::kRetry:
      return PyTuple_Pack(2, Py_False, Py_None);
    case Outcome::kPending:
      break;
  }
  PyErr_SetString(PyExc_RuntimeError, "the load has not finished");
  return nullptr;
}

PyObject* get_done(PyObject* object, void*) {
  return PyBool_FromLong(as_flight(object)->outcome != Outcome::kPending);
}

PyObject* get_field(PyObject* object, void* offset) {
  auto* field = reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) +
                                             reinterpret_cast<std::uintptr_t>(offset));
  return Py_NewRef(*field == nullptr ? Py_None : *field);
}

int set_field(PyObject* object, PyObject* value, void* offset) {
  auto* field = reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) +
                                             reinterpret_cast<std::uintptr_t>(offset));
  const Ref old = Ref::steal(std::exchange(*field, Py_XNewRef(value)));
  return 0;
}

PyMethodDef flight_methods[] = {
    {"finish", flight_finish, METH_O, "Give everyone who waits this value."},
    {"fail", flight_fail, METH_O, "Give everyone who waits this exception."},
    {"abandon", flight_abandon, METH_NOARGS, "Let nobody join any more, and store nothing."},
    {"add_waiter", flight_add_waiter, METH_O, "Complete this future when the load ends."},
    {"remove_waiter", flight_remove_waiter, METH_O, "Take a future back; how many are left."},
    {"result", flight_result, METH_NOARGS, "(True, value), or (False, None): try again."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef flight_getset[] = {{"done", get_done, nullptr, "Whether the load has ended.", nullptr},
                               {"loop", get_field, set_field, "The loop that runs the load.",
                                reinterpret_cast<void*>(offsetof(Flight, loop))},
                               {"task", get_field, set_field, "The task that runs the load.",
                                reinterpret_cast<void*>(offsetof(Flight, task))},
                               {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot flight_slots[] = {
    {Py_tp_doc, const_cast<char*>("A load under way, and those who wait for it.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(flight_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(flight_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(flight_clear)},
    {Py_tp_methods, flight_methods},
    {Py_tp_getset, flight_getset},
    {0, nullptr}};

PyType_Spec flight_spec = {"mcp_performance._core.Flight", sizeof(Flight), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                               Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                           flight_slots};

PyObject* set_wake(PyObject*, PyObject* function) {
  const Ref old = Ref::steal(std::exchange(wake_futures, Py_NewRef(function)));
  Py_RETURN_NONE;
}

PyMethodDef module_methods[] = {
    {"_set_wake", set_wake, METH_O, "How futures are completed; _cache_async calls it."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

bool add_flight_type(PyObject* module) {
  flight_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&flight_spec));
  inside = PyContextVar_New("mcp_performance_load", Py_None);
  return flight_type != nullptr && inside != nullptr &&
         PyModule_AddType(module, flight_type) == 0 &&
         PyModule_AddObjectRef(module, "_inside_load", inside) == 0 &&
         PyModule_AddFunctions(module, module_methods) == 0;
}

}  // namespace mcp::python
