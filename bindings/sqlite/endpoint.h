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
#include <vector>

#include "base/completion_queue.h"
#include "base/fork.h"
#include "bindings/base/gil.h"
#include "bindings/sqlite/holders.h"
#include "bindings/sqlite/result.h"
#include "bindings/sqlite/result_cache.h"
#include "bindings/sqlite/rows.h"
#include "sqlite/pool.h"

namespace mcp::python {

struct Lease;
using Leases = std::vector<const Lease*>;  // of one pool, those that exist

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
  const std::shared_ptr<Leases> leases = std::make_shared<Leases>();

  sqlite::PoolOptions options;
  ResultCache cache;
  std::string spare_key;  // memory for the next look into the cache
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

// A connection that one caller keeps for a while.
struct Lease {
  Lease(const PoolState& state, bool in_transaction);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  // Idempotent. Rolls back on a worker if a transaction is open.
  void end();
  [[nodiscard]] bool open() const noexcept {
    return slot != nullptr && generation == process_generation();
  }

  const std::shared_ptr<sqlite::Pool> pool;
  std::atomic<sqlite::Slot*> slot{nullptr};  // changed also without the interpreter lock
  const bool transaction;
  const Holder holder;
  const std::shared_ptr<Leases> all;
  const std::uint32_t generation = process_generation();
};

struct Endpoint {
  PyObject_HEAD PoolState* state;  // of the pool's own endpoint
  Endpoint* owner;                 // else: the pool's endpoint, a reference
  std::shared_ptr<Lease>* lease;   // null: runs on the pool
  bool blocking;

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
