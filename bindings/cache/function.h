// function.h: a function with a cache in front.
//
// A hit is one vectorcall: no frame, no argument tuple, no allocation. The entry point is chosen at
// construction, by the shape of the signature. Everything else (misses, stale values, failures,
// copies) goes through answer_slowly(). A miss of a coroutine function returns the coroutine of
// _cache_async.load; a hit returns an awaitable that has its answer (answer.h).
//
// REQUIRES: the interpreter lock, everywhere.
#pragma once

#include <Python.h>

#include "bindings/cache/key_plan.h"
#include "bindings/cache/load.h"
#include "bindings/cache/object.h"

namespace mcp::python {

// What the decorator's options say about loading and storing.
struct LoadTerms {
  Duration ttl = kNever;
  double jitter = 0.0;        // share of the ttl that chance may take away
  Duration negative_ttl = 0;  // of exceptions; 0: not stored
  Duration stale_ttl = 0;
  double refresh_ahead = 0.0;     // beta of XFetch; 0: never early
  PyObject* ttl_of = nullptr;     // owned, or nullptr; ttl_of(result) -> nanoseconds or None
  PyObject* condition = nullptr;  // condition(result) -> bool
  PyObject* copy = nullptr;       // copy(value) -> what the caller gets
  PyObject* tags_of = nullptr;    // tags_of(args, kwargs) -> tuple of str
  bool is_plain = true;           // none of the options but ttl is in use
};

struct CachedFunction {
  PyObject_HEAD vectorcallfunc vectorcall;
  PyObject* wrapped;
  CacheObject* cache;  // owned
  CacheState* state;   // cache's
  void* core;          // state's, of the type that `vectorcall` was made for
  KeyPlan* plan;       // owned
  LoadTerms* terms;    // owned
  PyObject* loader;  // owned, or nullptr; called as loader(key, args, kwargs) in place of wrapped,
                     // and stores by itself: a backend that is no Cache
  PyObject* parameters;  // owned; what cache_parameters() answers
  PyObject* instance;    // owned, or nullptr: of a bound cached method, passed in front of a call
  PyObject* unbound;     // owned, or nullptr: whose plan and terms a bound one shares
  PyObject* dict;
  PyObject* weakrefs;
  bool is_async;
  bool is_direct;     // a call without keywords may be looked up by its arguments as they are
  bool is_functools;  // the contract of functools.lru_cache: no single-flight
};

// The answer to a call that hit() does not know: the value or the coroutine. `is_absent`: no entry
// has the key's hash.
[[nodiscard]] PyObject* answer_slowly(CachedFunction* self, const Call& call, const KeyView& view,
                                      bool is_absent);

// Loads anew whatever the cache holds, and stores.
[[nodiscard]] PyObject* refresh(CachedFunction* self, const Call& call, const KeyView& view);

// Views `*key`, an object that build_key() made for this function. False with an exception set.
[[nodiscard]] bool view_of_key(const CachedFunction* self, PyObject* const* key, KeyView& view);

// For _cache_async; see there. Each returns a new reference, or nullptr with an exception set.
[[nodiscard]] PyObject* async_join(CachedFunction* self, PyObject* key, bool refreshes);
[[nodiscard]] PyObject* async_publish(CachedFunction* self, PyObject* flight, PyObject* key,
                                      PyObject* value, Duration load_ns, PyObject* args,
                                      PyObject* kwargs);
[[nodiscard]] PyObject* async_publish_failure(CachedFunction* self, PyObject* flight, PyObject* key,
                                              PyObject* exception, Duration load_ns, PyObject* args,
                                              PyObject* kwargs);

// A CachedFunction for one instance: shares the plan and options of `unbound`, keeps its results in
// `cache`, calls the wrapped function with the instance in front.
[[nodiscard]] PyObject* bind_method(CachedFunction* unbound, PyObject* instance, PyObject* cache);

void set_async_loader(PyObject* function);

[[nodiscard]] bool is_cached_function(PyObject* object) noexcept;
[[nodiscard]] bool add_cached_function_type(PyObject* module);
[[nodiscard]] bool add_cached_method_type(PyObject* module);  // method.cpp

}  // namespace mcp::python
