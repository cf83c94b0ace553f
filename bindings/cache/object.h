// object.h: the native base of mcp_performance.Cache.
#pragma once

#include <Python.h>

#include <exception>

#include "bindings/cache/state.h"

namespace mcp::python {

struct CacheObject {
  PyObject_HEAD CacheState* state;  // owned
  PyObject* weakrefs;
};

[[nodiscard]] bool is_cache(PyObject* object) noexcept;
[[nodiscard]] inline CacheState& state_of(PyObject* cache) noexcept {
  return *reinterpret_cast<CacheObject*>(cache)->state;
}

// Runs `act` and turns what the core throws into a Python exception.
template <class Act>
auto guarded(Act&& act, decltype(act()) failure) noexcept {
  try {
    return act();
  } catch (const std::exception&) {
    PyErr_NoMemory();
    return failure;
  }
}

// The living value of `key`, counted as a hit or a miss: a new reference; nullptr without an
// exception if it is absent, with one on failure. Inlined into get() and [].
inline PyObject* fetch(CacheState& state, PyObject* key) {
  KeyView view;
  if (!view_of(&key, view)) return nullptr;
  if (PyObject* value = state.hit(view); value != nullptr) [[likely]]
    return Py_NewRef(value);
  Lookup lookup = state.look_up(view);
  if (lookup.found == Found::kFailed) return nullptr;
  if (lookup.found == Found::kFresh && !lookup.is_failure) {
    ++state.figures.hits;
    return lookup.value.release();
  }
  state.count_miss(view, lookup);
  return nullptr;
}

// The figures as a dict, for CacheStats. nullptr with an exception set.
[[nodiscard]] PyObject* figures_of(CacheState& state);

// The methods that load (object_load.cpp), as the method table takes them.
PyObject* cache_get_or_load(PyObject* cache, PyObject* const* args, Py_ssize_t nargs,
                            PyObject* kwnames);
// For _async.py: _join(key), _settle(flight, value, ttl, seconds) and
// _settle_failure(flight, error, seconds).
PyObject* cache_join(PyObject* cache, PyObject* key);
PyObject* cache_settle(PyObject* cache, PyObject* const* args, Py_ssize_t nargs);
PyObject* cache_settle_failure(PyObject* cache, PyObject* const* args, Py_ssize_t nargs);

[[nodiscard]] bool add_cache_type(PyObject* module);
[[nodiscard]] bool add_cache_hooks(PyObject* module);  // hooks.cpp
[[nodiscard]] bool add_front_type(PyObject* module);   // front.cpp

}  // namespace mcp::python
