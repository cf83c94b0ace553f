// load_table.h: the loads of one cache that are under way, by key.
//
// A Load is the leader's side of a load. It sits in the table of its cache from the moment it
// begins until its result is there, or until something newer takes it out: an invalidation of its
// key or of one of its tags, a value set by hand, or a later load of the same key. This is the one
// fence of the cache: a load that is out is joined by nobody new and stores nothing.
//
// Tags that are known when the load begins are compared when a tag is invalidated. A load whose
// tags are told only at its end (by a callable) is closed by any invalidation of tags: nobody new
// joins it, a later caller's load takes its place, and the barriers of its tags decide whether it
// stores.
//
// Invariant: a Load is in at most one table, and `table` says in which.
//
// REQUIRES: the interpreter lock, everywhere.
#pragma once

#include <Python.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bindings/cache/key.h"

namespace mcp::python {

struct Flight;
class LoadTable;

// What is known of a load's tags when it begins.
struct LoadTags {
  std::vector<std::string> names;
  bool are_known = true;
};

struct Load {
  Load* next = nullptr;        // in its bucket
  LoadTable* table = nullptr;  // nullptr once it is out
  std::uint64_t hash = 0;
  PyObject* key = nullptr;         // owned
  const void* thread = nullptr;    // of the leader, or of its event loop
  unsigned long thread_ident = 0;  // the same as Python knows it
  bool is_async = false;
  bool is_finished = false;
  bool is_open = true;      // others may join
  bool is_storing = false;  // its own store in a backend is no invalidation
  std::uint64_t epoch = 0;  // the cache's invalidation count when it began
  LoadTags tags;
  Load* parent = nullptr;           // the load whose loader started this one
  Flight* parent_flight = nullptr;  // owned; keeps an asynchronous parent alive
  Flight* flight = nullptr;         // owned by a synchronous leader, itself for an asynchronous one
  std::vector<Load*> children;      // loads its loader leads now
  std::vector<Flight*> waits;       // flights its loader waits for now; owned

  // Whether the result may be stored: nothing newer came in between.
  [[nodiscard]] bool may_store() const noexcept { return table != nullptr; }
};

// What tells threads apart. The one that forks keeps it.
[[nodiscard]] const void* this_thread() noexcept;

// The load inside whose loader this thread, or this task, runs; nullptr if none.
[[nodiscard]] Load* current_load() noexcept;

// Whether `load` is `chain` or a load that it runs inside.
[[nodiscard]] bool is_in_chain(const Load* load, const Load* chain) noexcept;

class LoadTable {
 public:
  LoadTable();
  ~LoadTable();
  LoadTable(const LoadTable&) = delete;
  LoadTable& operator=(const LoadTable&) = delete;

  [[nodiscard]] bool empty() const noexcept { return count_ == 0; }

  // The load of this key that a caller may join; nullptr if there is none, or with `failed` and an
  // exception set. Takes a closed one out, since who asks leads the next. Runs __eq__ where the key
  // needs it.
  [[nodiscard]] Load* find_open(const KeyView& view, bool& failed);

  // Takes every load of this key out, but for one that is storing and runs this very call. False
  // with an exception set.
  [[nodiscard]] bool fence(const KeyView& view);
  // Likewise the loads that carry one of the tags; closes those whose tags are not known.
  void fence_tags(const std::vector<std::string>& names) noexcept;
  // Takes every load out. Drops no reference.
  void clear() noexcept;

  void insert(Load& load);
  void remove(Load& load) noexcept;
  // In a forked child: forgets the loads of threads that do not exist here.
  void forget_other_threads() noexcept;

 private:
  [[nodiscard]] Load* find(const KeyView& view, const Load* except, bool& failed);
  void grow();

  std::vector<Load*> buckets_;
  std::size_t count_ = 0;
  std::uint64_t version_ = 0;
  LoadTable* next_table_ = nullptr;  // every table of the process, for fork
  LoadTable* previous_table_ = nullptr;
  friend void forget_loads_after_fork() noexcept;
};

void forget_loads_after_fork() noexcept;

}  // namespace mcp::python
