// awaitable.cpp: what `pool.fetch()` returns. It is a coroutine to asyncio: it starts at the
// first send(), ends at once when the result is at hand, and else yields one future of the running
// loop.

#include <new>
#include <utility>

#include "bindings/base/coroutine.h"
#include "bindings/base/errors.h"
#include "bindings/base/saved_error.h"
#include "bindings/loop/budget.h"
#include "bindings/sqlite/action.h"

namespace mcp::python {
namespace {

enum class Phase : unsigned char { kNew, kYielded, kWaiting, kDone };

struct Awaitable {
  PyObject_HEAD Action* action;
  PyObject* future;
  std::shared_ptr<sqlite::Operation>* operation;
  Phase phase;
};

PyTypeObject* awaitable_type = nullptr;
PyObject *name_result, *name_blocking;

void drop(Awaitable* self) {
  delete std::exchange(self->action, nullptr);
  delete std::exchange(self->operation, nullptr);
  Py_CLEAR(self->future);
}

void abandon(Awaitable* self) {
  if (self->phase == Phase::kWaiting && self->action != nullptr && self->operation != nullptr) {
    self->action->cancel(*self->operation);
  }
  self->phase = Phase::kDone;
}

int awaitable_traverse(Awaitable* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->future);
  return self->action != nullptr ? self->action->traverse(visit, arg) : 0;
}

int awaitable_clear(Awaitable* self) {
  abandon(self);
  drop(self);
  return 0;
}

void awaitable_finalize(Awaitable* self) {
  if (self->phase != Phase::kNew || self->action == nullptr) return;
  const ErrorSetAside aside;
  if (PyErr_WarnEx(PyExc_RuntimeWarning, "a statement of a SQLite pool was never awaited", 1) !=
      0) {
    PyErr_WriteUnraisable(reinterpret_cast<PyObject*>(self));
  }
}

void awaitable_dealloc(Awaitable* self) {
  if (self->phase == Phase::kNew &&
      PyObject_CallFinalizerFromDealloc(reinterpret_cast<PyObject*>(self)) < 0) {
    return;
  }
  PyObject_GC_UnTrack(self);
  awaitable_clear(self);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PySendResult finish(Awaitable* self, PyObject* value, PyObject** result) {
  self->phase = Phase::kDone;
  drop(self);
  *result = value;
  return value != nullptr ? PYGEN_RETURN : PYGEN_ERROR;
}

// Waits for a worker: yields the future as an asyncio future does.
PySendResult wait(Awaitable* self, PyObject** result) {
  const LoopBridge bridge = LoopBridge::of_running_loop();
  if (!bridge) return finish(self, nullptr, result);
  std::uint64_t id = 0;
  self->future = bridge.expect(self->action->conversion(), id);
  if (self->future == nullptr) return finish(self, nullptr, result);
  const Duration timeout = self->action->timeout();
  try {
    self->operation = new std::shared_ptr<sqlite::Operation>(
        std::make_shared<sqlite::Operation>(timeout > 0 ? later(now_precise(), timeout) : kNever));
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  if (self->operation == nullptr || !self->action->start(bridge.queue(), id, *self->operation)) {
    bridge.forget(id);
    return finish(self, nullptr, result);
  }
  self->phase = Phase::kWaiting;
  if (PyObject_SetAttr(self->future, name_blocking, Py_True) != 0) {
    abandon(self);
    return finish(self, nullptr, result);
  }
  Py_INCREF(self->future);
  *result = self->future;
  return PYGEN_NEXT;
}

// Tries to finish at once, else waits.
PySendResult run(Awaitable* self, PyObject** result) {
  const bool late = loop_budget_is_spent_by_now();
  if (self->phase == Phase::kNew && late) {
    self->phase = Phase::kYielded;  // once: in a tick that is spent again, a worker runs it
    *result = Py_NewRef(Py_None);
    return PYGEN_NEXT;
  }
  PyObject* value = nullptr;
  // Out of reach of whatever Python code it runs (an adapter).
  std::unique_ptr<Action> action(std::exchange(self->action, nullptr));
  self->phase = Phase::kDone;
  const Action::Outcome outcome = action->try_now(value, late);
  self->action = action.release();
  switch (outcome) {
    case Action::Outcome::kWait:
      return wait(self, result);
    case Action::Outcome::kTurn:
      self->phase = Phase::kYielded;
      *result = Py_NewRef(Py_None);
      return PYGEN_NEXT;
    default:
      return finish(self, value, result);
  }
}

PySendResult awaitable_send(Awaitable* self, PyObject* value_sent, PyObject** result) {
  if (self->phase == Phase::kDone) {
    PyErr_SetString(PyExc_RuntimeError, "cannot await a statement twice");
    *result = nullptr;
    return PYGEN_ERROR;
  }
  if (self->phase == Phase::kNew && !may_begin_with(value_sent)) {
    *result = nullptr;
    return PYGEN_ERROR;
  }
  if (self->phase != Phase::kWaiting) return run(self, result);
  PyObject* value = PyObject_CallMethodNoArgs(self->future, name_result);
  if (value == nullptr || !self->action->wants_retry()) return finish(self, value, result);
  Py_DECREF(value);
  Py_CLEAR(self->future);
  delete std::exchange(self->operation, nullptr);
  self->phase = Phase::kYielded;
  return run(self, result);
}

PyObject* awaitable_send_method(Awaitable* self, PyObject* value) {
  PyObject* result = nullptr;
  const PySendResult sent = awaitable_send(self, value, &result);
  return next_or_stop(sent, result);
}

PyObject* awaitable_iternext(Awaitable* self) { return awaitable_send_method(self, Py_None); }

PyObject* awaitable_throw(Awaitable* self, PyObject* const* args, Py_ssize_t count) {
  const Ref exception = exception_of_throw(args, count);
  if (!exception) return nullptr;
  abandon(self);
  drop(self);
  return raise_thrown(exception);
}

PyObject* awaitable_close(Awaitable* self, PyObject*) {
  abandon(self);
  drop(self);
  Py_RETURN_NONE;
}

PyMethodDef awaitable_methods[] = {
    {"send", reinterpret_cast<PyCFunction>(awaitable_send_method), METH_O,
     "send($self, value, /)\n--\n\n"
     "send(self, value: Any, /) -> Any\n\n"
     "As of a coroutine."},
    {"throw", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(awaitable_throw)),
     METH_FASTCALL,
     "throw($self, typ, val=None, tb=None, /)\n--\n\n"
     "throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any\n\n"
     "As of a coroutine; stops the statement."},
    {"close", reinterpret_cast<PyCFunction>(awaitable_close), METH_NOARGS,
     "close($self, /)\n--\n\n-> None\n\n"
     "As of a coroutine; stops the statement."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot awaitable_slots[] = {
    {Py_tp_doc, const_cast<char*>("class Statement(Coroutine[Any, Any, Any])\n"
                                  "__await__(self) -> Generator[Any, Any, Any]\n\n"
                                  "A statement that runs when it is awaited, once.")},
    {Py_tp_traverse, reinterpret_cast<void*>(awaitable_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(awaitable_clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(awaitable_dealloc)},
    {Py_tp_finalize, reinterpret_cast<void*>(awaitable_finalize)},
    {Py_tp_methods, awaitable_methods},
    {Py_tp_iter, reinterpret_cast<void*>(new_reference_to)},
    {Py_tp_iternext, reinterpret_cast<void*>(awaitable_iternext)},
    {Py_am_await, reinterpret_cast<void*>(new_reference_to)},
    {Py_am_send, reinterpret_cast<void*>(awaitable_send)},
    {0, nullptr},
};

PyType_Spec awaitable_spec = {
    "mcp_performance._core.Statement", sizeof(Awaitable), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, awaitable_slots};

}  // namespace

PyObject* make_awaitable(std::unique_ptr<Action> action) {
  auto* self = reinterpret_cast<Awaitable*>(awaitable_type->tp_alloc(awaitable_type, 0));
  if (self == nullptr) return nullptr;
  self->action = action.release();
  self->phase = Phase::kNew;
  return reinterpret_cast<PyObject*>(self);
}

void bind_awaitable(pybind11::module_& module) {
  name_result = PyUnicode_InternFromString("result");
  name_blocking = PyUnicode_InternFromString("_asyncio_future_blocking");
  awaitable_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&awaitable_spec));
  if (awaitable_type == nullptr) throw pybind11::error_already_set();
  module.attr("Statement") = pybind11::handle(reinterpret_cast<PyObject*>(awaitable_type));
}

}  // namespace mcp::python
