// outcome.h: how a load ends. The one place where that is decided, for synchronous loads
// (load.cpp), for coroutines (_async.py), for functions and for Cache.get_or_load, with and without
// a backend.
//
// A value is refused if it can be used only once (an awaitable, a generator), then asked
// `condition`, `ttl`, `jitter` and `tags` in this order. What any of them raises is the result of
// the load, for everyone who waits, and nothing is stored.
//
// An Exception gives way to a value that the cache holds at that moment (stale within `stale_ttl`,
// or newer than the load), or that the backend behind it does; it is remembered for `negative_ttl`
// only where there is none, without its frames. What `tags` raises then goes to sys.unraisablehook:
// the function's own error counts. A refresh that fails leaves everything as it is. Everything else
// (a cancellation, SystemExit and the like) is handed on, and nothing is stored.
//
// REQUIRES: the interpreter lock. Each may run any Python code.
#pragma once

#include "bindings/cache/state.h"

namespace mcp::python {

// What the decorator's options say about loading and storing.
struct LoadTerms {
  Duration ttl = kNever;
  double jitter = 0.0;        // share of the ttl that chance may take away
  Duration negative_ttl = 0;  // of exceptions; 0: not stored
  Duration stale_ttl = 0;
  double refresh_ahead = 0.0;     // beta of XFetch; 0: never early
  Duration wait = kNever;         // for a load that somebody else began
  PyObject* ttl_of = nullptr;     // owned, or nullptr; ttl_of(result) -> nanoseconds or None
  PyObject* condition = nullptr;  // condition(result) -> bool
  PyObject* copy = nullptr;       // copy(value) -> what the caller gets
  PyObject* tags_of = nullptr;    // tags_of(args, kwargs) -> tuple of str
  bool tags_are_early = false;    // tags_of needs nothing but the arguments
  bool is_plain = true;           // none of the options but ttl is in use
};

// The arguments of a call as objects.
struct CallArguments {
  PyObject* args;    // a tuple
  PyObject* kwargs;  // a dict
};

// What a backend behind the cache holds of a key.
struct Behind {
  Ref value;  // empty: nothing
  bool is_stale = false;
};

// Why a load begins.
enum class LoadCause : long {
  kMiss,     // nothing is there
  kRenewal,  // what is there is stale, or will be soon
  kRefresh,  // somebody asked for it, whatever is there
};

// The tags of a load that begins; unknown where they cannot be told yet.
[[nodiscard]] LoadTags early_tags(const LoadTerms& terms, const CallArguments& arguments);

// A load that ends, as it is to be judged.
struct Ending {
  CacheState& state;
  const LoadTerms& terms;
  const KeyView& view;
  Load& load;
  const CallArguments* arguments;      // nullptr where no tags are made from them
  Duration took;                       // 0 where it was not timed
  bool refreshes;                      // takes nothing but what the loader gives
  std::uint64_t absent_at = kPresent;  // as in Lookup
};

enum class Settled {
  kError,  // an exception is set
  kDone,   // stored, or not to be
  kStore,  // to be stored behind the cache, by `store`
};

// Whether the loader's `error` would give way to a value that a backend may have: none is here.
[[nodiscard]] bool needs_spare(const Ending& ending, PyObject* error);

// The loader gave `value`. With `has_backend` nothing is stored here, and `store` says how.
[[nodiscard]] Settled settle_value(const Ending& ending, PyObject* value, bool has_backend,
                                   StoreTerms& store);

// The loader raised `error`. What to hand out instead; empty, with no exception set, where the
// error is to be raised. `spare`: the value that the backend holds now, or nullptr.
[[nodiscard]] Ref settle_failure(const Ending& ending, PyObject* error, PyObject* spare);

// Uniform in (0, 1].
[[nodiscard]] double random_unit() noexcept;

}  // namespace mcp::python
