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
  CallSteps(CacheState& state, PyObject* key, const KeyView& view, PyObject* loader, Duration ttl)
      : state_(state), key_(key), view_(view), loader_(loader), ttl_(ttl) {}

  PyObject* compute() override { return PyObject_CallOneArg(loader_, key_); }
  bool publish(const Leading& leading, PyObject* value, Duration,
               std::uint64_t absent_at) override {
    StoreTerms terms;
    terms.ttl = ttl_;
    terms.stamp = leading.epoch();
    terms.absent_at = absent_at;
    return !leading.may_store() || state_.store(view_, leading.key(), value, terms);
  }
  void publish_failure(const Leading&) override {}

 private:
  CacheState& state_;
  PyObject* key_;
  const KeyView& view_;
  PyObject* loader_;
  Duration ttl_;
};

}  // namespace

PyObject* cache_get_or_load(PyObject* object, PyObject* const* args, Py_ssize_t nargs,
                            PyObject* kwnames) {
  CacheState& state = state_of(object);
  Duration ttl = state.ttl();
  if (!read_ttl_argument(args, nargs, kwnames, 2, "get_or_load(key, loader, *, ttl=...)", ttl)) {
    return nullptr;
  }
  KeyView view;
  if (!view_of(args, view)) return nullptr;
  if (PyObject* value = state.hit(view); value != nullptr) return Py_NewRef(value);
  Lookup lookup = state.look_up(view);
  if (lookup.found == Found::kFailed) return nullptr;
  if (lookup.found == Found::kFresh && !lookup.is_failure) {
    ++state.figures.hits;
    return lookup.value.release();
  }
  state.count_miss(view, lookup);
  CallSteps steps(state, args[0], view, args[1], ttl);
  const std::uint64_t absent_at = lookup.absent_at;
  lookup = Lookup{};
  lookup.absent_at = absent_at;
  return guarded([&] { return load_value(state, view, std::move(lookup), steps); }, nullptr);
}

PyObject* cache_join(PyObject* object, PyObject* key) {
  CacheState& state = state_of(object);
  KeyView view;
  if (!view_of(&key, view)) return nullptr;
  Lookup lookup = state.look_up(view);
  if (lookup.found == Found::kFailed) return nullptr;
  if (lookup.found == Found::kFresh && !lookup.is_failure) return found_step(std::move(lookup));
  return join_load(state, key, view, Lookup{}, false);
}

PyObject* cache_publish(PyObject* object, PyObject* args) {
  PyObject *flight, *key, *value, *ttl;
  double seconds;
  if (!PyArg_ParseTuple(args, "OOOOd:_publish", &flight, &key, &value, &ttl, &seconds))
    return nullptr;
  CacheState& state = state_of(object);
  ++state.figures.loads;
  state.figures.load_ns += static_cast<Duration>(seconds * static_cast<double>(kSecond));
  StoreTerms terms;
  terms.ttl = state.ttl();
  if (ttl != Py_Ellipsis && !parse_ttl(ttl, terms.ttl)) return nullptr;
  const AsyncClaim claim = claim_of(state, flight);
  terms.stamp = claim.stamp;
  KeyView view;
  if (!view_of(&key, view)) return nullptr;
  if (claim.may_store && !guarded([&] { return state.store(view, key, value, terms); }, false)) {
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* cache_count_failure(PyObject* object, PyObject* seconds) {
  CacheState& state = state_of(object);
  const double value = PyFloat_AsDouble(seconds);
  if (value == -1.0 && PyErr_Occurred()) return nullptr;
  ++state.figures.load_errors;
  state.figures.load_ns += static_cast<Duration>(value * static_cast<double>(kSecond));
  Py_RETURN_NONE;
}

}  // namespace mcp::python
