// The methods of cached functions that speak of one call, and the functions of bound methods, which
// offer the same with the instance in front.
#include <Python.h>

#include <structmember.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "bindings/cache/function.h"

namespace mcp::python {
namespace {

PyTypeObject* bound_type = nullptr;
// _key._refuse(function, args, kwargs): raises the TypeError of a call that does not fit.
PyObject* refuse_call = nullptr;
PyObject* make_plain = nullptr;  // of methods, for frameworks that take them apart

// Whether the function takes the call, by the plan or, where a decorator changed its arguments, by
// its own signature. False with the TypeError set.
bool fits(CachedFunction* self, const Call& call) {
  if (self->plan->fits(call)) return true;
  const PackedCall packed(call);
  if (!packed) return false;
  PyObject* args[] = {reinterpret_cast<PyObject*>(self), packed.args.get(), packed.kwargs.get()};
  const Ref done = Ref::steal(PyObject_Vectorcall(refuse_call, args, 3, nullptr));
  return static_cast<bool>(done);
}

// From Python 3.13 on `classmethod` binds by itself, and only calls: what is asked of
// `Shop.of_class` comes here without the class. True, with the TypeError set, where a class is what
// the function wants first, and the call has something else.
bool lacks_class([[maybe_unused]] CachedFunction* self, [[maybe_unused]] const Call& call) {
#if PY_VERSION_HEX >= 0x030D0000
  if (call.nargs == 0 || PyType_Check(call.args[0])) return false;
  const Ref code = Ref::steal(PyObject_GetAttrString(self->wrapped, "__code__"));
  const Ref names = code ? Ref::steal(PyObject_GetAttrString(code.get(), "co_varnames")) : Ref();
  const bool wants_class =
      names && PyTuple_Check(names.get()) && PyTuple_GET_SIZE(names.get()) > 0 &&
      PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names.get(), 0), "cls") == 0;
  PyErr_Clear();
  if (!wants_class) return false;
  const Ref name =
      Ref::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(self), "__qualname__"));
  if (name) {
    PyErr_Format(PyExc_TypeError,
                 "%U() is a class method: since Python 3.13 the class is to be given first, as in "
                 "Shop.of_class.cache_invalidate(Shop, 1), not %R",
                 name.get(), call.args[0]);
  }
  return true;
#else
  return false;
#endif
}

// Calls `act(self, call, view)` with the key of the arguments.
template <class Act>
PyObject* with_key(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
                   Act&& act) {
  CachedFunction* self = as_function(object);
  const Call call{args, nargs, kwnames};
  if (lacks_class(self, call) || !fits(self, call)) return nullptr;
  KeyBuffer buffer;
  KeyView view;
  if (!self->plan->make(call, buffer, view)) return nullptr;
  return act(self, call, view);
}

PyObject* cache_key(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return with_key(
      object, args, nargs, kwnames,
      [](CachedFunction*, const Call&, const KeyView& view) { return build_key(view); });
}

PyObject* cache_contains(PyObject* object, PyObject* const* args, Py_ssize_t nargs,
                         PyObject* kwnames) {
  return with_key(object, args, nargs, kwnames,
                  [](CachedFunction* self, const Call&, const KeyView& view) -> PyObject* {
                    const Lookup lookup = self->state->look_up(view, false);
                    if (lookup.found == Found::kFailed) return nullptr;
                    return PyBool_FromLong(lookup.found == Found::kFresh && !lookup.is_failure);
                  });
}

PyObject* cache_invalidate(PyObject* object, PyObject* const* args, Py_ssize_t nargs,
                           PyObject* kwnames) {
  return with_key(object, args, nargs, kwnames,
                  [](CachedFunction* self, const Call&, const KeyView& view) -> PyObject* {
                    const int removed = self->state->remove(view);
                    return removed < 0 ? nullptr : PyBool_FromLong(removed);
                  });
}

PyObject* cache_refresh(PyObject* object, PyObject* const* args, Py_ssize_t nargs,
                        PyObject* kwnames) {
  return with_key(object, args, nargs, kwnames,
                  [](CachedFunction* self, const Call& call, const KeyView& view) {
                    return refresh(self, call, view);
                  });
}

using KeywordMethod = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

PyMethodDef keyword_method(const char* name, KeywordMethod method, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(method)),
          METH_FASTCALL | METH_KEYWORDS, doc};
}

const char key_doc[] =
    "cache_key($self, *args, **kwargs)\n--\n\n"
    "cache_key(self, *args: _P.args, **kwargs: _P.kwargs) -> Any\n\n"
    "The key under which a call with these arguments is stored.";
const char contains_doc[] =
    "cache_contains($self, *args, **kwargs)\n--\n\n"
    "cache_contains(self, *args: _P.args, **kwargs: _P.kwargs) -> bool\n\n"
    "Whether a call with these arguments would be a hit. Counts nothing.";
const char invalidate_doc[] =
    "cache_invalidate($self, *args, **kwargs)\n--\n\n"
    "cache_invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool\n\n"
    "Forget the result for these arguments; whether there was one. A load under way is not stored.";
const char refresh_doc[] =
    "cache_refresh($self, *args, **kwargs)\n--\n\n"
    "cache_refresh(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co\n\n"
    "Call the function now and store its result, whatever is cached.";

PyMethodDef given_methods[] = {keyword_method("cache_key", cache_key, key_doc),
                               keyword_method("cache_contains", cache_contains, contains_doc),
                               keyword_method("cache_invalidate", cache_invalidate, invalidate_doc),
                               keyword_method("cache_refresh", cache_refresh, refresh_doc)};

// ---- the function of a bound method

struct BoundFunction {
  PyObject_HEAD vectorcallfunc vectorcall;
  PyObject* function;  // owned
  PyObject* instance;  // owned
};

BoundFunction* as_bound(PyObject* object) { return reinterpret_cast<BoundFunction*>(object); }

// Called by the bound method, which has put the instance in front.
PyObject* call_bound(PyObject* object, PyObject* const* args, std::size_t nargsf,
                     PyObject* kwnames) {
  return PyObject_Vectorcall(as_bound(object)->function, args, nargsf, kwnames);
}

// Asks the function's own attribute, which a backend may have replaced.
PyObject* call_of_instance(PyObject* object, const char* name, PyObject* const* args,
                           Py_ssize_t nargs, PyObject* kwnames) {
  const BoundFunction* self = as_bound(object);
  const Ref method = Ref::steal(PyObject_GetAttrString(self->function, name));
  if (!method) return nullptr;
  const Call call{args, nargs, kwnames};
  const std::size_t size = static_cast<std::size_t>(nargs + call.keywords());
  Elements elements;
  PyObject** all = elements.reserve(size + 1);
  all[0] = self->instance;
  std::copy(args, args + size, all + 1);
  return PyObject_Vectorcall(method.get(), all, static_cast<std::size_t>(nargs) + 1, kwnames);
}

template <const char* kName>
PyObject* of_instance(PyObject* object, PyObject* const* args, Py_ssize_t nargs,
                      PyObject* kwnames) {
  return call_of_instance(object, kName, args, nargs, kwnames);
}

constexpr char kKey[] = "cache_key";
constexpr char kContains[] = "cache_contains";
constexpr char kInvalidate[] = "cache_invalidate";
constexpr char kRefresh[] = "cache_refresh";

PyMethodDef bound_methods[] = {
    keyword_method(kKey, of_instance<kKey>, key_doc),
    keyword_method(kContains, of_instance<kContains>, contains_doc),
    keyword_method(kInvalidate, of_instance<kInvalidate>, invalidate_doc),
    keyword_method(kRefresh, of_instance<kRefresh>, refresh_doc),
    {nullptr, nullptr, 0, nullptr}};

bool is_own_attribute(PyObject* name) {
  constexpr const char* kOwn[] = {kKey, kContains, kInvalidate, kRefresh, "__class__"};
  return std::any_of(std::begin(kOwn), std::end(kOwn), [name](const char* own) {
    return PyUnicode_CompareWithASCIIString(name, own) == 0;
  });
}

// Of which a framework makes another function: that one has to ask the cache too.
bool is_part_of_code(PyObject* name) {
  constexpr const char* kParts[] = {"__code__", "__closure__", "__globals__", "__defaults__",
                                    "__kwdefaults__"};
  return std::any_of(std::begin(kParts), std::end(kParts), [name](const char* part) {
    return PyUnicode_CompareWithASCIIString(name, part) == 0;
  });
}

// pydantic knows methods by itself, and what the function says of its schema has an instance in
// front.
bool is_of_function_alone(PyObject* name) {
  return PyUnicode_CompareWithASCIIString(name, "__get_pydantic_core_schema__") == 0;
}

PyObject* bound_getattro(PyObject* object, PyObject* name) {
  PyObject* function = as_bound(object)->function;
  if (!PyUnicode_Check(name)) return PyObject_GetAttr(function, name);
  if (is_own_attribute(name)) return PyObject_GenericGetAttr(object, name);
  if (is_of_function_alone(name)) {
    return PyErr_Format(PyExc_AttributeError, "a bound function has no attribute '%U'", name);
  }
  if (make_plain == nullptr || !is_part_of_code(name)) return PyObject_GetAttr(function, name);
  const Ref plain = Ref::steal(PyObject_CallOneArg(make_plain, function));
  return plain ? PyObject_GetAttr(plain.get(), name) : nullptr;
}

// Frameworks leave their own notes on `method.__func__`: they are the function's, as of any method.
int bound_setattro(PyObject* object, PyObject* name, PyObject* value) {
  return PyObject_SetAttr(as_bound(object)->function, name, value);
}

PyObject* bound_repr(PyObject* object) { return PyObject_Repr(as_bound(object)->function); }

Py_hash_t bound_hash(PyObject* object) { return PyObject_Hash(as_bound(object)->function); }

// Equal to the function itself, and to what stands for it elsewhere.
PyObject* bound_compare(PyObject* object, PyObject* other, int operation) {
  if (operation != Py_EQ && operation != Py_NE) Py_RETURN_NOTIMPLEMENTED;
  PyObject* function = Py_IS_TYPE(other, bound_type) ? as_bound(other)->function : other;
  const bool equal = as_bound(object)->function == function;
  return PyBool_FromLong(equal == (operation == Py_EQ));
}

int bound_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_bound(object)->function);
  Py_VISIT(as_bound(object)->instance);
  return 0;
}

void bound_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  Py_CLEAR(as_bound(object)->function);
  Py_CLEAR(as_bound(object)->instance);
  PyObject_GC_Del(object);
  Py_DECREF(type);
}

PyMemberDef bound_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(BoundFunction, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot bound_slots[] = {
    {Py_tp_doc, const_cast<char*>("__call__(self, *args: Any, **kwargs: Any) -> Any\n\n"
                                  "The function of a bound method, as one instance sees it.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(bound_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(bound_traverse)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_getattro, reinterpret_cast<void*>(bound_getattro)},
    {Py_tp_setattro, reinterpret_cast<void*>(bound_setattro)},
    {Py_tp_repr, reinterpret_cast<void*>(bound_repr)},
    {Py_tp_hash, reinterpret_cast<void*>(bound_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(bound_compare)},
    {Py_tp_methods, bound_methods},
    {Py_tp_members, bound_members},
    {0, nullptr}};

PyType_Spec bound_spec = {"mcp_performance._core.BoundFunction", sizeof(BoundFunction), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                              Py_TPFLAGS_DISALLOW_INSTANTIATION,
                          bound_slots};

PyObject* set_refuser(PyObject*, PyObject* function) {
  const Ref old = Ref::steal(std::exchange(refuse_call, Py_NewRef(function)));
  Py_RETURN_NONE;
}

PyObject* set_plain_maker(PyObject*, PyObject* function) {
  const Ref old = Ref::steal(std::exchange(make_plain, Py_NewRef(function)));
  Py_RETURN_NONE;
}

PyMethodDef module_methods[] = {{"_set_plain_maker", set_plain_maker, METH_O,
                                 "_set_plain_maker(make, /)\n--\n\n"
                                 "_set_plain_maker(make: Callable[[Any], Any], /) -> None\n\n"
                                 "What makes a function of Python's that calls a cached one."},
                                {"_set_call_refuser", set_refuser, METH_O,
                                 "_set_call_refuser(refuse, /)\n--\n\n"
                                 "_set_call_refuser(refuse: Callable[[Any, tuple[Any, ...], "
                                 "dict[str, Any]], object], /) -> None\n\n"
                                 "What raises the TypeError of a call."},
                                {nullptr, nullptr, 0, nullptr}};

}  // namespace

bool add_key_methods(PyTypeObject* type) {
  for (PyMethodDef& method : given_methods) {
    const Ref descriptor = Ref::steal(PyDescr_NewMethod(type, &method));
    if (!descriptor || PyDict_SetItemString(type->tp_dict, method.ml_name, descriptor.get()) < 0) {
      return false;
    }
  }
  PyType_Modified(type);
  return true;
}

PyObject* bind_function(PyObject* function, PyObject* instance) {
  auto* self = PyObject_GC_New(BoundFunction, bound_type);
  if (self == nullptr) return nullptr;
  self->vectorcall = call_bound;
  self->function = Py_NewRef(function);
  self->instance = Py_NewRef(instance);
  PyObject_GC_Track(reinterpret_cast<PyObject*>(self));
  return reinterpret_cast<PyObject*>(self);
}

bool add_bound_function_type(PyObject* module) {
  bound_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&bound_spec));
  return bound_type != nullptr && PyModule_AddType(module, bound_type) == 0 &&
         PyModule_AddFunctions(module, module_methods) == 0;
}

}  // namespace mcp::python
