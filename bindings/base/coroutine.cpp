// coroutine.cpp: StopIteration and throw() as generators have them.
#include "bindings/base/coroutine.h"

namespace mcp::python {

void set_stop_iteration(PyObject* value) noexcept {
  if (value == Py_None) {
    PyErr_SetNone(PyExc_StopIteration);
  } else if (!PyTuple_Check(value) && !PyExceptionInstance_Check(value)) {
    PyErr_SetObject(PyExc_StopIteration, value);
  } else {  // it would be unpacked, or raised, if it were set as the value itself
    const Ref stop = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, value));
    if (stop) PyErr_SetObject(PyExc_StopIteration, stop.get());
  }
}

bool may_begin_with(PyObject* value) noexcept {
  if (value == Py_None) [[likely]]
    return true;
  PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
  return false;
}

PyObject* next_or_stop(PySendResult sent, PyObject* value) noexcept {
  if (sent == PYGEN_NEXT) return value;
  if (sent == PYGEN_RETURN) {
    set_stop_iteration(value);
    Py_DECREF(value);
  }
  return nullptr;
}

Ref exception_of_throw(PyObject* const* args, Py_ssize_t count) noexcept {
  if (count < 1 || count > 3) {
    PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
    return {};
  }
  PyObject* const type = args[0];
  PyObject* const value = count > 1 && args[1] != Py_None ? args[1] : nullptr;
  PyObject* const traceback = count > 2 && args[2] != Py_None ? args[2] : nullptr;
  Ref exception;
  if (PyExceptionInstance_Check(type)) {
    if (value != nullptr) {
      PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
      return {};
    }
    exception = Ref::borrow(type);
  } else if (PyExceptionClass_Check(type)) {
    if (value != nullptr && PyObject_TypeCheck(value, reinterpret_cast<PyTypeObject*>(type)) != 0) {
      exception = Ref::borrow(value);
    } else {
      exception = Ref::steal(value == nullptr ? PyObject_CallNoArgs(type)
                                              : PyObject_CallOneArg(type, value));
    }
    if (!exception) return {};
    if (!PyExceptionInstance_Check(exception.get())) {
      PyErr_Format(PyExc_TypeError, "calling %R should have returned an instance of BaseException",
                   type);
      return {};
    }
  } else {
    PyErr_Format(PyExc_TypeError,
                 "exceptions must be classes or instances deriving from BaseException, "
                 "not %.200s",
                 Py_TYPE(type)->tp_name);
    return {};
  }
  if (traceback != nullptr && PyException_SetTraceback(exception.get(), traceback) < 0) return {};
  return exception;
}

PyObject* raise_thrown(const Ref& exception) noexcept {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
  return nullptr;
}

PyObject* new_reference_to(PyObject* object) noexcept { return Py_NewRef(object); }

}  // namespace mcp::python
