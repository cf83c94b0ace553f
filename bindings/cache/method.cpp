// The heap type CachedMethod: a descriptor whose results live and die with each instance.
//
// An instance holds its cache in its __dict__, so that a cycle through a result is collected like
// any other. The holder knows its owner by a weak reference: a copied __dict__ brings no foreign
// results.

#include <Python.h>

#include <structmember.h>

#include <cstddef>
#include <utility>

#include "bindings/cache/answer.h"
#include "bindings/cache/function.h"

namespace mcp::python {
namespace {

struct Holder {
  PyObject_HEAD PyObject* cache;
  PyObject* owner;  // weak reference to the instance
};

struct CachedMethod {
  PyObject_HEAD vectorcallfunc vectorcall;
  PyObject* function;    // the CachedFunction whose plan and options the bound ones share
  PyObject* make_cache;  // make_cache() -> Cache
  PyObject* slot;        // the attribute under which instances keep their Holder
  PyObject* dict;
};

PyTypeObject* holder_type = nullptr;
PyTypeObject* method_type = nullptr;

Holder* as_holder(PyObject* object) { return reinterpret_cast<Holder*>(object); }
CachedMethod* as_method(PyObject* object) { return reinterpret_cast<CachedMethod*>(object); }

bool belongs_to(PyObject* holder, PyObject* instance) {
  if (!Py_IS_TYPE(holder, holder_type) || as_holder(holder)->owner == nullptr) return false;
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* owner = nullptr;
  if (PyWeakref_GetRef(as_holder(holder)->owner, &owner) < 0) PyErr_Clear();
  Py_XDECREF(owner);
  return owner == instance;
#else
  return PyWeakref_GET_OBJECT(as_holder(holder)->owner) == instance;
#endif
}

// A new Holder, put into the instance.
Ref attach(CachedMethod* self, PyObject* instance) {
  Ref cache = Ref::steal(PyObject_CallNoArgs(self->make_cache));
  if (!cache) return {};
  if (!is_cache(cache.get())) {
    PyErr_SetString(PyExc_TypeError, "make_cache() must return a Cache");
    return {};
  }
  Ref owner = Ref::steal(PyWeakref_NewRef(instance, nullptr));
  auto* holder = owner ? PyObject_GC_New(Holder, holder_type) : nullptr;
  if (holder != nullptr) {
    holder->cache = cache.release();
    holder->owner = owner.release();
    PyObject_GC_Track(reinterpret_cast<PyObject*>(holder));
  }
  Ref made = Ref::steal(reinterpret_cast<PyObject*>(holder));
  if (made && PyObject_GenericSetAttr(instance, self->slot, made.get()) == 0) return made;
  if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_AttributeError)) {
    PyErr_Format(
        PyExc_TypeError,
        "cached_method needs instances with a __dict__ and weak references: '%.200s' has not",
        Py_TYPE(instance)->tp_name);
  }
  return {};
}

// The cache of the instance; an empty Ref with an exception set on failure. The instance's own
// __getattr__ and __setattr__ are not asked.
Ref cache_of(CachedMethod* self, PyObject* instance) {
  Ref holder = Ref::steal(PyObject_GenericGetAttr(instance, self->slot));
  if (!holder || !belongs_to(holder.get(), instance)) {
    PyErr_Clear();
    holder = attach(self, instance);
    if (!holder) return {};
  }
  return Ref::borrow(as_holder(holder.get())->cache);
}

PyObject* bind(CachedMethod* self, PyObject* instance, PyObject* cache) {
  return bind_method(reinterpret_cast<CachedFunction*>(self->function), instance, cache);
}

// kCopies: with copy= nothing that is kept is handed out itself.
template <bool kCopies>
PyObject* call(PyObject* object, PyObject* const* args, std::size_t nargsf, PyObject* kwnames) {
  CachedMethod* self = as_method(object);
  auto* function = reinterpret_cast<CachedFunction*>(self->function);
  const Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
  if (nargs == 0) return PyObject_Vectorcall(function->wrapped, args, 0, kwnames);
  const Ref cache = cache_of(self, args[0]);
  if (!cache) return nullptr;
  const Call rest{args + 1, nargs - 1, kwnames};
  KeyBuffer buffer;
  KeyView view;
  if (!function->plan->make(rest, buffer, view)) return nullptr;
  if constexpr (!kCopies) {
    if (PyObject* value = state_of(cache.get()).hit(view); value != nullptr) [[likely]] {
      Py_INCREF(value);
      return function->is_async ? make_answer(value, self->function) : value;
    }
  }
  const Ref bound = Ref::steal(bind(self, args[0], cache.get()));
  return bound ? answer_slowly(reinterpret_cast<CachedFunction*>(bound.get()), rest, view, false)
               : nullptr;
}

// CachedMethod(function, make_cache, slot)
PyObject* method_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *function, *make_cache, *slot;
  if (!PyArg_ParseTuple(args, "OOU:CachedMethod", &function, &make_cache, &slot)) return nullptr;
  if (!is_cached_function(function)) {
    return PyErr_Format(PyExc_TypeError, "CachedMethod takes a CachedFunction");
  }
  auto* self = reinterpret_cast<CachedMethod*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  const bool copies = reinterpret_cast<CachedFunction*>(function)->terms->copy != nullptr;
  self->vectorcall = copies ? call<true> : call<false>;
  self->function = Py_NewRef(function);
  self->make_cache = Py_NewRef(make_cache);
  self->slot = Py_NewRef(slot);
  PyUnicode_InternInPlace(&self->slot);
  return reinterpret_cast<PyObject*>(self);
}

PyObject* method_get(PyObject* object, PyObject* instance, PyObject*) {
  if (instance == nullptr || instance == Py_None) return Py_NewRef(object);
  const Ref cache = cache_of(as_method(object), instance);
  return cache ? bind(as_method(object), instance, cache.get()) : nullptr;
}

int method_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_method(object)->function);
  Py_VISIT(as_method(object)->make_cache);
  Py_VISIT(as_method(object)->dict);
  return 0;
}

int method_clear(PyObject* object) {
  Py_CLEAR(as_method(object)->dict);
  return 0;
}

void method_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  method_clear(object);
  Py_CLEAR(as_method(object)->function);
  Py_CLEAR(as_method(object)->make_cache);
  Py_CLEAR(as_method(object)->slot);
  type->tp_free(object);
  Py_DECREF(type);
}

int holder_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_holder(object)->cache);
  Py_VISIT(as_holder(object)->owner);
  return 0;
}

void holder_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  Py_CLEAR(as_holder(object)->cache);
  Py_CLEAR(as_holder(object)->owner);
  PyObject_GC_Del(object);
  Py_DECREF(type);
}

// Pickled and deep-copied as None: results stay behind.
PyObject* holder_reduce(PyObject*, PyObject*) {
  return Py_BuildValue("O()", reinterpret_cast<PyObject*>(Py_TYPE(Py_None)));
}

PyMethodDef holder_methods[] = {
    {"__reduce__", holder_reduce, METH_NOARGS, "None: results stay with their instance."},
    {nullptr, nullptr, 0, nullptr}};

// No tp_clear: a cycle through a result is broken in the cache.
PyType_Slot holder_slots[] = {{Py_tp_doc, const_cast<char*>("One instance's cache of one method.")},
                              {Py_tp_dealloc, reinterpret_cast<void*>(holder_dealloc)},
                              {Py_tp_traverse, reinterpret_cast<void*>(holder_traverse)},
                              {Py_tp_methods, holder_methods},
                              {0, nullptr}};

PyType_Spec holder_spec = {"mcp_performance._core.MethodCache", sizeof(Holder), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                               Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                           holder_slots};

PyGetSetDef method_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef method_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(CachedMethod, vectorcall), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(CachedMethod, dict), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot method_slots[] = {
    {Py_tp_doc,
     const_cast<char*>(
         "class CachedMethod(Generic[_P, _R_co])\n"
         "__new__(cls, function: CachedFunction[..., Any], make_cache: Callable[[], CacheBase[Any, "
         "Any]], "
         "slot: str, /) -> CachedMethod[..., Any]\n"
         "__call__(self, *args: Any, **kwargs: Any) -> _R_co\n"
         "__get__(self, instance: None, owner: type | None = None, /) -> CachedMethod[_P, _R_co]\n"
         "__get__(self, instance: object, owner: type | None = None, /) -> CachedFunction[_P, "
         "_R_co]\n"
         "__wrapped__: Callable[..., Any]\n__name__: str\n\n"
         "A method with a cache per instance; made by cached_method().")},
    {Py_tp_new, reinterpret_cast<void*>(method_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(method_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(method_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(method_clear)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_descr_get, reinterpret_cast<void*>(method_get)},
    {Py_tp_getset, method_getset},
    {Py_tp_members, method_members},
    {0, nullptr}};

PyType_Spec method_spec = {"mcp_performance._core.CachedMethod", sizeof(CachedMethod), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                               Py_TPFLAGS_METHOD_DESCRIPTOR,
                           method_slots};

}  // namespace

bool add_cached_method_type(PyObject* module) {
  holder_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&holder_spec));
  method_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&method_spec));
  return holder_type != nullptr && method_type != nullptr &&
         PyModule_AddType(module, method_type) == 0;
}

}  // namespace mcp::python
