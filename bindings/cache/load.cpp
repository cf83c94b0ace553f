#include "bindings/cache/load.h"

#include <utility>

namespace mcp::python {
namespace {

PyObject* raise_or_return(Lookup& lookup) {
  PyObject* value = lookup.value.release();
  if (!lookup.is_failure) return value;
  PyException_SetTraceback(value, Py_None);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(value)), value);
  Py_DECREF(value);
  return nullptr;
}

// A failed load with a stale value at hand: the value, and the error is forgotten. Interruptions
// (KeyboardInterrupt and the like) are no failures of the loader.
PyObject* fall_back(CacheState& state, Lookup& lookup) {
  if (!lookup.value || lookup.is_failure || !PyErr_ExceptionMatches(PyExc_Exception)) {
    return nullptr;
  }
  PyErr_Clear();
  ++state.figures.stale_served;
  return lookup.value.release();
}

PyObject* lead(CacheState& state, const KeyView& view, Lookup& lookup, LoadSteps& steps) {
  PyObject* key = build_key(view);
  if (key == nullptr) return nullptr;
  Leading leading(state.loads(), key, static_cast<std::uint64_t>(view.hash), state.tag_epoch());
  const unsigned weight = steps.needs_timing() ? 1 : state.timing_weight();
  const Instant begun = weight == 0 ? 0 : now_precise();
  Ref value = Ref::steal(steps.compute());
  const Duration took = weight == 0 ? 0 : now_precise() - begun;
  state.figures.load_ns += took * weight;
  if (!value) {
    ++state.figures.load_errors;
    value = Ref::steal(fall_back(state, lookup));
    if (!value) {
      steps.publish_failure(leading);
      leading.finish_with_error();
      return nullptr;
    }
  } else {
    ++state.figures.loads;
    if (!steps.publish(leading, value.get(), took, lookup.absent_at)) {
      leading.finish_with_error();
      return nullptr;
    }
  }
  leading.finish(value.get());
  return value.release();
}

}  // namespace

PyObject* load_value(CacheState& state, const KeyView& view, Lookup lookup, LoadSteps& steps,
                     bool joins) {
  while (joins && !state.loads().empty()) {
    bool failed = false;
    Load* other = state.loads().find(view, static_cast<std::uint64_t>(view.hash), failed);
    if (failed) return nullptr;
    if (other == nullptr) break;
    if (lookup.value) {
      if (lookup.found == Found::kStale) ++state.figures.stale_served;
      return raise_or_return(lookup);
    }
    PyObject* value = nullptr;
    switch (wait_for_load(*other, &value)) {
      case Waited::kValue:
        return value;
      case Waited::kError:
        return nullptr;
      case Waited::kInline:
        return steps.compute();
      case Waited::kRetry:
        break;
    }
    lookup = state.look_up(view);
    if (lookup.found == Found::kFailed) return nullptr;
    if (lookup.found == Found::kFresh) return raise_or_return(lookup);
  }
  return lead(state, view, lookup, steps);
}

namespace {

// What _cache_async does next; its names for these are the same.
enum : long { kAnswer, kRaise, kLead, kWait, kInline };

PyObject* step(long code, PyObject* payload) {  // takes payload over
  return payload == nullptr ? nullptr : Py_BuildValue("lN", code, payload);
}

}  // namespace

PyObject* found_step(Lookup lookup) {
  return step(lookup.is_failure ? kRaise : kAnswer, lookup.value.release());
}

PyObject* join_load(CacheState& state, PyObject* key, const KeyView& view, Lookup lookup,
                    bool refreshes) {
  const auto hash = static_cast<std::uint64_t>(view.hash);
  bool failed = false;
  Load* other = state.loads().find(view, hash, failed);
  if (failed) return nullptr;
  if (other != nullptr && refreshes) {
    state.loads().remove(*other);
    other = nullptr;
  }
  if (other == nullptr) {
    return step(kLead, begin_async_load(state.loads(), Py_NewRef(key), hash, state.tag_epoch()));
  }
  if (lookup.value) {
    if (lookup.found == Found::kStale) ++state.figures.stale_served;
    return found_step(std::move(lookup));
  }
  PyObject* flight = join_async(*other);
  return step(flight == Py_None ? kInline : kWait, flight);
}

AsyncClaim claim_of(const CacheState& state, PyObject* flight) noexcept {
  if (!is_flight(flight)) return {true, state.tag_epoch()};
  const Load* load = load_of(flight);
  return {load != nullptr && load->table != nullptr, load == nullptr ? 0 : load->epoch};
}

}  // namespace mcp::python
