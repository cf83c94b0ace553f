// function.h: a function with a cache in front.
//
// A hit is one vectorcall: no frame, no argument tuple, no allocation. The entry point is chosen at
// construction, by the shape of the signature. Everything else (misses, stale values, failures,
// copies) goes through answer_slowly(). A miss of a coroutine function returns the coroutine of
// _async.load; a hit returns an awaitable that has its answer (answer.h).
//
// REQUIRES: the interpreter lock, everywhere.
#pragma once

#include <Python.h>

#include "bindings/cache/flight.h"
#include "bindings/cache/key_plan.h"
#include "bindings/cache/load.h"
#include "bindings/cache/object.h"

namespace mcp::python {

struct CachedFunction {
  PyObject_HEAD vectorcallfunc vectorcall;
  PyObject* wrapped;
  CacheObject* cache;    // owned
  CacheState* state;     // cache's
  void* core;            // state's, of the type that `vectorcall` was made for
  KeyPlan* plan;         // owned
  LoadTerms* terms;      // owned
  PyObject* backend;     // owned, or nullptr: what _backend.py made of a backend that is no Cache
  PyObject* parameters;  // owned; what cache_parameters() answers
  PyObject* instance;    // owned, or nullptr: of a bound cached method, passed in front of a call
  PyObject* unbound;     // owned, or nullptr: whose plan and terms a bound one shares
  PyObject* dict;
  PyObject* weakrefs;
  bool is_async;
  bool is_direct;     // a call without keywords may be looked up by its arguments as they are
  bool is_functools;  // the contract of functools.lru_cache: no single-flight
};

inline CachedFunction* as_function(PyObject* object) {
  return reinterpret_cast<CachedFunction*>(object);
}
inline PyObject* as_object(CachedFunction* self) { return reinterpret_cast<PyObject*>(self); }

// The arguments of a call as objects; false with an exception set where they could not be made.
struct PackedCall {
  Ref args;
  Ref kwargs;

  explicit PackedCall(const Call& call) : args(Ref::steal(PyTuple_New(call.nargs))) {
    if (!args) return;
    for (Py_ssize_t i = 0; i < call.nargs; ++i) {
      PyTuple_SET_ITEM(args.get(), i, Py_NewRef(call.args[i]));
    }
    kwargs = Ref::steal(PyDict_New());
    for (Py_ssize_t k = 0; kwargs && k < call.keywords(); ++k) {
      if (PyDict_SetItem(kwargs.get(), PyTuple_GET_ITEM(call.kwnames, k),
                         call.args[call.nargs + k]) < 0) {
        kwargs = Ref{};
      }
    }
  }
  explicit operator bool() const noexcept { return args && kwargs; }
};

// The answer to a call that hit() does not know: the value or the coroutine. `is_absent`: no entry
// has the key's hash.
[[nodiscard]] PyObject* answer_slowly(CachedFunction* self, const Call& call, const KeyView& view,
                                      bool is_absent);

// What CachedFunction::vectorcall is to be, by the shape of the signature and the policy.
[[nodiscard]] vectorcallfunc entry_for(const CachedFunction* self) noexcept;

// Loads anew whatever the cache holds, and stores.
[[nodiscard]] PyObject* refresh(CachedFunction* self, const Call& call, const KeyView& view);

// Views `*key`, an object that build_key() made for this function. False with an exception set.
[[nodiscard]] bool view_of_key(const CachedFunction* self, PyObject* const* key, KeyView& view);

// How a backend is to store a value: (seconds or None, seconds that it may be stale, tags,
// seconds that its load took or 0).
[[nodiscard]] PyObject* terms_for_backend(const StoreTerms& store);

// For _async.py; see there. Each returns a new reference, or nullptr with an exception set.
[[nodiscard]] PyObject* async_join(CachedFunction* self, PyObject* key,
                                   const CallArguments& arguments, bool refreshes);

// A CachedFunction for one instance: shares the plan and options of `unbound`, keeps its results in
// `cache`, calls the wrapped function with the instance in front.
[[nodiscard]] PyObject* bind_method(CachedFunction* unbound, PyObject* instance, PyObject* cache);

void set_async_loader(PyObject* function);

// The methods that speak of one call: cache_key(*args, **kwargs), cache_contains, cache_invalidate
// and cache_refresh (function_keys.cpp). What does not fit the function's signature is a TypeError.
[[nodiscard]] bool add_key_methods(PyTypeObject* type);
// What stands for `function` in a bound method of `instance`: its methods of one call put the
// instance in front, as a call does; everything else is the function's.
[[nodiscard]] PyObject* bind_function(PyObject* function, PyObject* instance);
[[nodiscard]] bool add_bound_function_type(PyObject* module);

[[nodiscard]] bool is_cached_function(PyObject* object) noexcept;
[[nodiscard]] bool add_cached_function_type(PyObject* module);
[[nodiscard]] bool add_cached_method_type(PyObject* module);  // method.cpp

}  // namespace mcp::python
