// The heap type CachedFunction: construction, descriptor, attributes.
#include <Python.h>

#include <structmember.h>

#include <cstddef>
#include <new>
#include <utility>

#include "bindings/base/methods.h"
#include "bindings/cache/answer.h"
#include "bindings/cache/arguments.h"
#include "bindings/cache/function.h"

namespace mcp::python {
namespace {

using Shape = KeyPlan::Shape;

PyTypeObject* function_type = nullptr;
PyObject* info_type = nullptr;   // CacheInfo
PyObject* stats_type = nullptr;  // CacheStats

// ---- construction

// Whether the fast entry of the shape applies to calls without keywords.
bool shape_is_direct(const KeyPlan& plan) noexcept {
  return plan.shape() == Shape::kFunctools ? !plan.typed() : plan.is_direct();
}

bool parse_terms(PyObject* spec, LoadTerms& terms) {
  PyObject *ttl, *negative, *stale, *wait, *ttl_of, *condition, *copy, *tags_of;
  int tags_are_early = 0;
  if (!PyArg_ParseTuple(spec, "OdOOdOOOOOp:load terms", &ttl, &terms.jitter, &negative, &stale,
                        &terms.refresh_ahead, &wait, &ttl_of, &condition, &copy, &tags_of,
                        &tags_are_early) ||
      !parse_nanoseconds(ttl, terms.ttl) || !parse_nanoseconds(negative, terms.negative_ttl) ||
      !parse_nanoseconds(stale, terms.stale_ttl) || !parse_nanoseconds(wait, terms.wait)) {
    return false;
  }
  terms.tags_are_early = tags_are_early != 0;
  const auto optional = [](PyObject* object) {
    return object == Py_None ? nullptr : Py_NewRef(object);
  };
  terms.ttl_of = optional(ttl_of);
  terms.condition = optional(condition);
  terms.copy = optional(copy);
  terms.tags_of = optional(tags_of);
  terms.is_plain = terms.jitter == 0 && terms.stale_ttl == 0 && terms.refresh_ahead == 0 &&
                   terms.ttl_of == nullptr && terms.condition == nullptr && terms.copy == nullptr &&
                   terms.tags_of == nullptr;
  return true;
}

// CachedFunction(wrapped, cache, plan, terms, parameters, backend, is_async, is_functools)
PyObject* function_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *wrapped, *cache, *plan, *terms, *parameters, *backend;
  int is_async, is_functools;
  if (!PyArg_ParseTuple(args, "OOO!O!O!Opp:CachedFunction", &wrapped, &cache, &PyTuple_Type, &plan,
                        &PyTuple_Type, &terms, &PyDict_Type, &parameters, &backend, &is_async,
                        &is_functools)) {
    return nullptr;
  }
  if (!PyCallable_Check(wrapped)) {
    return PyErr_Format(PyExc_TypeError, "the first argument must be callable, not %R", wrapped);
  }
  if (!is_cache(cache)) return PyErr_Format(PyExc_TypeError, "cache must be a Cache");
  auto* self = reinterpret_cast<CachedFunction*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  Ref holder = Ref::steal(as_object(self));
  self->terms = new (std::nothrow) LoadTerms;
  if (self->terms == nullptr) return PyErr_NoMemory();
  self->plan = KeyPlan::compile(plan).release();
  if (self->plan == nullptr || !parse_terms(terms, *self->terms)) return nullptr;
  self->wrapped = Py_NewRef(wrapped);
  self->cache = reinterpret_cast<CacheObject*>(Py_NewRef(cache));
  self->state = self->cache->state;
  self->backend = backend == Py_None ? nullptr : Py_NewRef(backend);
  self->parameters = Py_NewRef(parameters);
  self->is_async = is_async != 0;
  self->is_functools = is_functools != 0;
  self->core = self->state->core();
  self->is_direct = shape_is_direct(*self->plan);
  self->vectorcall = entry_for(self);
  self->dict = PyDict_New();
  return self->dict == nullptr ? nullptr : holder.release();
}

int function_traverse(PyObject* object, visitproc visit, void* arg) {
  CachedFunction* self = as_function(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->wrapped);
  Py_VISIT(self->cache);
  Py_VISIT(self->backend);
  Py_VISIT(self->dict);
  Py_VISIT(self->parameters);
  Py_VISIT(self->instance);
  Py_VISIT(self->unbound);
  if (self->unbound != nullptr) return 0;
  if (self->terms != nullptr) {
    Py_VISIT(self->terms->ttl_of);
    Py_VISIT(self->terms->condition);
    Py_VISIT(self->terms->copy);
    Py_VISIT(self->terms->tags_of);
  }
  return self->plan == nullptr ? 0 : self->plan->traverse(visit, arg);
}

// The wrapped function and the cache stay until the end: a finalizer in the same cycle may still
// call. Cycles are broken at the attributes, among them __wrapped__, and in the cache.
int function_clear(PyObject* object) {
  CachedFunction* self = as_function(object);
  Py_CLEAR(self->dict);
  return 0;
}

void function_dealloc(PyObject* object) {
  CachedFunction* self = as_function(object);
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (self->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  Py_CLEAR(self->dict);
  Py_CLEAR(self->wrapped);
  Py_CLEAR(self->cache);
  Py_CLEAR(self->backend);
  Py_CLEAR(self->parameters);
  Py_CLEAR(self->instance);
  if (self->unbound != nullptr) {
    Py_CLEAR(self->unbound);
    self->terms = nullptr;
    self->plan = nullptr;
  }
  if (LoadTerms* terms = std::exchange(self->terms, nullptr); terms != nullptr) {
    Py_XDECREF(terms->ttl_of);
    Py_XDECREF(terms->condition);
    Py_XDECREF(terms->copy);
    Py_XDECREF(terms->tags_of);
    delete terms;
  }
  delete self->plan;
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* function_get(PyObject* self, PyObject* instance, PyObject*) {
  if (instance == nullptr || instance == Py_None) return Py_NewRef(self);
  const Ref function = Ref::steal(bind_function(self, instance));
  return function ? PyMethod_New(function.get(), instance) : nullptr;
}

PyObject* function_repr(PyObject* object) {
  const Ref name = Ref::steal(PyObject_GetAttrString(object, "__qualname__"));
  if (!name) {
    PyErr_Clear();
    return PyUnicode_FromFormat("<cached %R at %p>", as_function(object)->wrapped, object);
  }
  return PyUnicode_FromFormat("<cached function %S at %p>", name.get(), object);
}

// ---- methods of the whole

PyObject* cache_clear(PyObject* object, PyObject*) {
  CacheState& state = *as_function(object)->state;
  state.clear();
  state.figures = CacheFigures{};
  Py_RETURN_NONE;
}

PyObject* cache_info(PyObject* object, PyObject*) {
  CacheState& state = *as_function(object)->state;
  CacheState::Extent extent;
  if (!guarded([&] { return state.measure(extent); }, false)) return nullptr;
  const Ref maxsize = Ref::steal(
      state.is_unbounded() ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(state.capacity()));
  if (!maxsize) return nullptr;
  return PyObject_CallFunction(info_type, "KKOn",
                               static_cast<unsigned long long>(state.figures.hits),
                               static_cast<unsigned long long>(state.figures.misses), maxsize.get(),
                               static_cast<Py_ssize_t>(extent.entries));
}

PyObject* stats(PyObject* object, PyObject*) {
  const Ref figures = Ref::steal(figures_of(*as_function(object)->state));
  const Ref nothing = Ref::steal(PyTuple_New(0));
  return figures && nothing ? PyObject_Call(stats_type, nothing.get(), figures.get()) : nullptr;
}

PyObject* cache_parameters(PyObject* object, PyObject*) {
  return PyDict_Copy(as_function(object)->parameters);
}

PyObject* reduce(PyObject* object, PyObject*) {
  return PyObject_GetAttrString(object, "__qualname__");
}

PyObject* copy_self(PyObject* object, PyObject*) { return Py_NewRef(object); }

// ---- for _async.py

PyObject* join(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 4) return PyErr_Format(PyExc_TypeError, "_join(key, args, kwargs, refreshes)");
  return async_join(as_function(object), args[0], {args[1], args[2]}, args[3] == Py_True);
}

// Starts the load: the wrapped function's awaitable.
PyObject* call_async(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  CachedFunction* self = as_function(object);
  if (nargs != 3 || !PyTuple_Check(args[1]))
    return PyErr_Format(PyExc_TypeError, "_call(key, args, kwargs)");
  if (self->instance == nullptr) return PyObject_Call(self->wrapped, args[1], args[2]);
  const Ref instance = Ref::steal(PyTuple_Pack(1, self->instance));
  const Ref all = Ref::steal(instance ? PySequence_Concat(instance.get(), args[1]) : nullptr);
  return all ? PyObject_Call(self->wrapped, all.get(), args[2]) : nullptr;
}

// What a backend is to store, as (ttl, stale, tags); None where it has nothing to.
PyObject* settle(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  CachedFunction* self = as_function(object);
  if (nargs != 5) {
    return PyErr_Format(PyExc_TypeError, "_settle(flight, value, seconds, args, kwargs)");
  }
  const CallArguments arguments{args[3], args[4]};
  StoreTerms store;
  const auto view_key = [self](PyObject* const* key, KeyView& view) {
    return view_of_key(self, key, view);
  };
  switch (settle_async(*self->state, *self->terms, view_key, args[0], args[1], args[2], &arguments,
                       self->backend != nullptr, store)) {
    case Settled::kError:
      return nullptr;
    case Settled::kDone:
      Py_RETURN_NONE;
    case Settled::kStore:
      return terms_for_backend(store);
  }
  Py_UNREACHABLE();
}

// The value to hand out instead of the failure, as (value,); None where it is to be raised.
PyObject* settle_error(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  CachedFunction* self = as_function(object);
  if (nargs != 7) {
    return PyErr_Format(PyExc_TypeError,
                        "_settle_failure(flight, error, seconds, args, kwargs, refreshes, spare)");
  }
  const CallArguments arguments{args[3], args[4]};
  const auto view_key = [self](PyObject* const* key, KeyView& view) {
    return view_of_key(self, key, view);
  };
  return settle_async_failure(*self->state, *self->terms, view_key, args[0], args[1], args[2],
                              &arguments, args[5] == Py_True, args[6]);
}

// ---- attributes

// Of an object that can be called: its method's.
PyObject* get_wrapped_attribute(PyObject* object, void* name) {
  PyObject* wrapped = as_function(object)->wrapped;
  const auto* attribute = static_cast<const char*>(name);
  PyObject* found = PyObject_GetAttrString(wrapped, attribute);
  if (found != nullptr || !PyErr_ExceptionMatches(PyExc_AttributeError)) return found;
  PyErr_Clear();
  const Ref called = Ref::steal(PyObject_GetAttrString(wrapped, "__call__"));
  return called ? PyObject_GetAttrString(called.get(), attribute) : nullptr;
}

// The backend that _cached.py put into __dict__, or the cache.
PyObject* get_cache(PyObject* object, void*) {
  PyObject* dict = as_function(object)->dict;
  PyObject* backend = dict == nullptr ? nullptr : PyDict_GetItemString(dict, "_backend");
  if (backend != nullptr) return Py_NewRef(backend);
  return Py_NewRef(reinterpret_cast<PyObject*>(as_function(object)->cache));
}

PyObject* get_is_method(PyObject* object, void*) {
  return PyBool_FromLong(as_function(object)->instance != nullptr);
}

// Of an instance's method, which has no self; a function's is found behind __wrapped__.
PyObject* get_signature(PyObject* object, void*) {
  CachedFunction* self = as_function(object);
  PyObject* given =
      self->dict == nullptr ? nullptr : PyDict_GetItemString(self->dict, "__signature__");
  if (given != nullptr) return Py_NewRef(given);
  if (self->instance == nullptr) {
    PyErr_SetString(PyExc_AttributeError, "__signature__");
    return nullptr;
  }
  const Ref inspect = Ref::steal(PyImport_ImportModule("inspect"));
  const Ref method = Ref::steal(PyMethod_New(self->wrapped, self->instance));
  if (!inspect || !method) return nullptr;
  return PyObject_CallMethod(inspect.get(), "signature", "O", method.get());
}

int set_signature(PyObject* object, PyObject* value, void*) {
  const Ref dict = Ref::steal(PyObject_GenericGetDict(object, nullptr));
  if (!dict) return -1;
  if (value != nullptr) return PyDict_SetItemString(dict.get(), "__signature__", value);
  if (PyDict_GetItemString(dict.get(), "__signature__") != nullptr) {
    return PyDict_DelItemString(dict.get(), "__signature__");
  }
  PyErr_SetString(PyExc_AttributeError, "__signature__");
  return -1;
}

PyObject* get_instance(PyObject* object, void*) {
  PyObject* instance = as_function(object)->instance;
  return Py_NewRef(instance == nullptr ? Py_None : instance);
}

// Asked for by what makes a new function of the wrapped one's parts, which would pass the cache by:
// FastMCP of class methods, from Python 3.13 on, where these are functions with a class in front.
PyObject* get_no_closure(PyObject*, void*) {
  PyErr_SetString(PyExc_AttributeError,
                  "a cached function has no __closure__: a copy of its parts would not be cached. "
                  "For a class method, give a function that calls it");
  return nullptr;
}

// What _async.py asks for values behind the cache.
PyObject* get_adapter(PyObject* object, void*) {
  PyObject* backend = as_function(object)->backend;
  return Py_NewRef(backend == nullptr ? Py_None : backend);
}

// Seconds that a call waits for a load that another began; None: as long as it takes.
PyObject* get_wait(PyObject* object, void*) {
  const Duration wait = as_function(object)->terms->wait;
  if (wait == kNever) Py_RETURN_NONE;
  return PyFloat_FromDouble(to_seconds(wait));
}

PyObject* get_copy(PyObject* object, void*) {
  PyObject* copy = as_function(object)->terms->copy;
  return Py_NewRef(copy == nullptr ? Py_None : copy);
}

PyObject* get_is_async(PyObject* object, void*) {
  return PyBool_FromLong(as_function(object)->is_async);
}

PyMethodDef function_methods[] = {
    {"cache_clear", cache_clear, METH_NOARGS,
     "cache_clear($self, /)\n--\n\n-> None\n\nForget every result and set the figures to zero."},
    {"cache_info", cache_info, METH_NOARGS,
     "cache_info($self, /)\n--\n\n-> CacheInfo\n\nCacheInfo(hits, misses, maxsize, currsize)."},
    {"stats", stats, METH_NOARGS,
     "stats($self, /)\n--\n\n-> CacheStats\n\nCacheStats of its cache."},
    {"cache_parameters", cache_parameters, METH_NOARGS,
     "cache_parameters($self, /)\n--\n\n-> dict[str, Any]\n\nThe settings, as a new dict."},
    {"_call", fast_function(call_async), METH_FASTCALL,
     "_call($self, /, *steps)\n--\n\n"
     "_call(self, /, *steps: Any) -> Any\n\n"
     "For _async.py."},
    {"_join", fast_function(join), METH_FASTCALL,
     "_join($self, /, *steps)\n--\n\n"
     "_join(self, /, *steps: Any) -> Any\n\n"
     "For _async.py."},
    {"_settle", fast_function(settle), METH_FASTCALL,
     "_settle($self, /, *steps)\n--\n\n"
     "_settle(self, /, *steps: Any) -> Any\n\n"
     "For _async.py."},
    {"_settle_failure", fast_function(settle_error), METH_FASTCALL,
     "_settle_failure($self, /, *steps)\n--\n\n"
     "_settle_failure(self, /, *steps: Any) -> Any\n\n"
     "For _async.py."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For annotations."},
    {"__reduce__", reduce, METH_NOARGS, "Pickled by name, as functions are."},
    {"__copy__", copy_self, METH_NOARGS,
     "__copy__($self, /)\n--\n\n-> Self\n\n"
     "Itself, as functions are."},
    {"__deepcopy__", copy_self, METH_O,
     "__deepcopy__($self, memo, /)\n--\n\n"
     "__deepcopy__(self, memo: Any, /) -> Self\n\n"
     "Itself, as functions are."},
    {nullptr, nullptr, 0, nullptr}};

char code[] = "__code__";
char defaults[] = "__defaults__";
char kwdefaults[] = "__kwdefaults__";
char globals[] = "__globals__";

PyGetSetDef function_getset[] = {
    {"__code__", get_wrapped_attribute, nullptr,
     "-> Any\n\n"
     "Of the wrapped function.",
     code},
    {"__defaults__", get_wrapped_attribute, nullptr,
     "-> Any\n\n"
     "Of the wrapped function.",
     defaults},
    {"__kwdefaults__", get_wrapped_attribute, nullptr,
     "-> Any\n\n"
     "Of the wrapped function.",
     kwdefaults},
    {"__globals__", get_wrapped_attribute, nullptr,
     "-> Any\n\n"
     "Of the wrapped function.",
     globals},
    {"__closure__", get_no_closure, nullptr,
     "-> Any\n\n"
     "Raises AttributeError, with what to do instead.",
     nullptr},
    {"cache", get_cache, nullptr,
     "-> Any\n\n"
     "The Cache that holds the results.",
     nullptr},
    {"_is_method", get_is_method, nullptr,
     "-> bool\n\n"
     "Whether calls put an instance in front.",
     nullptr},
    {"_instance", get_instance, nullptr,
     "-> Any\n\n"
     "Which calls put in front, or None.",
     nullptr},
    {"__signature__", get_signature, set_signature,
     "-> Any\n\n"
     "Of a method that is bound to an instance; else whatever was assigned.",
     nullptr},
    {"_adapter", get_adapter, nullptr,
     "-> Any\n\n"
     "For _async.py.",
     nullptr},
    {"_wait", get_wait, nullptr,
     "-> float | None\n\n"
     "For _async.py.",
     nullptr},
    {"_copy", get_copy, nullptr,
     "-> Callable[[Any], Any] | None\n\n"
     "The copy= hook.",
     nullptr},
    {"_is_async", get_is_async, nullptr,
     "-> bool\n\n"
     "Whether calls return awaitables.",
     nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(CachedFunction, vectorcall), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(CachedFunction, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(CachedFunction, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot function_slots[] = {
    {Py_tp_doc,
     const_cast<char*>(
         "class CachedFunction(Generic[_P, _R_co])\n"
         "__new__(cls, wrapped: Callable[_P, _R_co], cache: CacheBase[Any, Any], plan: tuple[Any, "
         "...], "
         "terms: tuple[Any, ...], parameters: dict[str, Any], adapter: Any, is_async: bool, "
         "is_functools: bool, /) -> CachedFunction[_P, _R_co]\n"
         "__call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co\n"
         // As a class method, on a class, as a method, and as a static method: by what comes first.
         // Of a callable, since mypy infers no first parameter of a class of its own.
         "__get__(self: Callable[Concatenate[_C, _Q], _R], instance: object, owner: _C, /) -> "
         "CachedFunction[_Q, _R]\n"
         "__get__(self, instance: None, owner: type | None = None, /) -> CachedFunction[_P, "
         "_R_co]\n"
         "__get__(self: Callable[Concatenate[_S, _Q], _R], instance: _S, owner: type | None = "
         "None, /) -> CachedFunction[_Q, _R]\n"
         "__get__(self, instance: object, owner: type | None = None, /) -> CachedFunction[_P, "
         "_R_co]\n"
         "__wrapped__: Callable[..., Any]\n__name__: str\n__qualname__: str\nname: str\n\n"
         "A function with a cache in front; made by cached() and lru_cache().")},
    {Py_tp_new, reinterpret_cast<void*>(function_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(function_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(function_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(function_clear)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_descr_get, reinterpret_cast<void*>(function_get)},
    {Py_tp_repr, reinterpret_cast<void*>(function_repr)},
    {Py_tp_methods, function_methods},
    {Py_tp_getset, function_getset},
    {Py_tp_members, members},
    {0, nullptr}};

PyType_Spec function_spec = {"mcp_performance._core.CachedFunction", sizeof(CachedFunction), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
                                 Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
                             function_slots};

PyObject* set_loader(PyObject*, PyObject* function) {
  set_async_loader(function);
  Py_RETURN_NONE;
}

PyObject* set_figure_types(PyObject*, PyObject* args) {
  PyObject *info, *stats_class;
  if (!PyArg_ParseTuple(args, "OO:_set_figure_types", &info, &stats_class)) return nullptr;
  const Ref old_info = Ref::steal(std::exchange(info_type, Py_NewRef(info)));
  const Ref old_stats = Ref::steal(std::exchange(stats_type, Py_NewRef(stats_class)));
  Py_RETURN_NONE;
}

PyMethodDef function_module_methods[] = {
    {"_set_figure_types", set_figure_types, METH_VARARGS,
     "_set_figure_types(info, stats, /)\n--\n\n"
     "_set_figure_types(info: type[Any], stats: type[Any], /) -> None\n\n"
     "CacheInfo and CacheStats."},
    {"_set_async_loader", set_loader, METH_O,
     "_set_async_loader(load, /)\n--\n\n"
     "_set_async_loader(load: Callable[..., Any], /) -> None\n\n"
     "What a miss of a coroutine function awaits."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

PyObject* bind_method(CachedFunction* unbound, PyObject* instance, PyObject* cache) {
  auto* self = reinterpret_cast<CachedFunction*>(function_type->tp_alloc(function_type, 0));
  if (self == nullptr) return nullptr;
  self->wrapped = Py_NewRef(unbound->wrapped);
  self->cache = reinterpret_cast<CacheObject*>(Py_NewRef(cache));
  self->state = self->cache->state;
  self->core = self->state->core();
  self->plan = unbound->plan;
  self->terms = unbound->terms;
  self->parameters = Py_NewRef(unbound->parameters);
  self->instance = Py_NewRef(instance);
  self->unbound = Py_NewRef(as_object(unbound));
  self->dict = Py_NewRef(unbound->dict);
  self->is_async = unbound->is_async;
  self->is_functools = unbound->is_functools;
  self->is_direct = unbound->is_direct;
  self->vectorcall = entry_for(self);
  return as_object(self);
}

bool is_cached_function(PyObject* object) noexcept {
  return PyObject_TypeCheck(object, function_type);
}

bool add_cached_function_type(PyObject* module) {
  function_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&function_spec));
  return function_type != nullptr && add_key_methods(function_type) &&
         PyModule_AddType(module, function_type) == 0 &&
         PyModule_AddFunctions(module, function_module_methods) == 0;
}

}  // namespace mcp::python
