// How a load ends: what is stored, and what its callers get.
#include "bindings/cache/outcome.h"

#include <algorithm>
#include <string_view>

#include "bindings/base/shared_error.h"
#include "bindings/cache/arguments.h"
#include "bindings/cache/flight.h"

namespace mcp::python {
namespace {

bool is_awaitable(PyObject* value) noexcept {
  const PyAsyncMethods* methods = Py_TYPE(value)->tp_as_async;
  return methods != nullptr && methods->am_await != nullptr;
}

// A generator, or one of the iterators that built-in functions and `itertools` make of something
// else. Not one that never ends: that may be shared on purpose.
bool is_spent_once(PyObject* value) noexcept {
  const PyTypeObject* const type = Py_TYPE(value);
  if (PyAsyncGen_CheckExact(value)) return true;
  if (type->tp_iternext == nullptr) return false;
  const std::string_view name = type->tp_name;
  if (!name.starts_with("itertools.")) {
    const bool is_built_in = (type->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0;
    return is_built_in && name.find('.') == std::string_view::npos;
  }
  return name != "itertools.count" && name != "itertools.cycle" && name != "itertools.repeat";
}

void close_coroutine(PyObject* value) {
  if (!PyCoro_CheckExact(value)) return;
  // So that nobody is told that it was never awaited.
  const Ref closed = Ref::steal(PyObject_CallMethod(value, "close", nullptr));
  if (!closed) PyErr_WriteUnraisable(value);
}

// Refuses what can be used only once. False with an exception set.
bool is_reusable(PyObject* value) {
  const bool awaitable = is_awaitable(value);
  if (!awaitable && !is_spent_once(value)) [[likely]]
    return true;
  close_coroutine(value);
  if (awaitable) {
    PyErr_Format(PyExc_TypeError,
                 "a result to be cached is awaitable, and so of use only once: '%.200s'. Decorate "
                 "an `async def` function that awaits it; with a Cache, use aget_or_load()",
                 Py_TYPE(value)->tp_name);
  } else {
    PyErr_Format(PyExc_TypeError,
                 "a result to be cached is a generator or an iterator, and so of use only once: "
                 "'%.200s'. Return a list or a tuple of what it yields",
                 Py_TYPE(value)->tp_name);
  }
  return false;
}

bool make_tags(const LoadTerms& terms, const CallArguments& arguments,
               std::vector<std::string>& names) {
  PyObject* call[] = {arguments.args, arguments.kwargs};
  const Ref tags = Ref::steal(PyObject_Vectorcall(terms.tags_of, call, 2, nullptr));
  return tags && parse_tags(tags.get(), names);
}

// Fills store.tags. From here on an invalidation of one of them fences the load exactly; one that
// came before, while they were not known, fences it now.
bool add_tags(const Ending& ending, StoreTerms& store) {
  if (ending.terms.tags_of == nullptr) return true;
  LoadTags& tags = ending.load.tags;
  if (!tags.are_known) {
    tags.names.clear();
    if (!make_tags(ending.terms, *ending.arguments, tags.names)) return false;
    tags.are_known = true;
    if (ending.load.may_store() && ending.state.was_invalidated(tags.names, ending.load.epoch)) {
      ending.load.table->remove(ending.load);
    }
  }
  store.tags = tags.names;
  return true;
}

// Fills `store` from the options: kStore, kDone where the value is not to be stored, or kError.
Settled plan_store(const Ending& ending, PyObject* value, StoreTerms& store) {
  const LoadTerms& terms = ending.terms;
  if (terms.is_plain) return Settled::kStore;
  if (terms.condition != nullptr) {
    const Ref answer = Ref::steal(PyObject_CallOneArg(terms.condition, value));
    if (answer && is_awaitable(answer.get())) {  // it would be true
      close_coroutine(answer.get());
      PyErr_SetString(PyExc_TypeError, "condition= returned an awaitable");
      return Settled::kError;
    }
    const int wanted = answer ? PyObject_IsTrue(answer.get()) : -1;
    if (wanted <= 0) return wanted < 0 ? Settled::kError : Settled::kDone;
  }
  if (terms.ttl_of != nullptr) {
    const Ref answer = Ref::steal(PyObject_CallOneArg(terms.ttl_of, value));
    if (!answer || !parse_nanoseconds(answer.get(), store.ttl)) return Settled::kError;
    if (store.ttl <= 0) return Settled::kDone;
  }
  if (terms.jitter > 0 && store.ttl != kNever) {
    const double kept = 1.0 - terms.jitter * random_unit();
    store.ttl = std::max<Duration>(1, static_cast<Duration>(static_cast<double>(store.ttl) * kept));
  }
  store.stale = store.ttl == kNever ? 0 : terms.stale_ttl;
  store.load_ns = terms.refresh_ahead > 0 ? std::max<Duration>(ending.took, 1) : 0;
  return add_tags(ending, store) ? Settled::kStore : Settled::kError;
}

// Remembers the error without its frames. Leaves no exception set.
void remember(const Ending& ending, PyObject* error) {
  const Ref kept = frameless_exception(error);
  if (!kept) return;  // of a type that cannot be copied: the error itself holds frames
  StoreTerms store;
  store.ttl = ending.terms.negative_ttl;
  store.is_failure = true;
  store.stamp = ending.load.epoch;
  store.claim = &ending.load;
  if (!add_tags(ending, store) ||
      !ending.state.store(ending.view, ending.load.key, kept.get(), store)) {
    PyErr_WriteUnraisable(error);
  }
}

bool gives_way(const Ending& ending, PyObject* error) noexcept {
  return !ending.refreshes && PyErr_GivenExceptionMatches(error, PyExc_Exception) != 0;
}

}  // namespace

// xorshift64*. The interpreter lock guards the state.
double random_unit() noexcept {
  static std::uint64_t state = static_cast<std::uint64_t>(now_precise()) | 1;
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  const std::uint64_t bits = (state * 0x2545F4914F6CDD1DULL) >> 11;
  return (static_cast<double>(bits) + 1.0) * 0x1p-53;
}

LoadTags early_tags(const LoadTerms& terms, const CallArguments& arguments) {
  LoadTags tags;
  if (terms.tags_of == nullptr) return tags;
  tags.are_known = terms.tags_are_early && make_tags(terms, arguments, tags.names);
  PyErr_Clear();  // made again when the load ends, where the error has its place
  return tags;
}

Settled settle_value(const Ending& ending, PyObject* value, bool has_backend, StoreTerms& store) {
  ++ending.state.figures.loads;
  if (!is_reusable(value)) return Settled::kError;
  store.ttl = ending.terms.ttl;
  store.stamp = ending.load.epoch;
  store.claim = &ending.load;
  store.absent_at = ending.absent_at;
  const Settled planned = plan_store(ending, value, store);
  if (planned != Settled::kStore || !ending.load.may_store()) {
    return planned == Settled::kError ? planned : Settled::kDone;
  }
  if (has_backend) return Settled::kStore;
  return ending.state.store(ending.view, ending.load.key, value, store) ? Settled::kDone
                                                                        : Settled::kError;
}

bool needs_spare(const Ending& ending, PyObject* error) {
  if (ending.terms.stale_ttl <= 0 || !gives_way(ending, error)) return false;
  const Lookup lookup = ending.state.look_up(ending.view, false);
  if (lookup.found == Found::kFailed) {
    PyErr_WriteUnraisable(error);
    return false;
  }
  return !lookup.value || lookup.is_failure;
}

Ref settle_failure(const Ending& ending, PyObject* error, PyObject* spare) {
  CacheState& state = ending.state;
  ++state.figures.load_errors;
  if (!gives_way(ending, error)) return {};
  Lookup lookup = state.look_up(ending.view, false);
  if (lookup.found == Found::kFailed) {
    PyErr_WriteUnraisable(error);
    return {};
  }
  Ref instead;
  if (lookup.value && !lookup.is_failure) {
    instead = std::move(lookup.value);
  } else if (spare != nullptr) {
    instead = Ref::borrow(spare);
  }
  if (instead) {
    ++state.figures.stale_served;
  } else if (ending.terms.negative_ttl > 0) {
    remember(ending, error);
  }
  return instead;
}

}  // namespace mcp::python
