// batched.cpp: the object that @batched makes of a function. Called with one item, it queues it on
// the running loop and returns its future; no Python frame is entered.
#include <Python.h>

#include <structmember.h>

#include <cstddef>
#include <string>
#include <utility>

#include "bindings/base/errors.h"
#include "bindings/base/ref.h"
#include "bindings/base/rooms.h"
#include "bindings/batch/future.h"
#include "bindings/batch/queue.h"
#include "bindings/batch/settle.h"
#include "bindings/loop/running.h"

namespace mcp::python {
namespace {

struct Batched {
  PyObject_HEAD vectorcallfunc vectorcall;
  PyObject* function;
  PyObject* key;       // nullptr: the item itself
  PyObject* context;   // of the calls
  PyObject* max_wait;  // seconds, a float
  PyObject* queues;    // weak dictionary: loop -> its queue
  PyObject* last;      // the queue that was used last
  PyObject* dict;
  PyObject* weakrefs;
  Py_ssize_t max_size;
  Py_ssize_t max_concurrency;  // 0: no limit
};

PyTypeObject* batched_type = nullptr;
PyObject *weak_dictionary, *bind_method, *prune;

Batched* as_batched(PyObject* object) { return reinterpret_cast<Batched*>(object); }

// Makes the loop's queue the last one. False with an exception set.
bool switch_queue(Batched* self, PyObject* loop) {
  Ref queue = Ref::steal(PyObject_GetItem(self->queues, loop));
  if (!queue) {
    if (!PyErr_ExceptionMatches(PyExc_KeyError)) return false;
    PyErr_Clear();
    const Ref pruned = Ref::steal(PyObject_CallOneArg(prune, self->queues));
    if (!pruned) return false;
    queue = make_batched_queue(
        {self->function, self->key == nullptr ? Py_None : self->key, self->context, self->max_wait,
         static_cast<std::size_t>(self->max_size), static_cast<std::size_t>(self->max_concurrency)},
        loop);
    if (!queue || PyObject_SetItem(self->queues, loop, queue.get()) != 0) return false;
  }
  const Ref old = Ref::steal(std::exchange(self->last, queue.release()));
  return true;
}

PyObject* call(PyObject* object, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  Batched* self = as_batched(object);
  const Py_ssize_t given = PyVectorcall_NARGS(nargsf);
  const Py_ssize_t named = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  if (given + named != 1) {
    return PyErr_Format(PyExc_TypeError, "%R takes one item, got %zd", object, given + named);
  }
  if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "item") != 0) {
    return PyErr_Format(PyExc_TypeError, "%R got an unexpected keyword argument %R", object,
                        PyTuple_GET_ITEM(kwnames, 0));
  }
  PyObject* item = args[0];
  const Ref loop = required_running_loop();
  if (!loop) return nullptr;
  const Ref key =
      self->key == nullptr ? Ref::borrow(item) : Ref::steal(PyObject_CallOneArg(self->key, item));
  if (!key) return nullptr;
  if ((self->last == nullptr || !is_queue_of(self->last, loop.get())) &&
      !switch_queue(self, loop.get())) {
    return nullptr;
  }
  const Ref queue = Ref::borrow(self->last);
  return add_to_batched_queue(queue.get(), loop.get(), item, key.get());
}

bool read_terms(Batched* self, PyObject* function, PyObject* key) {
  if (!PyCallable_Check(function)) {
    PyErr_Format(PyExc_TypeError, "function=%R: expected an async function of a list of items",
                 function);
    return false;
  }
  if (key != Py_None && !PyCallable_Check(key)) {
    PyErr_Format(PyExc_TypeError, "key=%R: expected a function of an item, or None", key);
    return false;
  }
  self->function = Py_NewRef(function);
  self->key = key == Py_None ? nullptr : Py_NewRef(key);
  return true;
}

PyObject* batched_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"", "max_size", "max_wait", "key", "max_concurrency", nullptr};
  PyObject *function, *key = Py_None, *max_concurrency = Py_None;
  Py_ssize_t max_size = 100;
  double max_wait = 0.002;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$ndOO:Batched", const_cast<char**>(names),
                                   &function, &max_size, &max_wait, &key, &max_concurrency)) {
    return nullptr;
  }
  Ref holder = Ref::steal(type->tp_alloc(type, 0));
  if (!holder) return nullptr;
  Batched* self = as_batched(holder.get());
  self->vectorcall = call;
  if (!read_terms(self, function, key)) return nullptr;
  if (max_size < 1) {
    set_python_error(invalid_argument("max_size", std::to_string(max_size), "1 or more"));
    return nullptr;
  }
  self->max_size = max_size;
  if (max_concurrency != Py_None) {
    self->max_concurrency = PyLong_AsSsize_t(max_concurrency);
    if (self->max_concurrency == -1 && PyErr_Occurred()) return nullptr;
  }
  self->max_wait = PyFloat_FromDouble(max_wait);
  // Calls serve many callers: none of them lends its context variables.
  self->context = PyContext_CopyCurrent();
  self->queues = PyObject_CallNoArgs(weak_dictionary);
  self->dict = PyDict_New();
  const bool whole = self->max_wait != nullptr && self->context != nullptr &&
                     self->queues != nullptr && self->dict != nullptr;
  return whole ? holder.release() : nullptr;
}

int batched_traverse(PyObject* object, visitproc visit, void* arg) {
  Batched* self = as_batched(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->function);
  Py_VISIT(self->key);
  Py_VISIT(self->context);
  Py_VISIT(self->queues);
  Py_VISIT(self->last);
  Py_VISIT(self->dict);
  return 0;
}

// The function stays until the end: a finalizer in the same cycle may still call. Cycles are broken
// at the attributes, among them __wrapped__, and at the queues.
int batched_clear(PyObject* object) {
  Py_CLEAR(as_batched(object)->dict);
  return 0;
}

void batched_dealloc(PyObject* object) {
  Batched* self = as_batched(object);
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (self->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  Py_CLEAR(self->dict);
  Py_CLEAR(self->last);
  Py_CLEAR(self->queues);
  Py_CLEAR(self->context);
  Py_CLEAR(self->max_wait);
  Py_CLEAR(self->key);
  Py_CLEAR(self->function);
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* descr_get(PyObject* object, PyObject* instance, PyObject* owner) {
  if (instance == nullptr || instance == Py_None) return Py_NewRef(object);
  PyObject* args[] = {object, instance, owner == nullptr ? Py_None : owner};
  return PyObject_Vectorcall(bind_method, args, 3, nullptr);
}

PyObject* set_name(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 2) return PyErr_Format(PyExc_TypeError, "__set_name__(owner, name)");
  if (PyObject_SetAttrString(object, "_attribute", args[1]) != 0) return nullptr;
  Py_RETURN_NONE;
}

PyObject* batched_repr(PyObject* object) {
  const Ref name = Ref::steal(PyObject_GetAttrString(object, "__qualname__"));
  if (name) return PyUnicode_FromFormat("<batched function %S at %p>", name.get(), object);
  PyErr_Clear();
  return PyUnicode_FromFormat("<batched %R at %p>", as_batched(object)->function, object);
}

PyObject* reduce(PyObject* object, PyObject*) {
  return PyObject_GetAttrString(object, "__qualname__");
}

PyObject* get_key(PyObject* object, void*) {
  PyObject* key = as_batched(object)->key;
  return Py_NewRef(key == nullptr ? Py_None : key);
}

PyObject* get_max_concurrency(PyObject* object, void*) {
  const Py_ssize_t limit = as_batched(object)->max_concurrency;
  return limit == 0 ? Py_NewRef(Py_None) : PyLong_FromSsize_t(limit);
}

PyMethodDef batched_methods[] = {
    {"__set_name__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(set_name)),
     METH_FASTCALL,
     "__set_name__($self, owner, name, /)\n--\n\n"
     "__set_name__(self, owner: type, name: str, /) -> None\n\n"
     "Its name as a method."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For annotations."},
    {"__reduce__", reduce, METH_NOARGS, "Pickled by name, as functions are."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef batched_getset[] = {
    {"max_concurrency", get_max_concurrency, nullptr,
     "-> int | None\n\n"
     "Calls at a time on each loop.",
     nullptr},
    {"_key", get_key, nullptr,
     "-> Callable[[_T], Hashable] | None\n\n"
     "What makes two items the same.",
     nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef batched_members[] = {
    {"max_size", T_PYSSIZET, offsetof(Batched, max_size), READONLY,
     "-> int\n\n"
     "Items in one call at most."},
    {"max_wait", T_OBJECT, offsetof(Batched, max_wait), READONLY,
     "-> float\n\n"
     "Seconds an item waits at most."},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Batched, vectorcall), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(Batched, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Batched, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot batched_slots[] = {
    {Py_tp_doc,
     const_cast<char*>(
         "class Batched(Generic[_T, _R])\n"
         "__new__(cls, function: Callable[[list[_T]], Awaitable[Iterable[_R | BaseException] | "
         "AsyncIterable[_R | BaseException] | Mapping[Any, _R | BaseException]]], /, *, max_size: "
         "int = 100, max_wait: float = 0.002, "
         "key: Callable[[_T], Hashable] | None = None, max_concurrency: int | None = None) -> "
         "Self\n"
         "__call__(self, item: _T) -> BatchedFuture[_R]\n"
         "__get__(self, instance: None, owner: type | None = None, /) -> Batched[_T, _R]\n"
         "__get__(self, instance: object, owner: type | None = None, /) -> Batched[_T, _R]\n"
         "__wrapped__: Callable[[list[_T]], Awaitable[Iterable[_R | BaseException] | "
         "AsyncIterable[_R | BaseException] | Mapping[Any, _R | BaseException]]]\n__name__: "
         "str\n__qualname__: str\n\n"
         "What batched() makes of a function: call it with one item, and await the "
         "result.\n\nSafe from any loop; each loop has a queue and calls of its own. On a method, "
         "each instance has queues of its own. Pickled by name, as functions are.")},
    {Py_tp_new, reinterpret_cast<void*>(batched_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(batched_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(batched_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(batched_clear)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_descr_get, reinterpret_cast<void*>(descr_get)},
    {Py_tp_repr, reinterpret_cast<void*>(batched_repr)},
    {Py_tp_methods, batched_methods},
    {Py_tp_getset, batched_getset},
    {Py_tp_members, batched_members},
    {0, nullptr}};

PyType_Spec batched_spec = {"mcp_performance._core.Batched", sizeof(Batched), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
                            batched_slots};

// _set_batched_helpers(bind, prune): the slow paths, in Python.
PyObject* set_helpers(PyObject*, PyObject* args) {
  PyObject *bind, *drop;
  if (!PyArg_ParseTuple(args, "OO:_set_batched_helpers", &bind, &drop)) return nullptr;
  Py_XSETREF(bind_method, Py_NewRef(bind));
  Py_XSETREF(prune, Py_NewRef(drop));
  Py_RETURN_NONE;
}

PyMethodDef batched_module_methods[] = {
    {"_set_batched_helpers", set_helpers, METH_VARARGS,
     "_set_batched_helpers(bind, prune, /)\n--\n\n"
     "_set_batched_helpers(bind: Callable[[Batched[Any, Any], object, type | None], Batched[Any, "
     "Any]], prune: Callable[[MutableMapping[AbstractEventLoop, object]], None], /) -> None\n\n"
     "For _batched."},
    {nullptr, nullptr, 0, nullptr}};

bool add_batched_type(PyObject* module) {
  const Ref weakref = Ref::steal(PyImport_ImportModule("weakref"));
  if (!weakref) return false;
  weak_dictionary = PyObject_GetAttrString(weakref.get(), "WeakKeyDictionary");
  if (weak_dictionary == nullptr) return false;
  batched_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&batched_spec));
  return batched_type != nullptr && PyModule_AddType(module, batched_type) == 0 &&
         PyModule_AddFunctions(module, batched_module_methods) == 0;
}

}  // namespace

void bind_batched(pybind11::module_& module) {
  const bool added = add_batched_future_type(module.ptr()) && add_batched_settle(module.ptr()) &&
                     add_batched_queue_type(module.ptr()) && add_batched_type(module.ptr());
  if (!added) throw pybind11::error_already_set();
}

}  // namespace mcp::python
