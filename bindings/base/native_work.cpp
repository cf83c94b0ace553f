// native_work.cpp: finds the native work behind a Python function.
#include <Python.h>

#include "bindings/base/native_work.h"

#include <structmember.h>

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#include "bindings/base/errors.h"
#include "bindings/base/gil.h"
#include "bindings/base/ref.h"

namespace mcp::python {
namespace {

struct NativeFunction {
  PyObject_HEAD vectorcallfunc vectorcall;
  const char* name;
  const char* doc;
  std::shared_ptr<const NativeWork> work;
};

PyTypeObject* function_type = nullptr;

std::vector<NativeFinder>& finders() {
  static std::vector<NativeFinder> list;
  return list;
}

NativeFunction* as_function(PyObject* object) { return reinterpret_cast<NativeFunction*>(object); }

PyObject* call(PyObject* object, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  NativeFunction* self = as_function(object);
  const Py_ssize_t given = PyVectorcall_NARGS(nargsf);
  if (given != 1 || (kwnames != nullptr && PyTuple_GET_SIZE(kwnames) > 0)) {
    return PyErr_Format(PyExc_TypeError, "%s() takes one argument by position, got %zd", self->name,
                        given);
  }
  const std::shared_ptr<const NativeWork> work = self->work;
  return run_natively(*work, args[0]);
}

void dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  as_function(object)->work.~shared_ptr();
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* repr(PyObject* object) {
  return PyUnicode_FromFormat("<native function %s>", as_function(object)->name);
}

// Pickled by name, so that a process pool can carry it.
PyObject* reduce(PyObject* object, PyObject*) {
  return PyUnicode_FromString(as_function(object)->name);
}

PyObject* get_text(PyObject* object, void* which) {
  NativeFunction* self = as_function(object);
  return PyUnicode_FromString(which == nullptr ? self->name : self->doc);
}

PyObject* get_module(PyObject*, void*) { return PyUnicode_FromString("mcp_performance._core"); }

char is_doc[] = "__doc__";

PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, "Pickled by name, as functions are."},
                         {nullptr, nullptr, 0, nullptr}};

PyGetSetDef getset[] = {{"__name__", get_text, nullptr, "-> str", nullptr},
                        {"__qualname__", get_text, nullptr, "-> str", nullptr},
                        {"__doc__", get_text, nullptr, nullptr, is_doc},
                        {"__module__", get_module, nullptr, nullptr, nullptr},
                        {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(NativeFunction, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                       {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                       {Py_tp_repr, reinterpret_cast<void*>(repr)},
                       {Py_tp_methods, methods},
                       {Py_tp_getset, getset},
                       {Py_tp_members, members},
                       {0, nullptr}};

PyType_Spec spec = {"mcp_performance._core.NativeFunction", sizeof(NativeFunction), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                    slots};

}  // namespace

PyObject* run_natively(const NativeWork& work, PyObject* item) {
  try {
    const std::unique_ptr<NativeWork::Task> task = work.read(item);
    if (task == nullptr) return nullptr;
    {
      const GilRelease unlocked;
      task->run();
    }
    return task->result();
  } catch (...) {
    set_python_error_from_current_exception();
    return nullptr;
  }
}

PyObject* make_native_function(const char* name, const char* doc,
                               std::shared_ptr<const NativeWork> work) {
  PyObject* object = function_type->tp_alloc(function_type, 0);
  if (object == nullptr) return nullptr;
  NativeFunction* self = as_function(object);
  self->vectorcall = call;
  self->name = name;
  self->doc = doc;
  new (&self->work) std::shared_ptr<const NativeWork>(std::move(work));
  return object;
}

void add_native_finder(NativeFinder finder) { finders().push_back(finder); }

std::shared_ptr<const NativeWork> native_work_of(PyObject* function) noexcept {
  if (Py_TYPE(function) == function_type) return as_function(function)->work;
  for (const NativeFinder finder : finders()) {
    if (auto work = finder(function)) return work;
  }
  return nullptr;
}

bool add_native_function_type(PyObject* module) {
  function_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return function_type != nullptr && PyModule_AddType(module, function_type) == 0;
}

}  // namespace mcp::python
