// shared_error.cpp: copies an exception, so that each of those who wait raises its own.
#include <Python.h>

#include "bindings/base/shared_error.h"

#include <frameobject.h>
#include <structmember.h>

#include <unordered_map>
#include <utility>

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

// Calls visit(name) for errno, filename, code, path, start and the like, and for `__slots__`: what
// a type keeps outside of args and of its dictionary.
template <class Visit>
void for_each_field(PyObject* error, Visit&& visit) {
  const auto* base_exception = reinterpret_cast<PyTypeObject*>(PyExc_BaseException);
  for (PyTypeObject* type = Py_TYPE(error); type != nullptr && type != base_exception;
       type = type->tp_base) {
    for (const PyMemberDef* member = type->tp_members; member && member->name; ++member) {
      if ((member->flags & READONLY) == 0) visit(member->name);
    }
    const bool native = (type->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0;
    for (const PyGetSetDef* one = native ? type->tp_getset : nullptr; one && one->name; ++one) {
      if (one->set != nullptr) visit(one->name);
    }
  }
}

void copy_fields(PyObject* from, PyObject* to) {
  for_each_field(from, [&](const char* name) { copy_attribute(from, to, name); });
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

// The field itself: a class may define what `error.args` is.
Ref args_of(PyObject* error) {
  return Ref::borrow(reinterpret_cast<PyBaseExceptionObject*>(error)->args);
}

void set_args(PyObject* error, Ref args) {
  Py_XSETREF(reinterpret_cast<PyBaseExceptionObject*>(error)->args, args.release());
}

// What the built-in type makes such an error of: args, but of a group its message and its errors,
// which it cannot be given later. Its args are what the class was called with.
Ref parts_of(PyObject* error) {
  const auto* group_type = reinterpret_cast<PyTypeObject*>(PyExc_BaseExceptionGroup);
  if (PyType_IsSubtype(Py_TYPE(error), const_cast<PyTypeObject*>(group_type)) == 0) {
    return args_of(error);
  }
  const auto* group = reinterpret_cast<PyBaseExceptionGroupObject*>(error);
  const Ref errors = Ref::steal(group->excs != nullptr ? PySequence_List(group->excs) : nullptr);
  return Ref::steal(errors && group->msg != nullptr ? PyTuple_Pack(2, group->msg, errors.get())
                                                    : nullptr);
}

Ref copy_of(PyObject* error, const Ref& parts) {
  PyTypeObject* type = Py_TYPE(error);
  PyTypeObject* native = native_base(type);
  Ref args = args_of(error);
  if (!args || !parts || !PyTuple_Check(parts.get()) || !is_copyable(type, native)) return {};
  Ref own = Ref::steal(native->tp_new(type, parts.get(), nullptr));
  if (!own || Py_TYPE(own.get()) != type) return {};
  // Where args are not what the built-in type takes, its fields are copied all the same.
  if (native->tp_init(own.get(), parts.get(), nullptr) != 0) PyErr_Clear();
  copy_fields(error, own.get());
  set_args(own.get(), std::move(args));
  if (!copy_dictionary(error, own.get())) return {};
  PyException_SetContext(own.get(), PyException_GetContext(error));
  if (PyObject* cause = PyException_GetCause(error); cause != nullptr) {
    PyException_SetCause(own.get(), cause);
  }
  copy_attribute(error, own.get(), "__suppress_context__");
  return own;
}

// Makes copies that may be kept. One object copies one error and all that hangs on it: each
// exception once, whichever way it is reached, so that a ring of them is one of copies.
class FramelessCopies {
 public:
  // Empty where a type cannot be copied, or where there is too much of it.
  Ref of(PyObject* error) {
    const auto [place, is_new] = made_.try_emplace(error);
    if (!is_new) return Ref::borrow(place->second.get());  // none yet: a group within itself
    if (++depth_ > kDeepest) return {};
    Ref copy = make(error);
    --depth_;
    return copy;
  }

 private:
  static constexpr int kDeepest = 50;
  static constexpr int kDeepestContainer = 4;  // the first are args and the dictionary
  static constexpr int kMostItems = 100'000;

  Ref make(PyObject* error) {
    Ref parts = parts_of(error);
    // A group is made of what it holds, and cannot change it.
    if (parts && parts.get() != args_of(error).get()) parts = value(parts.get(), 0);
    Ref copy = copy_of(error, parts);
    if (!copy) return {};
    made_[error] = Ref::borrow(copy.get());
    PyException_SetContext(copy.get(), nullptr);
    if (const Ref cause = Ref::steal(PyException_GetCause(error)); cause) {
      Ref own = of(cause.get());
      if (!own) return {};
      PyException_SetCause(copy.get(), own.release());
    }
    const bool kept = arguments(copy.get()) && attributes(copy.get());
    return kept ? std::move(copy) : Ref{};
  }

  // What an error holds, as it may be kept: an exception is a frameless copy, a traceback or a
  // frame None. Looks into plain containers, a few levels deep.
  Ref value(PyObject* held, int level) {
    if (++items_ > kMostItems) return {};
    if (PyExceptionInstance_Check(held)) return of(held);
    if (PyTraceBack_Check(held) || PyFrame_Check(held)) return Ref::borrow(Py_None);
    if (level >= kDeepestContainer) return Ref::borrow(held);
    if (PyTuple_CheckExact(held) || PyList_CheckExact(held)) return items(held, level);
    return PyDict_CheckExact(held) ? values(held, level) : Ref::borrow(held);
  }

  // Itself if it holds no frames.
  Ref items(PyObject* held, int level) {
    Ref copy;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(held); ++i) {
      const Ref item = Ref::borrow(PySequence_Fast_GET_ITEM(held, i));
      Ref bare = value(item.get(), level + 1);
      if (!bare) return {};
      if (bare.get() == item.get()) continue;
      if (!copy) copy = Ref::steal(PySequence_List(held));
      if (!copy || PyList_SetItem(copy.get(), i, bare.release()) < 0) return {};
    }
    if (!copy) return Ref::borrow(held);
    return PyList_CheckExact(held) ? std::move(copy) : Ref::steal(PyList_AsTuple(copy.get()));
  }

  // The same for the values of a dictionary.
  Ref values(PyObject* held, int level) {
    Ref copy = Ref::steal(PyDict_Copy(held));
    bool changed = false;
    PyObject *key, *item;
    for (Py_ssize_t at = 0; copy && PyDict_Next(copy.get(), &at, &key, &item) != 0;) {
      const Ref bare = value(item, level + 1);
      if (!bare) return {};
      if (bare.get() == item) continue;
      changed = true;
      if (PyDict_SetItem(copy.get(), key, bare.get()) != 0) return {};  // a key that is there
    }
    return changed ? std::move(copy) : Ref::borrow(held);
  }

  bool arguments(PyObject* copy) {
    Ref bare = value(args_of(copy).get(), 0);
    if (!bare || !PyTuple_Check(bare.get())) return false;
    set_args(copy, std::move(bare));
    return true;
  }

  bool attributes(PyObject* copy) {
    const Ref own = Ref::steal(PyObject_GenericGetDict(copy, nullptr));
    const Ref bare = own ? values(own.get(), 0) : Ref{};
    bool kept = bare && (bare.get() == own.get() ||
                         PyObject_GenericSetDict(copy, bare.get(), nullptr) == 0);
    for_each_field(copy, [&](const char* name) {
      const Ref key = Ref::steal(PyUnicode_FromString(name));
      const Ref held = Ref::steal(key ? PyObject_GenericGetAttr(copy, key.get()) : nullptr);
      PyErr_Clear();
      if (!held) return;
      const Ref field = value(held.get(), 0);
      kept =
          kept && field &&
          (field.get() == held.get() || PyObject_GenericSetAttr(copy, key.get(), field.get()) == 0);
    });
    return kept;
  }

  std::unordered_map<PyObject*, Ref> made_;  // the errors are held by the one that is copied
  int depth_ = 0;
  int items_ = 0;
};

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
  Ref own = copy_of(error, parts_of(error));
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
  Ref copy = FramelessCopies().of(error);
  PyErr_Clear();
  return copy;
}

bool add_shared_error_functions(PyObject* module) {
  return PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace mcp::python
