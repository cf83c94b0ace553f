// future.cpp: the type BatchedFuture: its states, callbacks and cancellation.
#include "bindings/batch/future.h"

#include <structmember.h>

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#include "bindings/base/coroutine.h"
#include "bindings/base/methods.h"
#include "bindings/base/ref.h"
#include "bindings/base/saved_error.h"
#include "bindings/batch/wake_up.h"

namespace mcp::python {
namespace {

PyTypeObject* future_type = nullptr;
PyObject *cancelled_error = nullptr, *invalid_state_error = nullptr;
PyObject *name_call_soon, *name_context, *name_msg, *name_call_exception_handler;

// ---- the future

int future_traverse(PyObject* object, visitproc visit, void* arg) {
  BatchedFuture* self = as_future(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->loop);
  Py_VISIT(self->item);
  Py_VISIT(self->key);
  Py_VISIT(self->next);
  Py_VISIT(self->outcome);
  Py_VISIT(self->traceback);
  Py_VISIT(self->callback);
  Py_VISIT(self->context);
  Py_VISIT(self->callbacks);
  return 0;
}

int future_clear(PyObject* object) {
  BatchedFuture* self = as_future(object);
  Py_CLEAR(self->loop);
  Py_CLEAR(self->item);
  Py_CLEAR(self->key);
  Py_CLEAR(self->next);
  Py_CLEAR(self->outcome);
  Py_CLEAR(self->traceback);
  Py_CLEAR(self->callback);
  Py_CLEAR(self->context);
  Py_CLEAR(self->callbacks);
  return 0;
}

// An error that nobody looked at is the loop's to tell of, as with every future.
void finalize(PyObject* object) {
  BatchedFuture* self = as_future(object);
  if (!std::exchange(self->never_retrieved, false) || self->loop == nullptr) return;
  const ErrorSetAside aside;
  const Ref told =
      Ref::steal(Py_BuildValue("{sssOsO}", "message", "BatchedFuture exception was never retrieved",
                               "exception", self->outcome, "future", object));
  const Ref answer = Ref::steal(
      told ? PyObject_CallMethodOneArg(self->loop, name_call_exception_handler, told.get())
           : nullptr);
  if (!answer) PyErr_WriteUnraisable(object);
}

void future_dealloc(PyObject* object) {
  if (as_future(object)->never_retrieved && PyObject_CallFinalizerFromDealloc(object) < 0) return;
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (as_future(object)->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  // Callers of one item form a list as long as they like: no recursion along it.
  Ref next =
      Ref::steal(reinterpret_cast<PyObject*>(std::exchange(as_future(object)->next, nullptr)));
  while (next && Py_REFCNT(next.get()) == 1) {
    next = Ref::steal(
        reinterpret_cast<PyObject*>(std::exchange(as_future(next.get())->next, nullptr)));
  }
  future_clear(object);
  PyObject_GC_Del(object);
  Py_DECREF(type);
}

PyObject* make_cancelled_error(PyObject* object, PyObject*) {
  BatchedFuture* self = as_future(object);
  if (self->state != FutureState::kCancelled || self->outcome == nullptr) {
    return PyObject_CallNoArgs(cancelled_error);
  }
  return PyObject_CallOneArg(cancelled_error, self->outcome);
}

void raise_cancelled(PyObject* object) {
  const Ref error = Ref::steal(make_cancelled_error(object, nullptr));
  if (error) PyErr_SetObject(cancelled_error, error.get());
}

PyObject* result(PyObject* object, PyObject*) {
  BatchedFuture* self = as_future(object);
  switch (self->state) {
    case FutureState::kFinished:
      return Py_NewRef(self->outcome);
    case FutureState::kFailed: {
      self->never_retrieved = false;
      const Ref error = Ref::borrow(self->outcome);
      if (PyException_SetTraceback(error.get(), self->traceback ? self->traceback : Py_None) != 0) {
        return nullptr;
      }
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.get())), error.get());
      return nullptr;
    }
    case FutureState::kCancelled:
      raise_cancelled(object);
      return nullptr;
    case FutureState::kPending:
      break;
  }
  PyErr_SetString(invalid_state_error, "Result is not set.");
  return nullptr;
}

PyObject* exception(PyObject* object, PyObject*) {
  BatchedFuture* self = as_future(object);
  switch (self->state) {
    case FutureState::kFinished:
      Py_RETURN_NONE;
    case FutureState::kFailed:
      self->never_retrieved = false;
      return Py_NewRef(self->outcome);
    case FutureState::kCancelled:
      raise_cancelled(object);
      return nullptr;
    case FutureState::kPending:
      break;
  }
  PyErr_SetString(invalid_state_error, "Exception is not set.");
  return nullptr;
}

PyObject* done(PyObject* object, PyObject*) {
  return PyBool_FromLong(as_future(object)->state != FutureState::kPending);
}

PyObject* cancelled(PyObject* object, PyObject*) {
  return PyBool_FromLong(as_future(object)->state == FutureState::kCancelled);
}

PyObject* get_loop(PyObject* object, PyObject*) {
  PyObject* loop = as_future(object)->loop;
  return Py_NewRef(loop == nullptr ? Py_None : loop);
}

// f(required, *, name=...): the one keyword, or nullptr. False with TypeError set.
bool one_keyword(const char* function, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
                 PyObject* name, PyObject*& value) {
  const Py_ssize_t count = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  if (count == 0) return true;
  if (count == 1 && PyUnicode_Compare(PyTuple_GET_ITEM(kwnames, 0), name) == 0) {
    value = args[nargs];
    return true;
  }
  PyErr_Format(PyExc_TypeError, "%s() takes no keyword but %U", function, name);
  return false;
}

// Where a callback that is added now is to run. Nullptr, without an exception, for an empty
// context: one is made when it runs, so that a burst of callers leaves no contexts to the garbage
// collector.
bool take_context(PyObject* given, Ref& context) {
  if (given != nullptr && given != Py_None) {
    if (!PyContext_CheckExact(given)) {
      PyErr_Format(PyExc_TypeError, "context=%R: expected a Context", given);
      return false;
    }
    context = Ref::borrow(given);
    return true;
  }
  PyObject* current = PyThreadState_Get()->context;
  if (current == nullptr || PyMapping_Size(current) == 0) return true;
  context = Ref::steal(PyContext_CopyCurrent());
  return static_cast<bool>(context);
}

PyObject* add_done_callback(PyObject* object, PyObject* const* args, Py_ssize_t nargs,
                            PyObject* kwnames) {
  BatchedFuture* self = as_future(object);
  PyObject* given = nullptr;
  if (!one_keyword("add_done_callback", args, nargs, kwnames, name_context, given)) return nullptr;
  if (nargs != 1) {
    return PyErr_Format(PyExc_TypeError, "add_done_callback() takes one callback, got %zd", nargs);
  }
  Ref context;
  if (!take_context(given, context)) return nullptr;
  if (self->state == FutureState::kPending && self->callback == nullptr) {
    self->callback = Py_NewRef(args[0]);
    self->context = context.release();
    Py_RETURN_NONE;
  }
  if (!context) context = Ref::steal(PyContext_New());
  if (!context) return nullptr;
  if (self->state != FutureState::kPending) {
    PyObject* all[] = {self->loop, args[0], object, context.get()};
    const Ref names = Ref::steal(PyTuple_Pack(1, name_context));
    const Ref handle = Ref::steal(
        names ? PyObject_VectorcallMethod(name_call_soon, all, 3, names.get()) : nullptr);
    if (!handle) return nullptr;
  } else {
    if (self->callbacks == nullptr) self->callbacks = PyList_New(0);
    if (self->callbacks == nullptr) return nullptr;
    const Ref pair = Ref::steal(PyTuple_Pack(2, args[0], context.get()));
    if (!pair || PyList_Append(self->callbacks, pair.get()) != 0) return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* remove_done_callback(PyObject* object, PyObject* callback) {
  BatchedFuture* self = as_future(object);
  // Comparing may run Python code: on a copy, and what is kept is put back.
  std::vector<std::pair<Ref, Ref>> kept;
  Py_ssize_t removed = 0;
  Ref first = Ref::steal(std::exchange(self->callback, nullptr));
  Ref first_context = Ref::steal(std::exchange(self->context, nullptr));
  const Ref others = Ref::steal(std::exchange(self->callbacks, nullptr));
  bool failed = false;
  try {
    const auto consider = [&](Ref one, Ref context) {
      const int same = failed ? 0 : PyObject_RichCompareBool(one.get(), callback, Py_EQ);
      if (same < 0) failed = true;
      if (same == 1) {
        ++removed;
      } else {
        kept.emplace_back(std::move(one), std::move(context));
      }
    };
    if (first) consider(std::move(first), std::move(first_context));
    for (Py_ssize_t i = 0; others && i < PyList_GET_SIZE(others.get()); ++i) {
      PyObject* pair = PyList_GET_ITEM(others.get(), i);
      consider(Ref::borrow(PyTuple_GET_ITEM(pair, 0)), Ref::borrow(PyTuple_GET_ITEM(pair, 1)));
    }
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  const ErrorSetAside aside;
  for (auto& [one, context] : kept) {
    if (!context) context = Ref::steal(PyContext_New());
    PyObject* args[] = {one.get(), context.get()};
    const Ref names = Ref::steal(context ? PyTuple_Pack(1, name_context) : nullptr);
    const Ref added = Ref::steal(names ? add_done_callback(object, args, 1, names.get()) : nullptr);
    if (!added) PyErr_WriteUnraisable(object);
  }
  return failed ? nullptr : PyLong_FromSsize_t(removed);
}

// False with an exception set when the callers cannot be told.
bool wake_callers_of(BatchedFuture* self) {
  if (self->callback == nullptr) return true;
  const Ref wake_up = make_wake_up(self->loop);
  return wake_up && move_batched_waiters(self, wake_up.get()) && schedule_wake_up(wake_up.get());
}

PyObject* cancel(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  BatchedFuture* self = as_future(object);
  PyObject* message = nargs > 0 ? args[0] : nullptr;
  if (!one_keyword("cancel", args, nargs, kwnames, name_msg, message)) return nullptr;
  if (nargs > 1) return PyErr_Format(PyExc_TypeError, "cancel() takes a msg, got %zd", nargs);
  if (self->state != FutureState::kPending) Py_RETURN_FALSE;
  self->state = FutureState::kCancelled;
  if (message != nullptr && message != Py_None) self->outcome = Py_NewRef(message);
  if (!wake_callers_of(self)) return nullptr;
  Py_RETURN_TRUE;
}

// ---- awaited

PySendResult am_send(PyObject* object, PyObject*, PyObject** answer) {
  BatchedFuture* self = as_future(object);
  *answer = nullptr;
  if (self->state != FutureState::kPending) {
    *answer = result(object, nullptr);
    return *answer == nullptr ? PYGEN_ERROR : PYGEN_RETURN;
  }
  if (self->blocking) {
    PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
    return PYGEN_ERROR;
  }
  self->blocking = true;
  *answer = Py_NewRef(object);
  return PYGEN_NEXT;
}

PyObject* iternext(PyObject* object) {
  PyObject* answer = nullptr;
  const PySendResult sent = am_send(object, Py_None, &answer);
  return next_or_stop(sent, answer);
}

// ---- taken for a coroutine, as what an async function returns: by create_task() and TaskGroup

PyObject* send(PyObject* object, PyObject*) { return iternext(object); }

// Who was to await it leaves: nobody waits for the item, unless others were told of it.
bool leave(PyObject* object) {
  BatchedFuture* self = as_future(object);
  self->blocking = false;
  if (self->state != FutureState::kPending || self->callback != nullptr) return true;
  return static_cast<bool>(Ref::steal(cancel(object, nullptr, 0, nullptr)));
}

// throw(type[, value[, traceback]]) as generators have it.
PyObject* throw_(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  const Ref error = exception_of_throw(args, nargs);
  if (!error || !leave(object)) return nullptr;
  return raise_thrown(error);
}

PyObject* close(PyObject* object, PyObject*) {
  if (!leave(object)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* get_blocking(PyObject* object, void*) {
  return PyBool_FromLong(as_future(object)->blocking);
}

int set_blocking(PyObject* object, PyObject* value, void*) {
  if (value == nullptr) {
    PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
    return -1;
  }
  const int truth = PyObject_IsTrue(value);
  if (truth < 0) return -1;
  as_future(object)->blocking = truth != 0;
  return 0;
}

PyObject* get_cancel_message(PyObject* object, void*) {
  BatchedFuture* self = as_future(object);
  const bool has_one = self->state == FutureState::kCancelled && self->outcome != nullptr;
  return Py_NewRef(has_one ? self->outcome : Py_None);
}

PyObject* future_repr(PyObject* object) {
  BatchedFuture* self = as_future(object);
  switch (self->state) {
    case FutureState::kPending:
      return PyUnicode_FromFormat("<BatchedFuture pending at %p>", object);
    case FutureState::kCancelled:
      return PyUnicode_FromFormat("<BatchedFuture cancelled at %p>", object);
    case FutureState::kFailed:
      return PyUnicode_FromFormat("<BatchedFuture exception=%R>", self->outcome);
    case FutureState::kFinished:
      break;
  }
  return PyUnicode_FromFormat("<BatchedFuture result=%R>", self->outcome);
}

PyMethodDef future_methods[] = {
    {"result", result, METH_NOARGS,
     "result($self, /)\n--\n\n-> _T_co\n\n"
     "The result.\n\nRaises:\n    asyncio.CancelledError: it was cancelled.\n    "
     "asyncio.InvalidStateError: it is not done.\n    BaseException: the item's own error."},
    {"exception", exception, METH_NOARGS,
     "exception($self, /)\n--\n\n-> BaseException | None\n\n"
     "The item's own error, or None; raises as result() where it is not done or cancelled."},
    {"done", done, METH_NOARGS,
     "done($self, /)\n--\n\n-> bool\n\n"
     "Whether it has a result, failed, or was cancelled."},
    {"cancelled", cancelled, METH_NOARGS,
     "cancelled($self, /)\n--\n\n-> bool\n\n"
     "Whether it was cancelled."},
    {"cancel", keyword_function(cancel), METH_FASTCALL | METH_KEYWORDS,
     "cancel($self, msg=None)\n--\n\n"
     "cancel(self, msg: Any | None = None) -> bool\n\n"
     "Wait no longer; False when it is done already. Others who wait for the item are left alone."},
    {"add_done_callback", keyword_function(add_done_callback), METH_FASTCALL | METH_KEYWORDS,
     "add_done_callback($self, callback, /, *, context=None)\n--\n\n"
     "add_done_callback(self, callback: Callable[[BatchedFuture[_T_co]], object], /, *, context: "
     "Context | None = None) -> None\n\n"
     "Have callback(future) called on the loop, soon after it is done."},
    {"remove_done_callback", remove_done_callback, METH_O,
     "remove_done_callback($self, callback, /)\n--\n\n"
     "remove_done_callback(self, callback: Callable[[BatchedFuture[_T_co]], object], /) -> int\n\n"
     "How many were removed."},
    {"get_loop", get_loop, METH_NOARGS,
     "get_loop($self, /)\n--\n\n-> AbstractEventLoop\n\n"
     "The loop that it belongs to."},
    {"send", send, METH_O,
     "send($self, value, /)\n--\n\n"
     "send(self, value: Any, /) -> Any\n\n"
     "One step, as of a coroutine."},
    {"throw", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(throw_)), METH_FASTCALL,
     "throw($self, error, value=None, traceback=None, /)\n--\n\n"
     "throw(self, error: Any, value: Any = None, traceback: Any = None, /) -> Any\n\n"
     "Raise the exception here, as a coroutine does; without others who wait, it is cancelled."},
    {"close", close, METH_NOARGS,
     "close($self, /)\n--\n\n-> None\n\n"
     "Without others who wait for it, it is cancelled."},
    {"_make_cancelled_error", make_cancelled_error, METH_NOARGS,
     "_make_cancelled_error($self, /)\n--\n\n-> BaseException\n\n"
     "For asyncio.gather."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For annotations."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef future_getset[] = {{"_asyncio_future_blocking", get_blocking, set_blocking,
                                ": bool\n\n"
                                "asyncio's mark of a future.",
                                nullptr},
                               {"_cancel_message", get_cancel_message, nullptr,
                                "-> Any\n\n"
                                "For asyncio.gather.",
                                nullptr},
                               {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef future_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(BatchedFuture, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot future_slots[] = {
    {Py_tp_doc, const_cast<char*>("class BatchedFuture(Coroutine[Any, Any, _T_co])\n"
                                  "__await__(self) -> Generator[Any, None, _T_co]\n\n"
                                  "What a batched function returns: a future and a coroutine, as "
                                  "asyncio's functions take them.\n\n"
                                  "Await it, once or more, or give it to asyncio.create_task, "
                                  "TaskGroup, gather, wait_for, shield "
                                  "or ensure_future.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(future_dealloc)},
    {Py_tp_finalize, reinterpret_cast<void*>(finalize)},
    {Py_tp_traverse, reinterpret_cast<void*>(future_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(future_clear)},
    {Py_tp_repr, reinterpret_cast<void*>(future_repr)},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(iternext)},
    {Py_tp_methods, future_methods},
    {Py_tp_getset, future_getset},
    {Py_tp_members, future_members},
    {Py_am_await, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_am_send, reinterpret_cast<void*>(am_send)},
    {0, nullptr}};

PyType_Spec future_spec = {"mcp_performance._core.BatchedFuture", sizeof(BatchedFuture), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                               Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                           future_slots};

}  // namespace

BatchedFuture* make_batched_future(PyObject* loop, PyObject* item, PyObject* key) {
  BatchedFuture* self = PyObject_GC_New(BatchedFuture, future_type);
  if (self == nullptr) return nullptr;
  self->loop = Py_NewRef(loop);
  self->item = Py_NewRef(item);
  self->key = Py_XNewRef(key);
  self->next = nullptr;
  self->outcome = self->traceback = self->callback = self->context = nullptr;
  self->callbacks = self->weakrefs = nullptr;
  self->state = FutureState::kPending;
  self->blocking = false;
  self->queued = true;
  self->never_retrieved = false;
  PyObject_GC_Track(self);
  return self;
}

bool move_batched_waiters(BatchedFuture* self, PyObject* wake_up) {
  if (self->callback == nullptr) return true;
  const Ref others = Ref::steal(std::exchange(self->callbacks, nullptr));
  const Py_ssize_t count = others ? PyList_GET_SIZE(others.get()) : 0;
  std::vector<Waiter>& waiters = waiters_of(wake_up);
  PyObject* future = reinterpret_cast<PyObject*>(self);
  try {
    const std::size_t needed = waiters.size() + 1 + static_cast<std::size_t>(count);
    if (needed > waiters.capacity()) waiters.reserve(2 * needed);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  waiters.push_back({Py_NewRef(future), std::exchange(self->callback, nullptr),
                     std::exchange(self->context, nullptr)});
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* pair = PyList_GET_ITEM(others.get(), i);
    waiters.push_back({Py_NewRef(future), Py_NewRef(PyTuple_GET_ITEM(pair, 0)),
                       Py_NewRef(PyTuple_GET_ITEM(pair, 1))});
  }
  return true;
}

bool is_batched_future(PyObject* object) noexcept { return Py_TYPE(object) == future_type; }

bool is_awaited(const BatchedFuture* first) noexcept {
  for (; first != nullptr; first = first->next) {
    if (first->state == FutureState::kPending) return true;
  }
  return false;
}

bool add_batched_future_type(PyObject* module) {
  name_call_soon = PyUnicode_InternFromString("call_soon");
  name_context = PyUnicode_InternFromString("context");
  name_msg = PyUnicode_InternFromString("msg");
  name_call_exception_handler = PyUnicode_InternFromString("call_exception_handler");
  const Ref asyncio = Ref::steal(PyImport_ImportModule("asyncio"));
  if (!asyncio) return false;
  cancelled_error = PyObject_GetAttrString(asyncio.get(), "CancelledError");
  invalid_state_error = PyObject_GetAttrString(asyncio.get(), "InvalidStateError");
  if (cancelled_error == nullptr || invalid_state_error == nullptr) return false;
  future_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&future_spec));
  return add_batched_wake_up_type() && future_type != nullptr &&
         PyModule_AddType(module, future_type) == 0;
}

}  // namespace mcp::python
