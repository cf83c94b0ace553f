// weak.h: what a weak reference refers to.
//
// Threads: with the interpreter lock, or attached in a free-threaded interpreter.
#pragma once

#include <Python.h>

#include "bindings/base/ref.h"

namespace mcp::python {

// The object that `weak` (a weak reference) refers to, kept alive by the result; nothing where it
// is gone. Never with an exception set.
inline Ref referent(PyObject* weak) noexcept {
#if PY_VERSION_HEX >= 0x030D0000  // PyWeakref_GetObject goes away in 3.15
  PyObject* object = nullptr;
  if (PyWeakref_GetRef(weak, &object) < 0) PyErr_Clear();
  return Ref::steal(object);
#else
  PyObject* object = PyWeakref_GetObject(weak);
  return object == Py_None ? Ref() : Ref::borrow(object);
#endif
}

}  // namespace mcp::python
