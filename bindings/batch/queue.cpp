// queue.cpp: collects items until a batch is full or due, and runs it.
#include "bindings/batch/queue.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <list>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bindings/base/saved_error.h"
#include "bindings/base/weak.h"
#include "bindings/batch/future.h"

namespace mcp::python {
namespace {

// The items of one task, oldest first. Where calls need not wait for each other there is one
// backlog.
struct Backlog {
  PyObject* task = nullptr;  // owned, as are the futures
  std::deque<BatchedFuture*> futures;
};

struct Backlogs {
  std::list<Backlog> turns;  // the front has its turn
  std::unordered_map<PyObject*, std::list<Backlog>::iterator> by_task;
  std::size_t waiting = 0;  // items in all of them
};

struct Queue {
  PyObject_HEAD PyObject* loop;  // weak reference
  PyObject* function;
  PyObject* key;
  PyObject* context;
  PyObject* max_wait;
  PyObject* levels;  // of those who wait, where they are items of a batch or of a call; or nullptr
  PyObject* by_key;  // the first future of each key that waits
  PyObject* calls;   // set of the tasks that run
  PyObject* timer;   // nullptr: none runs
  PyObject* weakrefs;
  Backlogs* backlogs;
  std::size_t max_size;
  std::size_t max_concurrency;
  bool due;     // the oldest item has waited for max_wait
  bool nested;  // a call waits for one of these items: they do not wait for calls to end
};

PyTypeObject* queue_type = nullptr;
PyObject *current_task, *start_call, *settle;
// Set from Python: the variable that holds the levels, its value for code that is nobody's item,
// and what merges two of them.
PyObject *levels_variable, *no_levels, *deepest;
PyObject *name_call_later, *name_cancel, *timer_context, *name_time_is_up, *name_ended;

Queue* as_queue(PyObject* object) { return reinterpret_cast<Queue*>(object); }
PyObject* as_object(BatchedFuture* future) { return reinterpret_cast<PyObject*>(future); }

int queue_traverse(PyObject* object, visitproc visit, void* arg) {
  Queue* self = as_queue(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->loop);
  Py_VISIT(self->function);
  Py_VISIT(self->key);
  Py_VISIT(self->levels);
  Py_VISIT(self->context);
  Py_VISIT(self->by_key);
  Py_VISIT(self->calls);
  Py_VISIT(self->timer);
  if (self->backlogs == nullptr) return 0;
  for (const Backlog& backlog : self->backlogs->turns) {
    Py_VISIT(backlog.task);
    for (BatchedFuture* future : backlog.futures) Py_VISIT(future);
  }
  return 0;
}

int queue_clear(PyObject* object) {
  Queue* self = as_queue(object);
  Backlogs* backlogs = std::exchange(self->backlogs, nullptr);
  if (backlogs != nullptr) {
    for (Backlog& backlog : backlogs->turns) {
      Py_XDECREF(backlog.task);
      for (BatchedFuture* future : backlog.futures) Py_DECREF(future);
    }
    delete backlogs;
  }
  Py_CLEAR(self->timer);
  Py_CLEAR(self->calls);
  Py_CLEAR(self->by_key);
  Py_CLEAR(self->max_wait);
  Py_CLEAR(self->context);
  Py_CLEAR(self->levels);
  Py_CLEAR(self->key);
  Py_CLEAR(self->function);
  Py_CLEAR(self->loop);
  return 0;
}

void queue_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (as_queue(object)->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  queue_clear(object);
  type->tp_free(object);
  Py_DECREF(type);
}

// The backlog for items that are added now; nullptr with an exception set.
Backlog* backlog_of(Queue* self, PyObject* loop) {
  Backlogs& backlogs = *self->backlogs;
  if (self->max_concurrency == 0) {
    if (backlogs.turns.empty()) backlogs.turns.emplace_back();
    return &backlogs.turns.front();
  }
  const Ref task = Ref::steal(PyObject_CallOneArg(current_task, loop));
  if (!task) return nullptr;
  const auto found = backlogs.by_task.find(task.get());
  if (found != backlogs.by_task.end()) return &*found->second;
  backlogs.turns.emplace_back();
  try {
    backlogs.by_task.emplace(task.get(), std::prev(backlogs.turns.end()));
  } catch (...) {
    backlogs.turns.pop_back();
    throw;
  }
  backlogs.turns.back().task = Py_NewRef(task.get());
  return &backlogs.turns.back();
}

// The call that takes an item may wait for what the caller itself is an item of.
bool note_levels(Queue* self) {
  PyObject* value = nullptr;
  if (PyContextVar_Get(levels_variable, no_levels, &value) != 0) return false;
  const Ref levels = Ref::steal(value);
  if (levels.get() == no_levels) return true;
  PyObject* args[] = {self->levels == nullptr ? no_levels : self->levels, levels.get()};
  Ref merged = Ref::steal(PyObject_Vectorcall(deepest, args, 2, nullptr));
  const int inside = PyMapping_HasKey(levels.get(), reinterpret_cast<PyObject*>(self));
  if (!merged) return false;
  self->nested = self->nested || inside == 1;
  const Ref old = Ref::steal(std::exchange(self->levels, merged.release()));
  return true;
}

bool push(Queue* self, PyObject* loop, BatchedFuture* future) {
  try {
    Backlog* backlog = backlog_of(self, loop);
    if (backlog == nullptr) return false;
    backlog->futures.push_back(future);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  Py_INCREF(future);
  ++self->backlogs->waiting;
  return true;
}

// Up to max_size items in turns, whoever waits for them. Nothing of Python runs here.
std::vector<BatchedFuture*> pop(Queue* self, std::vector<Ref>& left_tasks) {
  Backlogs& backlogs = *self->backlogs;
  std::vector<BatchedFuture*> taken;
  const std::size_t most = std::min(self->max_size, backlogs.waiting);
  taken.reserve(most);
  left_tasks.reserve(most);
  std::size_t awaited = 0;
  while (backlogs.waiting > 0 && awaited < self->max_size) {
    const auto backlog = backlogs.turns.begin();
    BatchedFuture* future = backlog->futures.front();
    taken.push_back(future);
    backlog->futures.pop_front();
    --backlogs.waiting;
    future->queued = false;
    awaited += is_awaited(future) ? 1 : 0;
    if (backlog->task == nullptr) continue;
    if (backlog->futures.empty()) {
      left_tasks.push_back(Ref::steal(backlog->task));
      backlogs.by_task.erase(backlog->task);
      backlogs.turns.pop_front();
    } else {  // behind the others
      backlogs.turns.splice(backlogs.turns.end(), backlogs.turns, backlog);
    }
  }
  return taken;
}

// What the queue knows of a key that does not wait any more.
void forget_key(Queue* self, BatchedFuture* future) {
  if (future->key == nullptr) return;
  if (PyDict_GetItemWithError(self->by_key, future->key) == as_object(future)) {
    PyDict_DelItem(self->by_key, future->key);
  }
  PyErr_Clear();  // a key that cannot be compared: its entry is known to be old by its future
}

// The items that somebody waits for into `items`, their first futures into `futures`.
bool take(Queue* self, PyObject* items, PyObject* futures) {
  std::vector<Ref> left_tasks;
  std::vector<BatchedFuture*> taken;
  try {
    taken = pop(self, left_tasks);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  const bool everything = self->backlogs->waiting == 0;
  bool fine = true;
  for (BatchedFuture* future : taken) {
    if (!fine || !is_awaited(future)) continue;
    fine =
        PyList_Append(items, future->item) == 0 && PyList_Append(futures, as_object(future)) == 0;
  }
  if (everything) {
    PyDict_Clear(self->by_key);
  } else {
    for (BatchedFuture* future : taken) forget_key(self, future);
  }
  for (BatchedFuture* future : taken) {
    Py_CLEAR(future->item);
    Py_CLEAR(future->key);
    Py_DECREF(future);
  }
  return fine;
}

void stop_timer(Queue* self) {
  const Ref timer = Ref::steal(std::exchange(self->timer, nullptr));
  if (!timer) return;
  const Ref done = Ref::steal(PyObject_CallMethodNoArgs(timer.get(), name_cancel));
  if (!done) PyErr_WriteUnraisable(timer.get());
}

bool start_timer(Queue* self, PyObject* loop) {
  const Ref tell = Ref::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(self), name_time_is_up));
  const Ref names = Ref::steal(PyTuple_Pack(1, timer_context));
  // A copy of its own: only one thread at a time may be in a context, and other loops have timers
  // too.
  const Ref context = Ref::steal(PyContext_Copy(self->context));
  if (!tell || !names || !context) return false;
  PyObject* args[] = {loop, self->max_wait, tell.get(), context.get()};
  self->timer = PyObject_VectorcallMethod(name_call_later, args, 3, names.get());
  return self->timer != nullptr;
}

// The error that is set goes to all who wait for these items.
bool fail_all(PyObject* futures) {
  const Ref error = take_error();
  PyObject* args[] = {futures, error.get()};
  const Ref told = Ref::steal(PyObject_Vectorcall(settle, args, 2, nullptr));
  return static_cast<bool>(told);
}

bool start_one(Queue* self, PyObject* loop) {
  const Ref items = Ref::steal(PyList_New(0));
  const Ref futures = Ref::steal(PyList_New(0));
  if (!items || !futures) return false;
  if (!take(self, items.get(), futures.get())) return fail_all(futures.get());
  // None: nobody can wait for what waits for this call.
  const bool alone = self->levels == nullptr && self->max_concurrency == 0;
  const Ref levels = Ref::borrow(self->levels != nullptr ? self->levels
                                 : alone                 ? Py_None
                                                         : no_levels);
  if (self->backlogs->waiting == 0) {
    self->nested = false;
    const Ref old = Ref::steal(std::exchange(self->levels, nullptr));
  }
  if (PyList_GET_SIZE(items.get()) == 0) return true;
  const Ref ended = Ref::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(self), name_ended));
  PyObject* args[] = {loop,          self->function, self->key,    items.get(),
                      futures.get(), self->context,  levels.get(), ended.get()};
  const Ref call = Ref::steal(ended ? PyObject_Vectorcall(start_call, args, 8, nullptr) : nullptr);
  if (!call) return fail_all(futures.get());
  return PySet_Add(self->calls, call.get()) == 0;
}

bool start_calls(Queue* self, PyObject* loop) {
  const auto may_start = [self] {
    const auto running = static_cast<std::size_t>(PySet_GET_SIZE(self->calls));
    return self->max_concurrency == 0 || running < self->max_concurrency || self->nested;
  };
  const auto wanted = [self] {
    const std::size_t waiting = self->backlogs->waiting;
    return waiting >= self->max_size || (self->due && waiting > 0);
  };
  while (may_start() && wanted()) {
    if (!start_one(self, loop)) return false;
  }
  if (self->backlogs->waiting == 0) {
    self->due = false;
    stop_timer(self);
  }
  return true;
}

// After an item was added.
bool start_what_is_due(Queue* self, PyObject* loop) {
  const bool full = self->backlogs->waiting >= self->max_size;
  if (full || (self->due && self->nested)) return start_calls(self, loop);
  return self->timer != nullptr || self->due || start_timer(self, loop);
}

PyObject* time_is_up(PyObject* object, PyObject*) {
  Queue* self = as_queue(object);
  if (self->backlogs == nullptr) Py_RETURN_NONE;
  const Ref timer = Ref::steal(std::exchange(self->timer, nullptr));
  const Ref loop = referent(self->loop);
  self->due = true;
  if (loop && !start_calls(self, loop.get())) return nullptr;
  Py_RETURN_NONE;
}

PyObject* ended(PyObject* object, PyObject* call) {
  Queue* self = as_queue(object);
  if (self->backlogs == nullptr) Py_RETURN_NONE;
  if (PySet_Discard(self->calls, call) < 0) return nullptr;
  const Ref loop = referent(self->loop);
  const bool more = loop && self->backlogs->waiting > 0;
  if (more && !start_calls(self, loop.get())) return nullptr;
  Py_RETURN_NONE;
}

PyMethodDef queue_methods[] = {{"_time_is_up", time_is_up, METH_NOARGS,
                                "_time_is_up($self, /)\n--\n\n-> None\n\n"
                                "The oldest item has waited long enough."},
                               {"_ended", ended, METH_O,
                                "_ended($self, call, /)\n--\n\n"
                                "_ended(self, call: Task[None], /) -> None\n\n"
                                "A call ended; others may start."},
                               {nullptr, nullptr, 0, nullptr}};

PyType_Slot queue_slots[] = {
    {Py_tp_doc,
     const_cast<char*>("What waits on one event loop for a call of a batched function.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(queue_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(queue_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(queue_clear)},
    {Py_tp_methods, queue_methods},
    {0, nullptr}};

PyType_Spec queue_spec = {"mcp_performance._core.BatchedQueue", sizeof(Queue), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                              Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                          queue_slots};

// _set_batched_call(function, levels, none, deepest): what starts a call, as
// function(loop, function, key, items, futures, context, levels or None, ended) -> task; and
// levels.
PyObject* set_batched_call(PyObject*, PyObject* args) {
  PyObject *call, *variable, *none, *merge;
  if (!PyArg_ParseTuple(args, "OO!OO:_set_batched_call", &call, &PyContextVar_Type, &variable,
                        &none, &merge)) {
    return nullptr;
  }
  Py_XSETREF(start_call, Py_NewRef(call));
  Py_XSETREF(levels_variable, Py_NewRef(variable));
  Py_XSETREF(no_levels, Py_NewRef(none));
  Py_XSETREF(deepest, Py_NewRef(merge));
  Py_RETURN_NONE;
}

PyMethodDef queue_module_methods[] = {
    {"_set_batched_call", set_batched_call, METH_VARARGS,
     "_set_batched_call(function, levels, none, deepest, /)\n--\n\n"
     "_set_batched_call(function: Callable[..., Task[None]], levels: ContextVar[Mapping[object, "
     "int]], none: Mapping[object, int], deepest: Callable[[Mapping[object, int], Mapping[object, "
     "int]], Mapping[object, int]], /) -> None\n\n"
     "For _batched."},
    {nullptr, nullptr, 0, nullptr}};

// The future that waits for this key already, or `future` itself, noted under it. Borrowed.
BatchedFuture* find_or_note(Queue* self, PyObject* key, BatchedFuture* future) {
  PyObject* found = PyDict_SetDefault(self->by_key, key, as_object(future));
  if (found == nullptr) return nullptr;
  auto* first = reinterpret_cast<BatchedFuture*>(found);
  if (first->queued) return first;
  return PyDict_SetItem(self->by_key, key, as_object(future)) == 0 ? future : nullptr;
}

}  // namespace

Ref make_batched_queue(const BatchedTerms& terms, PyObject* loop) {
  Ref object = Ref::steal(queue_type->tp_alloc(queue_type, 0));
  if (!object) return object;
  Queue* self = as_queue(object.get());
  self->backlogs = new (std::nothrow) Backlogs;
  self->loop = PyWeakref_NewRef(loop, nullptr);
  self->function = Py_NewRef(terms.function);
  self->key = Py_NewRef(terms.key);
  self->context = Py_NewRef(terms.context);
  self->max_wait = Py_NewRef(terms.max_wait);
  self->by_key = PyDict_New();
  self->calls = PySet_New(nullptr);
  self->max_size = terms.max_size;
  self->max_concurrency = terms.max_concurrency;
  if (self->backlogs == nullptr) PyErr_NoMemory();
  const bool whole = self->backlogs != nullptr && self->loop != nullptr &&
                     self->by_key != nullptr && self->calls != nullptr;
  return whole ? std::move(object) : Ref();
}

bool is_queue_of(PyObject* queue, PyObject* loop) noexcept {
  PyObject* own = as_queue(queue)->loop;
  return own != nullptr && referent(own).get() == loop;
}

PyObject* add_to_batched_queue(PyObject* queue, PyObject* loop, PyObject* item, PyObject* key) {
  Queue* self = as_queue(queue);
  if (PyObject_Hash(key) == -1) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) return nullptr;
    PyErr_Clear();  // not hashable: an item of its own
    key = nullptr;
  }
  if (!note_levels(self)) return nullptr;
  BatchedFuture* future = make_batched_future(loop, item, key);
  Ref answer = Ref::steal(as_object(future));
  if (!answer) return nullptr;
  if (key != nullptr) {
    BatchedFuture* first = find_or_note(self, key, future);
    if (first == nullptr) return nullptr;
    if (first != future) {  // behind the first: the order of these callers is nobody's promise
      Py_CLEAR(future->item);
      Py_CLEAR(future->key);
      future->queued = false;
      future->next = std::exchange(first->next,
                                   reinterpret_cast<BatchedFuture*>(Py_NewRef(as_object(future))));
      return start_what_is_due(self, loop) ? answer.release() : nullptr;
    }
  }
  if (!push(self, loop, future)) return nullptr;
  return start_what_is_due(self, loop) ? answer.release() : nullptr;
}

bool add_batched_queue_type(PyObject* module) {
  name_call_later = PyUnicode_InternFromString("call_later");
  name_cancel = PyUnicode_InternFromString("cancel");
  timer_context = PyUnicode_InternFromString("context");
  name_time_is_up = PyUnicode_InternFromString("_time_is_up");
  name_ended = PyUnicode_InternFromString("_ended");
  const Ref asyncio = Ref::steal(PyImport_ImportModule("asyncio"));
  if (!asyncio) return false;
  current_task = PyObject_GetAttrString(asyncio.get(), "current_task");
  settle = PyObject_GetAttrString(module, "_batched_settle");
  if (current_task == nullptr || settle == nullptr) return false;
  queue_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&queue_spec));
  return queue_type != nullptr && PyModule_AddType(module, queue_type) == 0 &&
         PyModule_AddFunctions(module, queue_module_methods) == 0;
}

}  // namespace mcp::python
