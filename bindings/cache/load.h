// load.h: a synchronous load: join the one under way, or lead.
#pragma once

#include "bindings/cache/state.h"

namespace mcp::python {

// What a load is made of. Each may run any Python code.
struct LoadSteps {
  virtual ~LoadSteps() = default;
  // The value: a new reference, or nullptr with an exception set.
  virtual PyObject* compute() = 0;
  // Stores what compute() gave, if `leading` still may. `absent_at` as in StoreTerms; `load_ns` is
  // 0 where the load was not timed. False with an exception set.
  virtual bool publish(const Leading& leading, PyObject* value, Duration load_ns,
                       std::uint64_t absent_at) = 0;
  // Whether publish() needs load_ns.
  [[nodiscard]] virtual bool needs_timing() const { return false; }
  // Stores the exception that is set, where failures are cached, and leaves it set.
  virtual void publish_failure(const Leading& leading) = 0;
};

// The value for `view`, which `lookup` did not find fresh: a new reference, or nullptr with an
// exception set. A stale value in `lookup` is handed out while somebody else loads, and when the
// load fails. `joins` false: leads a load of its own even where one is under way.
[[nodiscard]] PyObject* load_value(CacheState& state, const KeyView& view, Lookup lookup,
                                   LoadSteps& steps, bool joins = true);

// For coroutines (_cache_async.py). The next step for whoever wants the value of `key`, which
// `view` views and `lookup` (empty when the load is to be done anew) did not find fresh, as a tuple
// (code, payload). nullptr with an exception set.
[[nodiscard]] PyObject* join_load(CacheState& state, PyObject* key, const KeyView& view,
                                  Lookup lookup, bool refreshes);
// The step of a value or failure that was found.
[[nodiscard]] PyObject* found_step(Lookup lookup);

// The load of `flight` while its result may be stored; nullptr otherwise. `flight` may be None: a
// load that nobody can join, which may be stored.
struct AsyncClaim {
  bool may_store;
  std::uint64_t stamp;
};
[[nodiscard]] AsyncClaim claim_of(const CacheState& state, PyObject* flight) noexcept;

}  // namespace mcp::python
