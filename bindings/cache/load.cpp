// A synchronous load, and the steps of one that a coroutine makes.
#include "bindings/cache/load.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "bindings/base/saved_error.h"
#include "bindings/base/shared_error.h"
#include "bindings/cache/flight.h"

namespace mcp::python {
namespace {

PyObject* raise_or_return(Lookup& lookup) {
  if (!lookup.is_failure) return lookup.value.release();
  raise_remembered(lookup.value.get());
  return nullptr;
}

LoadCause cause_of(const Lookup& lookup, bool refreshes) {
  if (refreshes) return LoadCause::kRefresh;
  return lookup.value && !lookup.is_failure ? LoadCause::kRenewal : LoadCause::kMiss;
}

// The loader raised what is set: the value that takes its place, or an empty Ref with it set again.
Ref end_failed(const Ending& ending, LoadSteps& steps) {
  Ref error = take_error();
  Ref spare;
  if (steps.has_backend() && needs_spare(ending, error.get()) && !steps.look_again(spare)) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return {};  // KeyboardInterrupt
    PyErr_WriteUnraisable(error.get());                       // the function's own error counts
  }
  Ref instead = settle_failure(ending, error.get(), spare.get());
  if (!instead) set_error(std::move(error));
  return instead;
}

bool end_well(const Ending& ending, PyObject* value, LoadSteps& steps) {
  StoreTerms store;
  switch (settle_value(ending, value, steps.has_backend(), store)) {
    case Settled::kError:
      return false;
    case Settled::kDone:
      return true;
    case Settled::kStore:
      return steps.store_behind(value, store, ending.load);
  }
  Py_UNREACHABLE();
}

// The result of the load that `leading` leads; an empty Ref with an exception set.
Ref run(CacheState& state, const LoadTerms& terms, const KeyView& view, Load& load,
        LoadSteps& steps, LoadCause cause, std::uint64_t absent_at) {
  Behind behind;
  if (!steps.look_behind(cause, behind)) return {};
  if (behind.value && !behind.is_stale) return std::move(behind.value);
  const unsigned weight = terms.refresh_ahead > 0 ? 1 : state.timing_weight();
  const Instant begun = weight == 0 ? 0 : now_precise();
  Ref value = Ref::steal(steps.compute());
  const Duration took = weight == 0 ? 0 : now_precise() - begun;
  state.figures.load_ns += took * weight;
  const CallArguments* arguments = terms.tags_of == nullptr ? nullptr : steps.arguments();
  const bool refreshes = cause == LoadCause::kRefresh;
  const Ending ending{state, terms, view, load, arguments, took, refreshes, absent_at};
  if (!value) return end_failed(ending, steps);
  return end_well(ending, value.get(), steps) ? std::move(value) : Ref();
}

PyObject* lead(CacheState& state, const LoadTerms& terms, const KeyView& view, Lookup& lookup,
               LoadSteps& steps, bool refreshes) {
  LoadTags tags;
  if (terms.tags_of != nullptr) {
    const CallArguments* arguments = steps.arguments();
    if (arguments == nullptr) return nullptr;
    tags = early_tags(terms, *arguments);
  }
  PyObject* key = build_key(view);
  if (key == nullptr) return nullptr;
  if (refreshes && !state.loads().fence(view)) {
    Py_DECREF(key);
    return nullptr;
  }
  const LoadCause cause = cause_of(lookup, refreshes);
  lookup.value = Ref{};  // looked up again, should the load fail
  Leading leading(state.loads(), key, static_cast<std::uint64_t>(view.hash), state.tag_epoch(),
                  std::move(tags));
  Ref value = run(state, terms, view, leading.load(), steps, cause, lookup.absent_at);
  if (value) {
    leading.finish(value.get());
  } else {
    leading.finish_with_error();
  }
  return value.release();
}

void raise_timeout(const KeyView& view, LoadSteps& steps, const LoadTerms& terms) {
  const Ref name = Ref::steal(steps.name());
  const Ref key = Ref::steal(name ? build_key(view) : nullptr);
  if (key) raise_load_timeout(name.get(), key.get(), terms.wait);
}

}  // namespace

void raise_remembered(PyObject* failure) {
  const Ref own = own_exception(failure);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(own.get())), own.get());
}

PyObject* load_value(CacheState& state, const LoadTerms& terms, const KeyView& view, Lookup lookup,
                     LoadSteps& steps, bool refreshes) {
  while (!refreshes && !state.loads().empty()) {
    bool failed = false;
    Load* other = state.loads().find_open(view, failed);
    if (failed) return nullptr;
    if (other == nullptr) break;
    if (lookup.value) {
      if (lookup.found == Found::kStale) ++state.figures.stale_served;
      return raise_or_return(lookup);
    }
    PyObject* value = nullptr;
    switch (wait_for_load(*other, &value, terms.wait)) {
      case Waited::kValue:
        return value;
      case Waited::kError:
        return nullptr;
      case Waited::kInline:
        return steps.compute();
      case Waited::kTimeout:
        raise_timeout(view, steps, terms);
        return nullptr;
      case Waited::kRetry:
        break;
    }
    lookup = state.look_up(view);
    if (lookup.found == Found::kFailed) return nullptr;
    if (lookup.found == Found::kFresh) return raise_or_return(lookup);
  }
  return lead(state, terms, view, lookup, steps, refreshes);
}

namespace {

// What _async.py does next; its names for these are the same.
enum : long { kAnswer, kRaise, kWait, kInline, kLead };  // kLead + a LoadCause

PyObject* step(long code, PyObject* payload) {  // takes payload over
  return payload == nullptr ? nullptr : Py_BuildValue("lN", code, payload);
}

}  // namespace

PyObject* found_step(Lookup lookup) {
  if (!lookup.is_failure) return step(kAnswer, lookup.value.release());
  return step(kRaise, own_exception(lookup.value.get()).release());
}

PyObject* join_load(CacheState& state, const LoadTerms& terms, PyObject* key, const KeyView& view,
                    Lookup lookup, const CallArguments* arguments, bool refreshes) {
  LoadTags tags;
  if (terms.tags_of != nullptr) tags = early_tags(terms, *arguments);
  bool failed = false;
  Load* other = refreshes ? nullptr : state.loads().find_open(view, failed);
  if (failed) return nullptr;
  if (other == nullptr) {
    if (refreshes && !state.loads().fence(view)) return nullptr;
    const long cause = static_cast<long>(cause_of(lookup, refreshes));
    return step(kLead + cause, begin_async_load(state.loads(), Py_NewRef(key),
                                                static_cast<std::uint64_t>(view.hash),
                                                state.tag_epoch(), std::move(tags)));
  }
  if (lookup.value) {
    if (lookup.found == Found::kStale) ++state.figures.stale_served;
    return found_step(std::move(lookup));
  }
  PyObject* flight = join_async(*other);
  return step(flight == Py_None ? kInline : kWait, flight);
}

namespace {

Duration nanoseconds_of(PyObject* seconds) {
  const double value = PyFloat_AsDouble(seconds);
  if (value == -1.0 && PyErr_Occurred()) PyErr_Clear();
  return value > 0 ? from_seconds(value) : 0;
}

// The load of a flight that has not ended; nullptr with an exception set.
Load* load_under_way(PyObject* flight) {
  Load* load = is_flight(flight) ? as_flight(flight)->load : nullptr;
  if (load == nullptr) PyErr_SetString(PyExc_RuntimeError, "the load has ended");
  return load;
}

}  // namespace

Settled settle_async(CacheState& state, const LoadTerms& terms, const ViewKey& view_key,
                     PyObject* flight, PyObject* value, PyObject* seconds,
                     const CallArguments* arguments, bool has_backend, StoreTerms& store) {
  Load* load = load_under_way(flight);
  KeyView view;
  if (load == nullptr || !view_key(&load->key, view)) return Settled::kError;
  const Duration took = nanoseconds_of(seconds);
  state.figures.load_ns += took;
  return settle_value({state, terms, view, *load, arguments, took, false}, value, has_backend,
                      store);
}

PyObject* settle_async_failure(CacheState& state, const LoadTerms& terms, const ViewKey& view_key,
                               PyObject* flight, PyObject* error, PyObject* seconds,
                               const CallArguments* arguments, bool refreshes, PyObject* spare) {
  Load* load = load_under_way(flight);
  KeyView view;
  if (load == nullptr || !view_key(&load->key, view)) return nullptr;
  const Duration took = nanoseconds_of(seconds);
  const Ending ending{state, terms, view, *load, arguments, took, refreshes};
  if (spare == Py_Ellipsis && needs_spare(ending, error)) return Py_NewRef(Py_Ellipsis);
  state.figures.load_ns += took;
  PyObject* instead_of = PyTuple_CheckExact(spare) ? PyTuple_GET_ITEM(spare, 0) : nullptr;
  const Ref instead = settle_failure(ending, error, instead_of);
  return instead ? PyTuple_Pack(1, instead.get()) : Py_NewRef(Py_None);
}

bool add_async_steps(PyObject* module) {
  const std::pair<const char*, long> steps[] = {{"STEP_ANSWER", kAnswer},
                                                {"STEP_RAISE", kRaise},
                                                {"STEP_LEAD", kLead},
                                                {"STEP_WAIT", kWait},
                                                {"STEP_INLINE", kInline}};
  return std::all_of(std::begin(steps), std::end(steps), [module](const auto& one) {
    return PyModule_AddIntConstant(module, one.first, one.second) == 0;
  });
}

}  // namespace mcp::python
