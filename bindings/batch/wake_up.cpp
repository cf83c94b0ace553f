// wake_up.cpp: runs the callbacks of settled futures in slices of a tick.
#include "bindings/batch/wake_up.h"

#include <cstddef>
#include <new>
#include <utility>

#include "base/slices.h"
#include "bindings/base/saved_error.h"

namespace mcp::python {
namespace {

constexpr std::size_t kWakeUpsBetweenLooks = 16;

PyTypeObject* wake_up_type = nullptr;
PyObject *loop_call_soon, *loop_call_exception_handler;

struct WakeUp {
  PyObject_HEAD PyObject* loop;
  std::vector<Waiter>* waiters;
  std::size_t next;
};

WakeUp* as_wake_up(PyObject* object) { return reinterpret_cast<WakeUp*>(object); }

int wake_up_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_wake_up(object)->loop);
  if (as_wake_up(object)->waiters == nullptr) return 0;
  for (const Waiter& waiter : *as_wake_up(object)->waiters) {
    Py_VISIT(waiter.future);
    Py_VISIT(waiter.callback);
    Py_VISIT(waiter.context);
  }
  return 0;
}

int wake_up_clear(PyObject* object) {
  // Out of the member first: dropping them may run Python code.
  std::vector<Waiter>* waiters = std::exchange(as_wake_up(object)->waiters, nullptr);
  if (waiters != nullptr) {
    for (Waiter& waiter : *waiters) {
      Py_XDECREF(waiter.future);
      Py_XDECREF(waiter.callback);
      Py_XDECREF(waiter.context);
    }
    delete waiters;
  }
  Py_CLEAR(as_wake_up(object)->loop);
  return 0;
}

void wake_up_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  wake_up_clear(object);
  type->tp_free(object);
  Py_DECREF(type);
}

// Tells the loop of the exception that is set. False when it must end the loop instead.
bool report(PyObject* loop, PyObject* callback) {
  if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
    return false;
  }
  const Ref error = take_error();
  const Ref message = Ref::steal(PyUnicode_FromFormat("Exception in callback %R", callback));
  const Ref told = Ref::steal(
      message ? Py_BuildValue("{sOsO}", "message", message.get(), "exception", error.get())
              : nullptr);
  const Ref answer = Ref::steal(
      told ? PyObject_CallMethodOneArg(loop, loop_call_exception_handler, told.get()) : nullptr);
  if (answer) return true;
  if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
    return false;
  }
  PyErr_WriteUnraisable(callback);
  return true;
}

// An empty context; the one of the callback before where that left nothing in it.
bool renew(Ref& empty) {
  if (empty && Py_REFCNT(empty.get()) == 1 && PyObject_Size(empty.get()) == 0) return true;
  empty = Ref::steal(PyContext_New());
  return static_cast<bool>(empty);
}

bool wake(PyObject* loop, const Waiter& waiter, Ref& empty) {
  if (waiter.context == nullptr && !renew(empty)) return report(loop, waiter.callback);
  const Ref context = Ref::borrow(waiter.context != nullptr ? waiter.context : empty.get());
  if (PyContext_Enter(context.get()) != 0) return report(loop, waiter.callback);
  Ref answer = Ref::steal(PyObject_CallOneArg(waiter.callback, waiter.future));
  {
    const ErrorSetAside aside;
    if (PyContext_Exit(context.get()) != 0) PyErr_Clear();
  }
  return answer || report(loop, waiter.callback);
}

PyObject* wake_up_call(PyObject* object, PyObject*, PyObject*) {
  WakeUp* self = as_wake_up(object);
  const Instant deadline = end_of_tick();
  Ref empty;
  while (self->waiters != nullptr && self->next < self->waiters->size()) {
    const std::size_t index = self->next++;
    Waiter waiter = std::exchange((*self->waiters)[index], Waiter{});
    const bool fine = wake(self->loop, waiter, empty);
    Py_DECREF(waiter.callback);
    Py_XDECREF(waiter.context);
    Py_DECREF(waiter.future);
    const bool over = self->waiters == nullptr || self->next == self->waiters->size();
    if (!fine) {  // it ends the loop; who runs it again wakes the others
      const ErrorSetAside aside;
      if (!over && !schedule_wake_up(object)) PyErr_WriteUnraisable(object);
      return nullptr;
    }
    if (over) break;
    if (self->next % kWakeUpsBetweenLooks == 0 && now_precise() >= deadline) {
      if (!schedule_wake_up(object)) return nullptr;
      break;
    }
  }
  Py_RETURN_NONE;
}

PyType_Slot wake_up_slots[] = {
    {Py_tp_doc, const_cast<char*>("Wakes the callers of one call of a batched function.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(wake_up_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(wake_up_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(wake_up_clear)},
    {Py_tp_call, reinterpret_cast<void*>(wake_up_call)},
    {0, nullptr}};

PyType_Spec wake_up_spec = {"mcp_performance._core.BatchedWakeUp", sizeof(WakeUp), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                                Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                            wake_up_slots};

}  // namespace

Ref make_wake_up(PyObject* loop) {
  Ref object = Ref::steal(wake_up_type->tp_alloc(wake_up_type, 0));
  if (!object) return object;
  as_wake_up(object.get())->waiters = new (std::nothrow) std::vector<Waiter>;
  if (as_wake_up(object.get())->waiters == nullptr) {
    PyErr_NoMemory();
    return {};
  }
  as_wake_up(object.get())->loop = Py_NewRef(loop);
  return object;
}

std::vector<Waiter>& waiters_of(PyObject* wake_up) { return *as_wake_up(wake_up)->waiters; }

bool schedule_wake_up(PyObject* wake_up) {
  PyObject* loop = as_wake_up(wake_up)->loop;
  return static_cast<bool>(Ref::steal(PyObject_CallMethodOneArg(loop, loop_call_soon, wake_up)));
}

bool add_batched_wake_up_type() {
  loop_call_soon = PyUnicode_InternFromString("call_soon");
  loop_call_exception_handler = PyUnicode_InternFromString("call_exception_handler");
  wake_up_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&wake_up_spec));
  return wake_up_type != nullptr;
}

}  // namespace mcp::python
