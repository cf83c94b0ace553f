// endpoint.h: the native half of SQLitePool, its blocking twin, and their connections.
//
// One heap type, Endpoint, serves all four: it runs statements on the pool or on one leased
// connection, and either returns an awaitable or waits. The pool's own endpoint owns the PoolState;
// the others hold a reference to it. Everything here needs the interpreter lock.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/completion_queue.h"
#include "base/fork.h"
#include "bindings/base/gil.h"
#include "bindings/sqlite/holders.h"
#include "bindings/sqlite/result.h"
#include "bindings/sqlite/result_cache.h"
#include "bindings/sqlite/rows.h"
#include "sqlite/lease.h"
#include "sqlite/pool.h"

namespace mcp::python {

struct HeldLease;
using HeldLeases = std::vector<const HeldLease*>;  // of one pool, those that exist

// The functions and collations that the connections of one pool hold, once for each reference.
using UserCallables = std::unordered_multiset<PyObject*>;

// What a pool is for Python: the native pool of this process, its results, its settings.
struct PoolState {
  PoolState(sqlite::PoolOptions pool_options, std::size_t cache_bytes, Duration cache_ttl)
      : options(std::move(pool_options)), cache(cache_bytes, cache_ttl) {}

  // The pool; a forked child gets a new one, and leaves its parent's alone.
  sqlite::Pool& pool();
  // The profile of `sql`, an exact or derived str; nullptr with an exception set.
  [[nodiscard]] sqlite::ProfilePtr profile_of(PyObject* sql);
  void drop_profiles();

  // Who waits for the result that another caller is fetching, by cache key. They look again when
  // it is there.
  struct Follower {
    std::shared_ptr<CompletionQueue> queue;
    std::uint64_t id;
  };
  std::unordered_map<std::string, std::vector<Follower>> flights;
  const std::shared_ptr<HeldLeases> leases = std::make_shared<HeldLeases>();
  std::shared_ptr<UserCallables> callables;

  // Whether no thread can be calling what `init` is or has made. Only then is that shown to the
  // garbage collector, which would clear a function while it runs.
  [[nodiscard]] bool is_quiet() const;

  sqlite::PoolOptions options;
  ResultCache cache;
  RowType row_type = RowType::kTuple;
  PyObject* init = nullptr;        // owned, may be null
  PyObject* adapters = nullptr;    // owned dict by Python type, may be null
  PyObject* converters = nullptr;  // owned dict by declared SQL type, may be null
  bool keeps_results = true;       // false where converters make values that a caller can change
  std::shared_ptr<sqlite::Pool> current;
  std::uint32_t generation = process_generation();

 private:
  struct KnownText {
    PyObject* text = nullptr;  // owned, so that its address stays its own
    sqlite::ProfilePtr profile;
  };
  std::array<KnownText, 256> known_texts_;
};

// A lease, and who has it.
struct HeldLease {
  HeldLease(const PoolState& state, bool in_transaction);
  ~HeldLease();
  HeldLease(const HeldLease&) = delete;
  HeldLease& operator=(const HeldLease&) = delete;

  const std::shared_ptr<sqlite::Lease> lease;
  const std::shared_ptr<const Holder> holder;
  const std::shared_ptr<HeldLeases> all;
};

struct Endpoint {
  PyObject_HEAD PoolState* state;  // of the pool's own endpoint
  Endpoint* owner;                 // else: the pool's endpoint, a reference
  HeldLease* held;                 // null: runs on the pool
  bool blocking;

  [[nodiscard]] sqlite::Lease* lease() const {
    return held != nullptr ? held->lease.get() : nullptr;
  }
  // Throws Error when it has none that is open.
  [[nodiscard]] sqlite::Lease& open_lease() const;

  [[nodiscard]] PoolState* pool_state() const { return owner != nullptr ? owner->state : state; }
};

extern PyTypeObject* endpoint_type;

// Sets the exception that stands for `failure`.
void set_python_error_from(const std::exception_ptr& failure) noexcept;

void bind_query(pybind11::module_& module);
extern PyMethodDef query_methods[];  // fetch ... executemany
// Which of them this is; empty for any other function.
[[nodiscard]] std::optional<Kind> kind_of_method(PyCFunction function) noexcept;
// BEGIN, SAVEPOINT and their ends, on a leased connection: an awaitable, or None when blocking.
PyObject* run_control(Endpoint* endpoint, PyObject* sql);

}  // namespace mcp::python
