// load.h: joining the load of a key that is under way, or leading one.
#pragma once

#include <functional>

#include "bindings/cache/outcome.h"

namespace mcp::python {

// What a synchronous load is made of. Each may run any Python code.
struct LoadSteps {
  virtual ~LoadSteps() = default;
  // The value: a new reference, or nullptr with an exception set.
  virtual PyObject* compute() = 0;
  // The call's arguments, for tags.
  [[nodiscard]] virtual const CallArguments* arguments() { return nullptr; }
  // Looks in the backend behind the cache, if there is one, before the load. False with an
  // exception set.
  [[nodiscard]] virtual bool look_behind(LoadCause, Behind&) { return true; }
  // What the backend holds now, the load having failed: empty for nothing. False with an exception
  // set.
  [[nodiscard]] virtual bool look_again(Ref&) { return true; }
  // Stores there. False with an exception set.
  [[nodiscard]] virtual bool store_behind(PyObject*, const StoreTerms&, Load&) { return true; }
  [[nodiscard]] virtual bool has_backend() const noexcept { return false; }
  // A new str: what loads, for errors.
  [[nodiscard]] virtual PyObject* name() = 0;
};

// The value for `view`, which `lookup` did not find fresh: a new reference, or nullptr with an
// exception set. A stale value in `lookup` is handed out while somebody else loads, and when the
// load fails. `refreshes`: leads a load of its own even where one is under way, and takes nothing
// but what it gives.
[[nodiscard]] PyObject* load_value(CacheState& state, const LoadTerms& terms, const KeyView& view,
                                   Lookup lookup, LoadSteps& steps, bool refreshes = false);

// For coroutines (_async.py). The next step for whoever wants the value of `key`, which `view`
// views and `lookup` (empty when the load is to be done anew) did not find fresh, as a tuple
// (code, payload). nullptr with an exception set.
[[nodiscard]] PyObject* join_load(CacheState& state, const LoadTerms& terms, PyObject* key,
                                  const KeyView& view, Lookup lookup,
                                  const CallArguments* arguments, bool refreshes);
// The step of a value or failure that was found.
[[nodiscard]] PyObject* found_step(Lookup lookup);

// Views `*key`, an object that build_key() made, as its owner does. False with an exception set.
using ViewKey = std::function<bool(PyObject* const* key, KeyView& view)>;
// settle_value() and settle_failure() of the load of `flight`, which took `seconds`. The second
// takes a `spare` as it returns it, (value,) or None; given Ellipsis, it may return that: ask the
// backend, and come back with a spare. nullptr with an exception set.
[[nodiscard]] Settled settle_async(CacheState& state, const LoadTerms& terms,
                                   const ViewKey& view_key, PyObject* flight, PyObject* value,
                                   PyObject* seconds, const CallArguments* arguments,
                                   bool has_backend, StoreTerms& store);
[[nodiscard]] PyObject* settle_async_failure(CacheState& state, const LoadTerms& terms,
                                             const ViewKey& view_key, PyObject* flight,
                                             PyObject* error, PyObject* seconds,
                                             const CallArguments* arguments, bool refreshes,
                                             PyObject* spare);

// What join_async() may answer, as numbers for cache/_async.py. False with an exception set.
bool add_async_steps(PyObject* module);

// Sets the exception of a remembered failure, as one of the caller's own.
void raise_remembered(PyObject* failure);

}  // namespace mcp::python
