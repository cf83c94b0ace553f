// settle.cpp: gives each future of a batch its result or its exception.
#include "bindings/batch/settle.h"

#include <new>
#include <unordered_set>

#include "bindings/base/ref.h"
#include "bindings/base/shared_error.h"
#include "bindings/batch/future.h"
#include "bindings/batch/wake_up.h"

namespace mcp::python {
namespace {

PyObject *asyncio_cancelled_error, *batch_error;

// A StopIteration would end the coroutine that awaits it as if it had returned.
Ref as_raisable(PyObject* error) {
  if (!PyObject_TypeCheck(error, reinterpret_cast<PyTypeObject*>(PyExc_StopIteration))) {
    return Ref::borrow(error);
  }
  Ref raisable = Ref::steal(PyObject_CallFunction(
      PyExc_RuntimeError, "s", "StopIteration cannot be raised at the callers of a batch"));
  if (raisable) PyException_SetCause(raisable.get(), Py_NewRef(error));
  return raisable;
}

void set_outcome(BatchedFuture* self, PyObject* value, bool fails) {
  self->outcome = Py_NewRef(value);
  self->state = fails ? FutureState::kFailed : FutureState::kFinished;
  if (!fails) return;
  self->never_retrieved = true;
  self->traceback = PyException_GetTraceback(value);
}

// The exceptions that were given to a caller: the others get one of their own.
class GivenErrors {
 public:
  // `error` as the next caller gets it; empty with an exception set. `lent`: it is somebody else's,
  // who may give it to more calls.
  Ref give(PyObject* error, bool lent) {
    bool first = true;
    try {
      first = given_.insert(error).second;
    } catch (const std::bad_alloc&) {
      PyErr_NoMemory();
      return {};
    }
    // An exception that ends the program does so at one place.
    const bool ends = !first && PyObject_IsInstance(error, PyExc_Exception) == 0;
    if (ends && PyObject_IsInstance(error, asyncio_cancelled_error) == 0) return told_of(error);
    if (first && !lent) return as_raisable(error);
    return as_raisable(own_exception(error).get());
  }

 private:
  static Ref told_of(PyObject* error) {
    Ref other = Ref::steal(PyObject_CallFunction(
        batch_error, "N", PyUnicode_FromFormat("the call of this item ended with %R", error)));
    if (other) PyException_SetCause(other.get(), Py_NewRef(error));
    return other;
  }

  std::unordered_set<PyObject*> given_;  // borrowed from the results
};

// Sets `value`, or cancels where it is nullptr, at all who wait for the item of `first`.
// `is_result`: the value is one of a list of results, which holds it.
bool settle_waiters(BatchedFuture* first, PyObject* value, bool is_result, PyObject* wake_up,
                    GivenErrors& errors) {
  const bool fails = value != nullptr && PyExceptionInstance_Check(value);
  const bool lent = is_result && fails && Py_REFCNT(value) > 1;
  for (BatchedFuture* self = first; self != nullptr; self = self->next) {
    if (self->state != FutureState::kPending) continue;
    if (value == nullptr) {
      self->state = FutureState::kCancelled;
    } else if (!fails) {
      set_outcome(self, value, false);
    } else {
      const Ref error = errors.give(value, lent);
      if (!error) return false;
      set_outcome(self, error.get(), true);
    }
    if (!move_batched_waiters(self, wake_up)) return false;
  }
  return true;
}

// _batched_settle(futures, results): results is a list as long as futures, an exception for all of
// them, or None, which cancels.
PyObject* settle_all(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 2 || !PyList_CheckExact(args[0])) {
    return PyErr_Format(PyExc_TypeError, "_batched_settle(futures, results)");
  }
  PyObject* futures = args[0];
  const bool each = PyList_CheckExact(args[1]);
  const Py_ssize_t count = PyList_GET_SIZE(futures);
  if (count == 0) Py_RETURN_NONE;
  if (each && PyList_GET_SIZE(args[1]) != count) {
    return PyErr_Format(PyExc_ValueError, "%zd results for %zd futures", PyList_GET_SIZE(args[1]),
                        count);
  }
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (!is_batched_future(PyList_GET_ITEM(futures, i))) {
      return PyErr_Format(PyExc_TypeError, "_batched_settle() takes futures of a batch");
    }
  }
  const Ref wake_up = make_wake_up(as_future(PyList_GET_ITEM(futures, 0))->loop);
  if (!wake_up) return nullptr;
  bool fine = true;
  GivenErrors errors;
  PyObject* all = args[1] == Py_None ? nullptr : args[1];
  for (Py_ssize_t i = 0; i < count && fine; ++i) {
    fine = settle_waiters(as_future(PyList_GET_ITEM(futures, i)),
                          each ? PyList_GET_ITEM(args[1], i) : all, each, wake_up.get(), errors);
  }
  if (!waiters_of(wake_up.get()).empty() && !schedule_wake_up(wake_up.get())) return nullptr;
  if (!fine) return nullptr;
  Py_RETURN_NONE;
}

// _set_batch_error(class): what callers get where another one got what ends the program.
PyObject* set_batch_error(PyObject*, PyObject* error) {
  Py_XSETREF(batch_error, Py_NewRef(error));
  Py_RETURN_NONE;
}

PyMethodDef settle_module_methods[] = {
    {"_set_batch_error", set_batch_error, METH_O,
     "_set_batch_error(error, /)\n--\n\n"
     "_set_batch_error(error: type[Exception], /) -> None\n\n"
     "For _batched."},
    {"_batched_settle", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(settle_all)),
     METH_FASTCALL,
     "_batched_settle(futures, results, /)\n--\n\n"
     "_batched_settle(futures: list[BatchedFuture[Any]], results: list[Any] | BaseException | "
     "None, /) -> None\n\n"
     "Give the callers of one call their results, and wake them."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

bool add_batched_settle(PyObject* module) {
  const Ref asyncio = Ref::steal(PyImport_ImportModule("asyncio"));
  if (!asyncio) return false;
  asyncio_cancelled_error = PyObject_GetAttrString(asyncio.get(), "CancelledError");
  return asyncio_cancelled_error != nullptr &&
         PyModule_AddFunctions(module, settle_module_methods) == 0;
}

}  // namespace mcp::python
