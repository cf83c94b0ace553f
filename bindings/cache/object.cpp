// The heap type behind mcp_performance.Cache: the methods that are called per lookup. Those that
// load are in object_load.cpp.
#include <Python.h>

#include "bindings/cache/object.h"

#include <structmember.h>

#include <cstddef>
#include <utility>

#include "bindings/base/methods.h"
#include "bindings/cache/arguments.h"
#include "bindings/cache/counters.h"
#include "bindings/cache/feed_capsule.h"

namespace mcp::python {
namespace {

PyTypeObject* cache_type = nullptr;

CacheObject* as_cache(PyObject* object) { return reinterpret_cast<CacheObject*>(object); }

}  // namespace

bool is_cache(PyObject* object) noexcept { return PyObject_TypeCheck(object, cache_type); }

PyObject* figures_of(CacheState& state) {
  CacheState::Extent extent;
  if (!guarded([&] { return state.measure(extent); }, false)) return nullptr;
  const CacheFigures& f = state.figures;
  const std::uint64_t asked = f.hits + f.misses;
  const double rate = asked == 0 ? 0.0 : static_cast<double>(f.hits) / static_cast<double>(asked);
  const std::uint64_t explained = f.misses_expired + f.misses_evicted;
  const Ref maxsize = Ref::steal(
      state.is_unbounded() ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(state.capacity()));
  if (!maxsize) return nullptr;
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  return Py_BuildValue("{sKsKsdsKsKsdsKsKsKsKsKsKsKsKsOsK}", "hits", number(f.hits), "misses",
                       number(f.misses), "hit_rate", rate, "loads", number(f.loads), "load_errors",
                       number(f.load_errors), "load_seconds", to_seconds(f.load_ns), "evictions",
                       number(f.evictions), "expirations", number(f.expirations), "invalidations",
                       number(f.invalidations), "stale_served", number(f.stale_served),
                       "misses_cold", number(f.misses > explained ? f.misses - explained : 0),
                       "misses_expired", number(f.misses_expired), "misses_evicted",
                       number(f.misses_evicted), "currsize", number(extent.entries), "maxsize",
                       maxsize.get(), "weight", number(extent.weight));
}

namespace {

// ---- construction

PyObject* cache_new(PyTypeObject* type, PyObject*, PyObject*) {
  auto* self = reinterpret_cast<CacheObject*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  self->state = guarded([&] { return new CacheState(reinterpret_cast<PyObject*>(self)); }, nullptr);
  if (self->state != nullptr) return reinterpret_cast<PyObject*>(self);
  Py_DECREF(self);
  return nullptr;
}

// _configure(maxsize, policy, ttl_ns, idle_ns, weigher, on_evict, clock)
PyObject* configure(PyObject* object, PyObject* args) {
  PyObject *maxsize, *ttl, *idle, *weigher, *on_evict, *clock;
  const char* policy;
  if (!PyArg_ParseTuple(args, "OsOOOOO:_configure", &maxsize, &policy, &ttl, &idle, &weigher,
                        &on_evict, &clock)) {
    return nullptr;
  }
  CacheState& state = *as_cache(object)->state;
  if (state.is_configured()) {
    PyErr_SetString(PyExc_RuntimeError, "a cache is set up once; make another, or resize() it");
    return nullptr;
  }
  CacheSettings settings;
  settings.is_unbounded = maxsize == Py_None;
  if (!settings.is_unbounded) {
    settings.capacity = PyLong_AsUnsignedLongLong(maxsize);
    if (PyErr_Occurred()) return nullptr;
  }
  settings.policy = policy;
  if (!cache::Policies::with_name(policy, [](auto) {})) {
    return PyErr_Format(PyExc_ValueError, "policy=%s: there is none of that name", policy);
  }
  Duration idle_ttl = kNever;
  if (!parse_nanoseconds(ttl, settings.ttl) || !parse_nanoseconds(idle, idle_ttl)) return nullptr;
  settings.idle_ttl = idle_ttl == kNever ? 0 : idle_ttl;
  const auto optional = [](PyObject* o) { return o == Py_None ? nullptr : o; };
  settings.weigher = optional(weigher);
  settings.on_evict = optional(on_evict);
  settings.clock = optional(clock);
  return guarded(
      [&]() -> PyObject* {
        state.configure(settings);
        Py_RETURN_NONE;
      },
      nullptr);
}

int cache_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  CacheState* state = as_cache(object)->state;
  return state == nullptr ? 0 : state->traverse(visit, arg);
}

int cache_clear_slot(PyObject* object) {
  if (CacheState* state = as_cache(object)->state; state != nullptr) state->drop_all();
  return 0;
}

void cache_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (as_cache(object)->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  cache_clear_slot(object);
  delete as_cache(object)->state;
  type->tp_free(object);
  Py_DECREF(type);
}

// ---- reading

// Reads (key, default=`fallback`); the key is args[0]. False with an exception set.
inline bool read_default(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
                         const char* usage, PyObject*& fallback) {
  if (kwnames == nullptr && (nargs == 1 || nargs == 2)) [[likely]] {
    if (nargs == 2) fallback = args[1];
    return true;
  }
  const Py_ssize_t keywords = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  const bool named = nargs == 1 && keywords == 1 &&
                     PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "default") == 0;
  if (named) {
    fallback = args[1];
  } else {
    PyErr_SetString(PyExc_TypeError, usage);
  }
  return named;
}

PyObject* get(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject* fallback = Py_None;
  if (!read_default(args, nargs, kwnames, "get(key, default=None)", fallback)) return nullptr;
  PyObject* value = fetch(state_of(object), args[0]);
  if (value != nullptr || PyErr_Occurred()) return value;
  return Py_NewRef(fallback);
}

PyObject* subscript(PyObject* object, PyObject* key) {
  PyObject* value = fetch(state_of(object), key);
  if (value == nullptr && !PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, key);
  return value;
}

int contains(PyObject* object, PyObject* key) {
  KeyView view;
  if (!view_of(&key, view)) return -1;
  const Lookup lookup = as_cache(object)->state->look_up(view, false);
  if (lookup.found == Found::kFailed) return -1;
  return lookup.found == Found::kFresh && !lookup.is_failure;
}

Py_ssize_t length(PyObject* object) {
  CacheState::Extent extent;
  if (!guarded([&] { return as_cache(object)->state->measure(extent); }, false)) return -1;
  return static_cast<Py_ssize_t>(extent.entries);
}

// ---- writing

// Stores and takes any load of the key out: what was set by hand is newer.
bool put(PyObject* object, PyObject* key, PyObject* value, const StoreTerms& terms) {
  CacheState& state = *as_cache(object)->state;
  KeyView view;
  if (!view_of(&key, view)) return false;
  if (!state.loads().fence(view)) return false;
  return guarded([&] { return state.store(view, key, value, terms); }, false);
}

PyObject* set(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  if (nargs != 2) {
    return call_placed(set, "set(key, value, *, ttl=..., tags=())", {"key", "value"}, object, args,
                       nargs, kwnames);
  }
  CacheState& state = *as_cache(object)->state;
  StoreTerms terms;
  terms.ttl = state.ttl();
  terms.is_newest = true;
  terms.stamp = state.tag_epoch();
  const Py_ssize_t keywords = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, k);
    PyObject* value = args[nargs + k];
    if (PyUnicode_CompareWithASCIIString(name, "ttl") == 0) {
      if (value != Py_Ellipsis && !parse_ttl(value, terms.ttl)) return nullptr;
    } else if (PyUnicode_CompareWithASCIIString(name, "tags") == 0) {
      if (!parse_tags(value, terms.tags)) return nullptr;
    } else {
      return PyErr_Format(PyExc_TypeError, "set() got an unexpected keyword argument '%U'", name);
    }
  }
  if (!put(object, args[0], args[1], terms)) return nullptr;
  Py_RETURN_NONE;
}

// Looks, and stores where nothing is fresh, without anybody between.
PyObject* setdefault(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  if (nargs < 1) {
    return call_placed(setdefault, "setdefault(key, default=None)", {"key"}, object, args, nargs,
                       kwnames);
  }
  PyObject* fallback = Py_None;
  if (!read_default(args, nargs, kwnames, "setdefault(key, default=None)", fallback)) {
    return nullptr;
  }
  PyObject* value = fetch(state_of(object), args[0]);
  if (value != nullptr || PyErr_Occurred()) return value;
  CacheState& state = *as_cache(object)->state;
  StoreTerms terms;
  terms.ttl = state.ttl();
  terms.is_newest = true;
  terms.keeps_present = true;
  KeyView view;
  if (!view_of(args, view)) return nullptr;
  if (!guarded([&] { return state.store(view, args[0], fallback, terms); }, false)) return nullptr;
  // What is there may be another's, whose value was first.
  Lookup lookup = state.look_up(view, false);
  if (lookup.found == Found::kFailed) return nullptr;
  const bool is_value = lookup.found == Found::kFresh && !lookup.is_failure;
  return is_value ? lookup.value.release() : Py_NewRef(fallback);
}

// 1, 0 or -1 as CacheState::remove().
int discard(PyObject* object, PyObject* key) {
  KeyView view;
  if (!view_of(&key, view)) return -1;
  return guarded([&] { return as_cache(object)->state->remove(view); }, -1);
}

int assign_subscript(PyObject* object, PyObject* key, PyObject* value) {
  if (value != nullptr) {
    StoreTerms terms;
    terms.ttl = as_cache(object)->state->ttl();
    terms.is_newest = true;
    return put(object, key, value, terms) ? 0 : -1;
  }
  const int removed = discard(object, key);
  if (removed == 0) PyErr_SetObject(PyExc_KeyError, key);
  return removed == 1 ? 0 : -1;
}

PyObject* remove(PyObject* object, PyObject* key) {
  const int removed = discard(object, key);
  return removed < 0 ? nullptr : PyBool_FromLong(removed);
}

PyObject* pop(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject* fallback = nullptr;
  if (!read_default(args, nargs, kwnames, "pop(key[, default])", fallback)) return nullptr;
  CacheState& state = *as_cache(object)->state;
  KeyView view;
  Ref value;
  if (!view_of(args, view)) return nullptr;
  if (guarded([&] { return state.remove(view, &value); }, -1) < 0) return nullptr;
  ++(value ? state.figures.hits : state.figures.misses);
  if (value) return value.release();
  if (fallback != nullptr) return Py_NewRef(fallback);
  PyErr_SetObject(PyExc_KeyError, args[0]);
  return nullptr;
}

// _fill(key, value, ttl_ns, stale_ns, longest_ns, load_ns, holds): stores what a tier behind the
// cache holds, if holds() is true when all else has run. Loads under way stand: it is no newer than
// they are.
PyObject* fill(PyObject* object, PyObject* args) {
  PyObject *key, *value, *ttl, *longest;
  long long stale, load;
  StoreTerms terms;
  if (!PyArg_ParseTuple(args, "OOOLOLO:_fill", &key, &value, &ttl, &stale, &longest, &load,
                        &terms.holds) ||
      !parse_nanoseconds(ttl, terms.ttl) || !parse_nanoseconds(longest, terms.longest)) {
    return nullptr;
  }
  CacheState& state = *as_cache(object)->state;
  terms.stale = stale;
  terms.load_ns = load;
  terms.stamp = state.tag_epoch();
  KeyView view;
  if (!view_of(&key, view)) return nullptr;
  if (!guarded([&] { return state.store(view, key, value, terms); }, false)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* clear(PyObject* object, PyObject*) {
  return guarded(
      [&]() -> PyObject* {
        as_cache(object)->state->clear();
        Py_RETURN_NONE;
      },
      nullptr);
}

PyObject* touch(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  if (nargs < 1) {
    return call_placed(touch, "touch(key, *, ttl=...)", {"key"}, object, args, nargs, kwnames);
  }
  CacheState& state = *as_cache(object)->state;
  Duration ttl = state.ttl();
  if (!read_ttl_argument(args, nargs, kwnames, 1, "touch(key, *, ttl=...)", ttl)) {
    return nullptr;
  }
  KeyView view;
  if (!view_of(args, view)) return nullptr;
  const int touched = state.set_ttl(view, ttl);
  return touched < 0 ? nullptr : PyBool_FromLong(touched);
}

PyObject* expires_in(PyObject* object, PyObject* key) {
  KeyView view;
  Duration left = kNever;
  if (!view_of(&key, view)) return nullptr;
  const int found = as_cache(object)->state->time_left(view, &left);
  if (found == 0) PyErr_SetObject(PyExc_KeyError, key);
  if (found != 1) return nullptr;
  if (left == kNever) Py_RETURN_NONE;
  return PyFloat_FromDouble(to_seconds(left));
}

PyObject* invalidate_tags(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  const Ref tags = Ref::steal(PyTuple_New(nargs));
  if (!tags) return nullptr;
  for (Py_ssize_t i = 0; i < nargs; ++i) PyTuple_SET_ITEM(tags.get(), i, Py_NewRef(args[i]));
  std::vector<std::string> names;
  if (!parse_tags(tags.get(), names)) return nullptr;
  std::size_t killed = 0;
  const bool done =
      guarded([&] { return as_cache(object)->state->invalidate_tags(names, killed); }, false);
  return done ? PyLong_FromSize_t(killed) : nullptr;
}

// ---- the whole

PyObject* list_items(PyObject* object, PyObject* pairs) {
  return as_cache(object)->state->list(pairs == Py_True);
}

PyObject* iterate(PyObject* object) {
  const Ref keys = Ref::steal(as_cache(object)->state->list(false));
  return keys ? PyObject_GetIter(keys.get()) : nullptr;
}

PyObject* figures(PyObject* object, PyObject*) { return figures_of(*as_cache(object)->state); }

PyObject* ttl_nanoseconds(PyObject* object, PyObject*) {
  const Duration ttl = as_cache(object)->state->ttl();
  if (ttl == kNever) Py_RETURN_NONE;
  return PyLong_FromLongLong(ttl);
}

PyObject* reset_figures(PyObject* object, PyObject*) {
  as_cache(object)->state->figures = CacheFigures{};
  Py_RETURN_NONE;
}

PyObject* resize(PyObject* object, PyObject* maxsize) {
  CacheState& state = *as_cache(object)->state;
  std::uint64_t capacity = state.capacity();
  if (maxsize != Py_None) {
    capacity = PyLong_AsUnsignedLongLong(maxsize);
    if (PyErr_Occurred()) return nullptr;
  }
  return guarded(
      [&]() -> PyObject* {
        state.resize(capacity, maxsize == Py_None);
        Py_RETURN_NONE;
      },
      nullptr);
}

// Drops what has expired, at most `budget` entries. Seconds until there may be more; None: never.
PyObject* expire(PyObject* object, PyObject* budget) {
  CacheState& state = *as_cache(object)->state;
  const std::size_t limit = PyLong_AsSize_t(budget);
  if (limit == static_cast<std::size_t>(-1) && PyErr_Occurred()) return nullptr;
  Instant now = 0;
  const bool done = guarded([&] { return state.expire(limit) && state.read_clock(now); }, false);
  if (!done) return nullptr;
  const Instant next = state.next_expiry();
  if (next == kNever) Py_RETURN_NONE;
  const Duration left = std::max<Duration>(0, next - now);
  return PyFloat_FromDouble(to_seconds(left));
}

PyObject* check(PyObject* object, PyObject*) {
  try {
    as_cache(object)->state->check_invariants();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* memory(PyObject* object, PyObject*) {
  return PyLong_FromSize_t(as_cache(object)->state->memory_bytes());
}

PyObject* get_maxsize(PyObject* object, void*) {
  const CacheState& state = *as_cache(object)->state;
  if (state.is_unbounded()) Py_RETURN_NONE;
  return PyLong_FromUnsignedLongLong(state.capacity());
}

PyObject* get_currsize(PyObject* object, void*) {
  const Py_ssize_t size = length(object);
  return size < 0 ? nullptr : PyLong_FromSsize_t(size);
}

PyObject* follow(PyObject* object, PyObject* args) {
  PyObject *capsule, *handler;
  if (!PyArg_ParseTuple(args, "OO", &capsule, &handler)) return nullptr;
  std::shared_ptr<cache::InvalidationFeed> feed;
  if (capsule != Py_None) {
    void* held = PyCapsule_GetPointer(capsule, kFeedCapsule);
    if (held == nullptr) return nullptr;
    feed = *static_cast<std::shared_ptr<cache::InvalidationFeed>*>(held);
  }
  const bool follows =
      as_cache(object)->state->follow(std::move(feed), capsule == Py_None ? nullptr : handler);
  return PyBool_FromLong(follows);
}

PyMethodDef object_methods[] = {
    {"get", keyword_function(get), METH_FASTCALL | METH_KEYWORDS,
     "get(self, key: _K, default: None = None, /) -> _V | None\n"
     "get(self, key: _K, default: _V, /) -> _V\n"
     "get(self, key: _K, default: _D, /) -> _V | _D\n\n"
     "The value, or *default* if there is none that lives."},
    {"set", keyword_function(set), METH_FASTCALL | METH_KEYWORDS,
     "set($self, key, value, *, ttl=..., tags=())\n--\n\n"
     "set(self, key: _K, value: _V, *, ttl: Any = ..., tags: Iterable[str] = ()) -> None\n\n"
     "Store; without *ttl* for the cache's own."},
    {"setdefault", keyword_function(setdefault), METH_FASTCALL | METH_KEYWORDS,
     "setdefault($self, key, default=None)\n--\n\n"
     "setdefault(self: CacheBase[_K, _D | None], key: _K, default: None = None) -> _D | None\n"
     "setdefault(self, key: _K, default: _V) -> _V\n\n"
     "The value; where there is none, *default* is stored first, without anybody between."},
    {"delete", remove, METH_O,
     "delete($self, key, /)\n--\n\n"
     "delete(self, key: _K, /) -> bool\n\n"
     "Forget *key*; whether there was something to forget."},
    {"clear", clear, METH_NOARGS,
     "clear($self, /)\n--\n\n-> None\n\n"
     "Forget everything. Loads under way are not stored."},
    {"touch", keyword_function(touch), METH_FASTCALL | METH_KEYWORDS,
     "touch($self, key, *, ttl=...)\n--\n\n"
     "touch(self, key: _K, *, ttl: Any = ...) -> bool\n\n"
     "Start the time to live anew; whether the key was there."},
    {"expires_in", expires_in, METH_O,
     "expires_in($self, key, /)\n--\n\n"
     "expires_in(self, key: _K, /) -> float | None\n\n"
     "Seconds until *key* expires, None if it never does; KeyError if it is absent."},
    {"invalidate_tags", fast_function(invalidate_tags), METH_FASTCALL,
     "invalidate_tags($self, /, *tags)\n--\n\n"
     "invalidate_tags(self, /, *tags: str) -> int\n\n"
     "Forget every entry that carries one of them, in O(1); how many did."},
    {"get_or_load", keyword_function(cache_get_or_load), METH_FASTCALL | METH_KEYWORDS,
     "get_or_load($self, key, loader, *, ttl=..., wait_timeout=None)\n--\n\n"
     "get_or_load(self, key: _K, loader: Callable[[_K], _V], *, ttl: Any = ..., wait_timeout: Any "
     "= None) -> _V\n\n"
     "The value; a miss calls loader(key), once at a time. Who waits longer than *wait_timeout* "
     "seconds for the load of another gets LoadTimeout."},
    {"pop", keyword_function(pop), METH_FASTCALL | METH_KEYWORDS,
     "pop(self, key: _K, /) -> _V\n"
     "pop(self, key: _K, /, default: _V) -> _V\n"
     "pop(self, key: _K, /, default: _D) -> _V | _D\n\n"
     "Take the value out; *default*, or KeyError, if there is none. A load "
     "under way is not stored."},
    {"_join", cache_join, METH_O,
     "_join($self, key, /)\n--\n\n"
     "_join(self, key: Any, /) -> tuple[int, Any]\n\n"
     "For _async.py."},
    {"_settle", fast_function(cache_settle), METH_FASTCALL,
     "_settle($self, flight, value, ttl, seconds, /)\n--\n\n"
     "_settle(self, flight: Flight, value: Any, ttl: Any, seconds: float, /) -> None\n\n"
     "For _async.py."},
    {"_settle_failure", fast_function(cache_settle_failure), METH_FASTCALL,
     "_settle_failure($self, flight, error, seconds, /)\n--\n\n"
     "_settle_failure(self, flight: Flight, error: BaseException, seconds: float, /) -> tuple[Any] "
     "| None\n\n"
     "For _async.py."},
    {"_fill", fill, METH_VARARGS,
     "_fill($self, key, value, ttl_ns, stale_ns, longest_ns, load_ns, holds, /)\n--\n\n"
     "_fill(self, key: Any, value: Any, ttl_ns: int | None, stale_ns: int, longest_ns: int | None, "
     "load_ns: int, holds: Callable[[], bool], /) -> None\n\n"
     "For a tier: store what is behind."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "For annotations."},
    {"_configure", configure, METH_VARARGS,
     "_configure($self, maxsize, policy, ttl_ns, idle_ns, weigher, on_evict, clock, /)\n--\n\n"
     "_configure(self, maxsize: int | None, policy: str, ttl_ns: int | None, idle_ns: int | None, "
     "weigher: Callable[[_K, _V], int] | None, on_evict: Callable[[_K, _V, str], object] | None, "
     "clock: Callable[[], float] | None, /) -> None\n\n"
     "Settings, while the cache is empty."},
    {"_list", list_items, METH_O,
     "_list($self, pairs, /)\n--\n\n"
     "_list(self, pairs: bool, /) -> list[Any]\n\n"
     "The living keys, or (True) the pairs."},
    {"_figures", figures, METH_NOARGS,
     "_figures($self, /)\n--\n\n-> dict[str, Any]\n\n"
     "The fields of CacheStats."},
    {"_ttl_nanoseconds", ttl_nanoseconds, METH_NOARGS,
     "_ttl_nanoseconds($self, /)\n--\n\n-> int | None\n\n"
     "The default lifetime; None: for ever."},
    {"_reset_figures", reset_figures, METH_NOARGS,
     "_reset_figures($self, /)\n--\n\n-> None\n\n"
     "Count from zero."},
    {"_resize", resize, METH_O,
     "_resize($self, maxsize, /)\n--\n\n"
     "_resize(self, maxsize: int | None, /) -> None\n\n"
     "A new capacity; None: no bound."},
    {"_expire", expire, METH_O,
     "_expire($self, budget, /)\n--\n\n"
     "_expire(self, budget: int, /) -> float | None\n\n"
     "Drop up to so many expired entries; seconds until there are more."},
    {"_follow", follow, METH_VARARGS,
     "_follow($self, feed, handler, /)\n--\n\n"
     "_follow(self, feed: object | None, handler: Callable[[], object] | None, /) -> bool\n\n"
     "Call the handler before a hit when the feed has news; (None, None) ends that."},
    {"_check_invariants", check, METH_NOARGS,
     "_check_invariants($self, /)\n--\n\n-> None\n\n"
     "Raise RuntimeError if the core is inconsistent."},
    {"_memory_bytes", memory, METH_NOARGS,
     "_memory_bytes($self, /)\n--\n\n-> int\n\n"
     "Memory beyond what keys and values own."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef object_getset[] = {{"maxsize", get_maxsize, nullptr,
                                "-> int | None\n\n"
                                "Capacity; None: no bound.",
                                nullptr},
                               {"currsize", get_currsize, nullptr,
                                "-> int\n\n"
                                "Entries that live, as iteration shows them.",
                                nullptr},
                               {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef object_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(CacheObject, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot object_slots[] = {
    {Py_tp_doc, const_cast<char*>("class CacheBase(Generic[_K, _V])\n"
                                  "__new__(cls, *args: Any, **kwargs: Any) -> Self\n"
                                  "__getitem__(self, key: _K, /) -> _V\n"
                                  "__setitem__(self, key: _K, value: _V, /) -> None\n"
                                  "__delitem__(self, key: _K, /) -> None\n"
                                  "__len__(self) -> int\n"
                                  "__iter__(self) -> Iterator[_K]\n"
                                  "__contains__(self, key: object, /) -> bool\n\n"
                                  "The native base of mcp_performance.Cache.")},
    {Py_tp_new, reinterpret_cast<void*>(cache_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(cache_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(cache_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(cache_clear_slot)},
    {Py_tp_iter, reinterpret_cast<void*>(iterate)},
    {Py_mp_subscript, reinterpret_cast<void*>(subscript)},
    {Py_mp_ass_subscript, reinterpret_cast<void*>(assign_subscript)},
    {Py_mp_length, reinterpret_cast<void*>(length)},
    {Py_sq_contains, reinterpret_cast<void*>(contains)},
    {Py_tp_methods, object_methods},
    {Py_tp_getset, object_getset},
    {Py_tp_members, object_members},
    {0, nullptr}};

PyType_Spec object_spec = {"mcp_performance._core.CacheBase", sizeof(CacheObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
                           object_slots};

}  // namespace

bool add_cache_type(PyObject* module) {
  if (!tuple_hash_is_known()) {
    PyErr_SetString(PyExc_ImportError, "this interpreter hashes tuples in a way that is not known");
    return false;
  }
  cache_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&object_spec));
  add_counter_kind(cache_counters);
  return cache_type != nullptr && PyModule_AddType(module, cache_type) == 0 &&
         add_cache_hooks(module);
}

}  // namespace mcp::python
