// The methods of mcp_performance.Cache that load what is missing.
#include <Python.h>

#include <utility>

#include "bindings/cache/arguments.h"
#include "bindings/cache/load.h"
#include "bindings/cache/object.h"

namespace mcp::python {
namespace {

class CallSteps final : public LoadSteps {
 public:
  CallSteps(PyObject* cache, PyObject* key, PyObject* loader)
      : cache_(cache), key_(key), loader_(loader) {}

  PyObject* compute() override { return PyObject_CallOneArg(loader_, key_); }
  PyObject* name() override { return PyObject_Repr(cache_); }

 private:
  PyObject* cache_;
  PyObject* key_;
  PyObject* loader_;
};

// Reads get_or_load(key, loader, *, ttl=..., wait_timeout=None). False with an exception set.
bool read_arguments(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, LoadTerms& terms) {
  const Py_ssize_t keywords = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, k);
    PyObject* value = args[nargs + k];
    if (PyUnicode_CompareWithASCIIString(name, "ttl") == 0) {
      if (value != Py_Ellipsis && !parse_ttl(value, terms.ttl)) return false;
    } else if (PyUnicode_CompareWithASCIIString(name, "wait_timeout") == 0) {
      if (!parse_ttl(value, terms.wait, "wait_timeout")) return false;
    } else {
      PyErr_Format(PyExc_TypeError, "get_or_load() got an unexpected keyword argument '%U'", name);
      return false;
    }
  }
  return true;
}

bool view_key(PyObject* const* key, KeyView& view) { return view_of(key, view); }

}  // namespace

PyObject* cache_get_or_load(PyObject* object, PyObject* const* args, Py_ssize_t nargs,
                            PyObject* kwnames) {
  if (nargs != 2) {
    return call_placed(cache_get_or_load, "get_or_load(key, loader, *, ttl=..., wait_timeout=None)",
                       {"key", "loader"}, object, args, nargs, kwnames);
  }
  CacheState& state = state_of(object);
  LoadTerms terms;
  terms.ttl = state.ttl();
  if (!read_arguments(args, nargs, kwnames, terms)) return nullptr;
  KeyView view;
  if (!view_of(args, view)) return nullptr;
  if (PyObject* value = state.hit(view); value != nullptr) return Py_NewRef(value);
  Lookup lookup = state.look_up(view);
  if (lookup.found == Found::kFailed) return nullptr;
  if (lookup.found == Found::kFresh && !lookup.is_failure) {
    ++state.figures.hits;
    return lookup.value.release();
  }
  if (PyCallable_Check(args[1]) == 0) {
    return PyErr_Format(PyExc_TypeError, "loader=%R: expected a function", args[1]);
  }
  state.count_miss(view, lookup);
  CallSteps steps(object, args[0], args[1]);
  const std::uint64_t absent_at = lookup.absent_at;
  lookup = Lookup{};
  lookup.absent_at = absent_at;
  return guarded([&] { return load_value(state, terms, view, std::move(lookup), steps); }, nullptr);
}

PyObject* cache_join(PyObject* object, PyObject* key) {
  CacheState& state = state_of(object);
  KeyView view;
  if (!view_of(&key, view)) return nullptr;
  Lookup lookup = state.look_up(view);
  if (lookup.found == Found::kFailed) return nullptr;
  if (lookup.found == Found::kFresh && !lookup.is_failure) return found_step(std::move(lookup));
  return join_load(state, LoadTerms{}, key, view, Lookup{}, nullptr, false);
}

PyObject* cache_settle(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 4) return PyErr_Format(PyExc_TypeError, "_settle(flight, value, ttl, seconds)");
  CacheState& state = state_of(object);
  LoadTerms terms;
  terms.ttl = state.ttl();
  if (args[2] != Py_Ellipsis && !parse_ttl(args[2], terms.ttl)) return nullptr;
  StoreTerms store;
  const Settled settled = guarded(
      [&] {
        return settle_async(state, terms, view_key, args[0], args[1], args[3], nullptr, false,
                            store);
      },
      Settled::kError);
  return settled == Settled::kError ? nullptr : Py_NewRef(Py_None);
}

PyObject* cache_settle_failure(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 3) return PyErr_Format(PyExc_TypeError, "_settle_failure(flight, error, seconds)");
  return settle_async_failure(state_of(object), LoadTerms{}, view_key, args[0], args[1], args[2],
                              nullptr, false, Py_None);
}

}  // namespace mcp::python
