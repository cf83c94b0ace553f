// saved_error.h: the exception that is set, taken off the thread, and put back.
//
// The one place that knows how CPython keeps it. REQUIRES: the interpreter lock.
#pragma once

#include <Python.h>

#include "bindings/base/ref.h"

namespace mcp::python {

// The exception that is set, made whole and with its traceback; then none is set any more. Empty
// where there was none.
[[nodiscard]] inline Ref take_error() noexcept {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == nullptr) return {};
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return Ref::steal(value);
}

// Puts it back as it was.
inline void set_error(Ref error) noexcept {
  PyObject* value = error.release();
  PyErr_Restore(Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(value))), value,
                PyException_GetTraceback(value));
}

// Keeps the exception that is set, if any, while others come and go.
class ErrorSetAside {
 public:
  ErrorSetAside() noexcept { PyErr_Fetch(&type_, &value_, &traceback_); }
  ~ErrorSetAside() { PyErr_Restore(type_, value_, traceback_); }
  ErrorSetAside(const ErrorSetAside&) = delete;
  ErrorSetAside& operator=(const ErrorSetAside&) = delete;

 private:
  PyObject *type_, *value_, *traceback_;
};

}  // namespace mcp::python
