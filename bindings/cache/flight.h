// flight.h: loads under way, so that one caller loads a key and the others wait for it.
//
// A Load is the leader's side: it sits in the table of its cache from the moment the loader starts
// until the result is there, or until an invalidation takes it out, after which nobody new joins it
// and its result is not stored. A Flight is the meeting place, made only when somebody comes to
// wait: threads wait on its lock, coroutines on futures of their own loops.
//
// Whoever would wait for a load that waits, through others, for the caller itself computes inline
// instead: re-entry and A->B, B->A loaders return.
//
// REQUIRES: the interpreter lock, everywhere. A waiting thread gives it up and can be interrupted.
#pragma once

#include <Python.h>

#include <cstdint>
#include <vector>

#include "bindings/cache/key.h"

namespace mcp::python {

struct Flight;
class LoadTable;

struct Load {
  Load* next = nullptr;        // in its bucket
  LoadTable* table = nullptr;  // nullptr once it is out
  std::uint64_t hash = 0;
  PyObject* key = nullptr;       // owned
  const void* thread = nullptr;  // of the leader, or of its event loop
  bool is_async = false;
  bool is_finished = false;
  std::uint64_t epoch = 0;          // the cache's invalidation count when it began
  Load* parent = nullptr;           // the load whose loader started this one
  Flight* parent_flight = nullptr;  // owned; keeps an asynchronous parent alive
  Flight* flight = nullptr;     // owned by an synchronous leader, itself for an asynchronous one
  std::vector<Load*> children;  // loads its loader leads now
  std::vector<Flight*> waits;   // flights its loader waits for now; owned
};

// The load inside whose loader this thread, or this task, runs; nullptr if none.
[[nodiscard]] Load* current_load() noexcept;

// Loads of one cache, by key.
class LoadTable {
 public:
  LoadTable();
  ~LoadTable();
  LoadTable(const LoadTable&) = delete;
  LoadTable& operator=(const LoadTable&) = delete;

  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }

  // The load of this key; nullptr if there is none, or with `failed` and an exception set. Runs
  // __eq__ where the key needs it.
  [[nodiscard]] Load* find(const KeyView& view, std::uint64_t hash, bool& failed);

  void insert(Load& load);
  void remove(Load& load) noexcept;
  // Takes every load out: none of them may store its result. Drops no reference.
  void clear() noexcept;
  // In a forked child: forgets the loads of threads that do not exist here.
  void forget_other_threads() noexcept;

 private:
  void grow();

  std::vector<Load*> buckets_;
  std::size_t count_ = 0;
  std::uint64_t version_ = 0;
  LoadTable* next_table_ = nullptr;  // every table of the process, for fork
  LoadTable* previous_table_ = nullptr;
  friend void forget_loads_after_fork() noexcept;
};

void forget_loads_after_fork() noexcept;

// A synchronous leader's Load, in the table while it lives.
class Leading {
 public:
  // Takes over `key`.
  Leading(LoadTable& table, PyObject* key, std::uint64_t hash, std::uint64_t epoch);
  // Followers that have no result by now are told to try again.
  ~Leading();
  Leading(const Leading&) = delete;
  Leading& operator=(const Leading&) = delete;

  // Whether the result may be stored: no invalidation came in between.
  [[nodiscard]] bool may_store() const noexcept { return load_.table != nullptr; }
  [[nodiscard]] PyObject* key() const noexcept { return load_.key; }
  [[nodiscard]] std::uint64_t epoch() const noexcept { return load_.epoch; }
  // The result, for those who wait; borrowed. An error is the exception set, which stays set.
  void finish(PyObject* value) noexcept;
  void finish_with_error() noexcept;

 private:
  Load load_;
  Load* outer_;  // the load of this thread that this one runs inside
};

enum class Waited { kValue, kError, kRetry, kInline };

// Waits for `load`, led by another thread or task. kValue: `*value` is a new reference. kError: an
// exception is set. kRetry: the leader was cancelled or interrupted. kInline: waiting would never
// end; compute without storing.
[[nodiscard]] Waited wait_for_load(Load& load, PyObject** value);

// For coroutines (see _cache_async.py). nullptr with an exception set.
// Registers a new load of `key` (taken over) and returns its Flight.
[[nodiscard]] PyObject* begin_async_load(LoadTable& table, PyObject* key, std::uint64_t hash,
                                         std::uint64_t epoch);
// The Flight to wait for `load`, or None if the caller has to compute inline.
[[nodiscard]] PyObject* join_async(Load& load);
// The load that a Flight stands for; nullptr once finished.
[[nodiscard]] Load* load_of(PyObject* flight) noexcept;
[[nodiscard]] bool is_flight(PyObject* object) noexcept;

[[nodiscard]] bool add_flight_type(PyObject* module);

}  // namespace mcp::python
