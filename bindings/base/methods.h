// methods.h: functions with METH_FASTCALL's signatures as a PyMethodDef holds them.
#pragma once

#include <Python.h>

namespace mcp::python {

using KeywordFunction = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

// METH_FASTCALL | METH_KEYWORDS
inline PyCFunction keyword_function(KeywordFunction function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// METH_FASTCALL
inline PyCFunction fast_function(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace mcp::python
