// shared_error.cpp: copies an exception, so that each of those who wait raises its own.
#include <Python.h>

#include "bindings/base/shared_error.h"

#include <structmember.h>

#include "bindings/base/saved_error.h"

namespace mcp::python {
namespace {

// The nearest base that is not made by a class statement: it says how the object is laid out.
PyTypeObject* native_base(PyTypeObject* type) {
  while ((type->tp_flags & Py_TPFLAGS_HEAPTYPE) != 0) type = type->tp_base;
  return type;
}

// Whether all that its classes add to `native` are references that copy_fields() finds. A type of
// an extension module may hold anything.
bool is_copyable(PyTypeObject* type, PyTypeObject* native) {
  for (; type != native; type = type->tp_base) {
    const Py_ssize_t added = type->tp_basicsize - type->tp_base->tp_basicsize;
    const Py_ssize_t most = Py_SIZE(type) + 1;  // its __slots__, and the list of weak references
    if (added > most * static_cast<Py_ssize_t>(sizeof(PyObject*))) return false;
  }
  return true;
}

void copy_attribute(PyObject* from, PyObject* to, const char* name) {
  const Ref key = Ref::steal(PyUnicode_FromString(name));
  const Ref value = Ref::steal(key ? PyObject_GenericGetAttr(from, key.get()) : nullptr);
  const Ref there = Ref::steal(value ? PyObject_GenericGetAttr(to, key.get()) : nullptr);
  PyErr_Clear();
  if (!value || value.get() == there.get()) return;  // what was never set reads as None
  if (PyObject_GenericSetAttr(to, key.get(), value.get()) != 0) PyErr_Clear();
}

// errno, filename, code, path, start and the like: what the built-in types keep outside of args.
void copy_fields(PyObject* from, PyObject* to) {
  const auto* base_exception = reinterpret_cast<PyTypeObject*>(PyExc_BaseException);
  for (PyTypeObject* type = Py_TYPE(from); type != nullptr && type != base_exception;
       type = type->tp_base) {
    for (const PyMemberDef* member = type->tp_members; member && member->name; ++member) {
      if ((member->flags & READONLY) == 0) copy_attribute(from, to, member->name);
    }
    const bool native = (type->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0;
    for (const PyGetSetDef* one = native ? type->tp_getset : nullptr; one && one->name; ++one) {
      if (one->set != nullptr) copy_attribute(from, to, one->name);
    }
  }
}

bool copy_dictionary(PyObject* from, PyObject* to) {
  const Ref own = Ref::steal(PyObject_GenericGetDict(from, nullptr));
  const Ref copy = Ref::steal(own ? PyDict_Copy(own.get()) : nullptr);
  if (!copy) return false;
  PyObject* notes = PyDict_GetItemString(copy.get(), "__notes__");
  if (notes != nullptr && PyList_Check(notes)) {
    const Ref own_notes = Ref::steal(PyList_GetSlice(notes, 0, PyList_GET_SIZE(notes)));
    if (!own_notes || PyDict_SetItemString(copy.get(), "__notes__", own_notes.get()) != 0) {
      return false;
    }
  }
  return PyObject_GenericSetDict(to, copy.get(), nullptr) == 0;
}

Ref args_of(PyObject* error) { return Ref::steal(PyObject_GetAttrString(error, "args")); }

Ref copy_of(PyObject* error, Ref args) {
  PyTypeObject* type = Py_TYPE(error);
  PyTypeObject* native = native_base(type);
  if (!args || !PyTuple_Check(args.get()) || !is_copyable(type, native)) return {};
  Ref own = Ref::steal(native->tp_new(type, args.get(), nullptr));
  if (!own || Py_TYPE(own.get()) != type) return {};
  // Where args are not what the built-in type takes, its fields are copied all the same.
  if (native->tp_init(own.get(), args.get(), nullptr) != 0) PyErr_Clear();
  copy_fields(error, own.get());
  if (PyObject_SetAttrString(own.get(), "args", args.get()) != 0) return {};
  if (!copy_dictionary(error, own.get())) return {};
  PyException_SetContext(own.get(), PyException_GetContext(error));
  if (PyObject* cause = PyException_GetCause(error); cause != nullptr) {
    PyException_SetCause(own.get(), cause);
  }
  copy_attribute(error, own.get(), "__suppress_context__");
  return own;
}

constexpr int kLongestChain = 50;

Ref frameless(PyObject* error, int depth);

// The arguments of a group, with its exceptions made frameless.
Ref frameless_group(PyObject* group, int depth) {
  const Ref message = Ref::steal(PyObject_GetAttrString(group, "message"));
  const Ref held = Ref::steal(PyObject_GetAttrString(group, "exceptions"));
  const Ref items = Ref::steal(held ? PySequence_List(held.get()) : nullptr);
  if (!message || !items) return {};
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items.get()); ++i) {
    Ref item = frameless(PyList_GET_ITEM(items.get(), i), depth + 1);
    if (!item || PyList_SetItem(items.get(), i, item.release()) < 0) return {};
  }
  return Ref::steal(PyTuple_Pack(2, message.get(), items.get()));
}

Ref frameless(PyObject* error, int depth) {
  if (depth > kLongestChain) return {};
  const int is_group = PyObject_IsInstance(error, PyExc_BaseExceptionGroup);
  if (is_group < 0) return {};
  Ref copy = copy_of(error, is_group != 0 ? frameless_group(error, depth) : args_of(error));
  if (!copy) return {};
  PyException_SetContext(copy.get(), nullptr);
  if (const Ref cause = Ref::steal(PyException_GetCause(error)); cause) {
    Ref own = frameless(cause.get(), depth + 1);
    if (!own) return {};
    PyException_SetCause(copy.get(), own.release());
  }
  return copy;
}

PyObject* own_exception_of(PyObject*, PyObject* error) {
  if (!PyExceptionInstance_Check(error)) {
    return PyErr_Format(PyExc_TypeError, "error=%R: expected an exception", error);
  }
  return own_exception(error).release();
}

PyMethodDef functions[] = {{"_own_exception", own_exception_of, METH_O,
                            "_own_exception(error, /)\n--\n\n"
                            "_own_exception(error: _E, /) -> _E\n\n"
                            "A new exception like this one, for one of many who wait for it."},
                           {nullptr, nullptr, 0, nullptr}};

}  // namespace

Ref copy_exception(PyObject* error) noexcept {
  const ErrorSetAside before;
  Ref own = copy_of(error, args_of(error));
  PyErr_Clear();
  return own ? std::move(own) : Ref::borrow(error);
}

Ref own_exception(PyObject* shared) noexcept {
  Ref own = copy_exception(shared);
  if (own.get() == shared) return own;
  const Ref cause = Ref::steal(PyException_GetCause(shared));
  if (cause) {
    const Ref traceback = Ref::steal(PyException_GetTraceback(shared));
    if (traceback) PyException_SetTraceback(own.get(), traceback.get());
  } else {
    PyException_SetCause(own.get(), Py_NewRef(shared));
  }
  return own;
}

Ref frameless_exception(PyObject* error) noexcept {
  const ErrorSetAside before;
  Ref copy = frameless(error, 0);
  PyErr_Clear();
  return copy;
}

bool add_shared_error_functions(PyObject* module) {
  return PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace mcp::python
