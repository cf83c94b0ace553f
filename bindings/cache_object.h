// cache_object.h: the native base of mcp_performance.Cache, and helpers shared with cached
// functions.
#pragma once

#include <Python.h>

#include <string>
#include <vector>

#include "cache_state.h"

namespace mcp::python {

struct CacheObject {
  PyObject_HEAD CacheState* state;  // owned
  PyObject* weakrefs;
};

[[nodiscard]] bool is_cache(PyObject* object) noexcept;
[[nodiscard]] inline CacheState& state_of(PyObject* cache) noexcept {
  return *reinterpret_cast<CacheObject*>(cache)->state;
}

// A lifetime as the public API takes it: seconds, timedelta, text, or None for ever. False with an
// exception set that names it.
[[nodiscard]] bool parse_ttl(PyObject* value, Duration& ttl);

// Nanoseconds as an int, or None for ever.
[[nodiscard]] bool parse_nanoseconds(PyObject* value, Duration& ttl);

// The distinct strings of an iterable of str. False with an exception set.
[[nodiscard]] bool parse_tags(PyObject* iterable, std::vector<std::string>& names);

// The figures as a dict, for CacheStats. nullptr with an exception set.
[[nodiscard]] PyObject* figures_of(CacheState& state);

[[nodiscard]] bool add_cache_type(PyObject* module);

}  // namespace mcp::python
