// front.cpp: the native base of mcp_performance.TieredCache: what memory has is answered without a
// frame of Python's, and everything else by the methods of the subclass.
#include <Python.h>

#include <structmember.h>

#include <cstddef>

#include "bindings/base/methods.h"
#include "bindings/base/saved_error.h"
#include "bindings/cache/answer.h"
#include "bindings/cache/object.h"

namespace mcp::python {
namespace {

struct Front {
  PyObject_HEAD PyObject* memory;  // owned; a Cache
  PyObject* behind;                // owned: behind(self, key, default) looks behind the memory
  PyObject* abehind;               // owned: the same, a coroutine function
};

Front* as_front(PyObject* object) { return reinterpret_cast<Front*>(object); }

// _serve(memory, behind, abehind)
PyObject* serve(PyObject* object, PyObject* args) {
  PyObject *memory, *behind, *abehind;
  if (!PyArg_ParseTuple(args, "OOO:_serve", &memory, &behind, &abehind)) return nullptr;
  if (!is_cache(memory)) {
    return PyErr_Format(PyExc_TypeError, "memory=%R: expected a Cache", memory);
  }
  Front* self = as_front(object);
  Py_XSETREF(self->memory, Py_NewRef(memory));
  Py_XSETREF(self->behind, Py_NewRef(behind));
  Py_XSETREF(self->abehind, Py_NewRef(abehind));
  Py_RETURN_NONE;
}

PyObject* ask_behind(PyObject* function, PyObject* object, PyObject* key, PyObject* fallback) {
  PyObject* args[] = {object, key, fallback};
  return PyObject_Vectorcall(function, args, 3, nullptr);
}

bool is_served(const Front* self) {
  if (self->memory != nullptr) [[likely]]
    return true;
  PyErr_SetString(PyExc_RuntimeError, "__init__() was not called");
  return false;
}

// Reads (key, default=None), each by place or by name. False with an exception set.
bool read_call(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, const char* name,
               PyObject*& key, PyObject*& fallback) {
  key = nargs > 0 ? args[0] : nullptr;
  fallback = nargs > 1 ? args[1] : nullptr;
  bool fits = nargs <= 2;
  const Py_ssize_t keywords = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  for (Py_ssize_t k = 0; k < keywords && fits; ++k) {
    PyObject* word = PyTuple_GET_ITEM(kwnames, k);
    PyObject** place = nullptr;
    if (PyUnicode_CompareWithASCIIString(word, "key") == 0) place = &key;
    if (PyUnicode_CompareWithASCIIString(word, "default") == 0) place = &fallback;
    fits = place != nullptr && *place == nullptr;
    if (fits) *place = args[nargs + k];
  }
  if (!fits || key == nullptr) {
    PyErr_Format(PyExc_TypeError, "%s(key, default=None)", name);
    return false;
  }
  if (fallback == nullptr) fallback = Py_None;
  return true;
}

PyObject* front_get(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject *key, *fallback;
  Front* self = as_front(object);
  if (!read_call(args, nargs, kwnames, "get", key, fallback) || !is_served(self)) {
    return nullptr;
  }
  PyObject* value = fetch(state_of(self->memory), key);
  if (value != nullptr || PyErr_Occurred()) return value;
  return ask_behind(self->behind, object, key, fallback);
}

PyObject* front_aget(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject *key, *fallback;
  Front* self = as_front(object);
  if (!read_call(args, nargs, kwnames, "aget", key, fallback) || !is_served(self)) {
    return nullptr;
  }
  PyObject* value = fetch(state_of(self->memory), key);
  if (value != nullptr) return make_answer(value, self->abehind);
  if (PyErr_Occurred()) {  // the await raises it, as that of a coroutine does
    Ref error = take_error();
    return make_failure(error.release(), self->abehind);
  }
  return ask_behind(self->abehind, object, key, fallback);
}

int front_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_front(object)->memory);
  Py_VISIT(as_front(object)->behind);
  Py_VISIT(as_front(object)->abehind);
  return 0;
}

int front_clear(PyObject* object) {
  Py_CLEAR(as_front(object)->memory);
  Py_CLEAR(as_front(object)->behind);
  Py_CLEAR(as_front(object)->abehind);
  return 0;
}

void front_dealloc(PyObject* object) {
  PyTypeObject* own_type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  front_clear(object);
  own_type->tp_free(object);
  Py_DECREF(own_type);
}

PyMethodDef front_methods[] = {
    {"get", keyword_function(front_get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, /, key, default=None)\n--\n\n"
     "get(self, key: Any, default: Any = None) -> Any\n\n"
     "The value of *key*, or *default*: from memory, else from the tier unless it is away.\n\n"
     "Raises:\n"
     "    SerializationError: *key* cannot be shared."},
    {"aget", keyword_function(front_aget), METH_FASTCALL | METH_KEYWORDS,
     "aget($self, /, key, default=None)\n--\n\n"
     "aget(self, key: Any, default: Any = None) -> Coroutine[Any, Any, Any]\n\n"
     ":meth:`get` without blocking the event loop."},
    {"_serve", serve, METH_VARARGS,
     "_serve($self, memory, behind, abehind, /)\n--\n\n"
     "_serve(self, memory: CacheBase[Any, Any], behind: Callable[[Any, Any, Any], Any], "
     "abehind: Callable[[Any, Any, Any], Coroutine[Any, Any, Any]], /) -> None\n\n"
     "Answer from memory, and by the functions what it does not have."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot front_slots[] = {
    {Py_tp_doc, const_cast<char*>("class FrontBase\n\n"
                                  "The native base of mcp_performance.TieredCache.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(front_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(front_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(front_clear)},
    {Py_tp_methods, front_methods},
    {0, nullptr}};

PyType_Spec front_spec = {"mcp_performance._core.FrontBase", sizeof(Front), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
                          front_slots};

}  // namespace

bool add_front_type(PyObject* module) {
  const Ref type = Ref::steal(PyType_FromSpec(&front_spec));
  return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
}

}  // namespace mcp::python
