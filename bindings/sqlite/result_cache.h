// result_cache.h: results of SELECTs as Python objects, each with the proof that it needs to be
// served.
//
// Used under the interpreter lock, which is its only lock. Values are rows in a list, a row, or a
// single value, which nobody changes; references are owned here. What leaves waits for
// drop_dead(), since a large value is dropped in slices. Bounded in bytes: the least recently used
// go first. An entry is served only while Freshness proves that nothing it read has changed, and
// for at most the time to live.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "bindings/base/gil.h"
#include "bindings/loop/drop_later.h"
#include "sqlite/freshness.h"
#include "sqlite/profile.h"

namespace mcp::python {

class ResultCache {
 public:
  struct Counters {
    std::uint64_t hits = 0, misses = 0, evictions = 0, expirations = 0, invalidations = 0;
    std::uint64_t loads = 0;
    std::size_t entries = 0, bytes = 0, capacity_bytes = 0;

    // As visit_fields() of the core's figures: CacheStats has these names.
    template <class Visit>
    friend void visit_fields(const Counters& kept, Visit&& visit) {
      visit("hits", kept.hits);
      visit("misses", kept.misses);
      visit("loads", kept.loads);
      visit("evictions", kept.evictions);
      visit("expirations", kept.expirations);
      visit("invalidations", kept.invalidations);
      visit("currsize", kept.entries);
      visit("weight", kept.bytes);
      visit("maxsize", kept.capacity_bytes);
    }
  };

  ResultCache(std::size_t capacity_bytes, Duration ttl) : capacity_(capacity_bytes), ttl_(ttl) {}
  ~ResultCache() {
    clear();
    for (PyObject* value : dead_) drop_later(value);
  }
  ResultCache(const ResultCache&) = delete;
  ResultCache& operator=(const ResultCache&) = delete;

  [[nodiscard]] bool enabled() const noexcept { return capacity_ > 0 && ttl_ > 0; }

  // The largest result that may be kept: a quarter of the room.
  [[nodiscard]] std::size_t largest() const noexcept { return capacity_ / 4; }

  // A borrowed reference, or nullptr.
  [[nodiscard]] PyObject* find(std::string_view key, sqlite::Freshness& freshness) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) {
      ++counters_.misses;
      return nullptr;
    }
    Entry& entry = *found->second;
    if (now_coarse() >= entry.expires) {
      ++counters_.expirations;
    } else if (!freshness.unchanged(entry.seen, entry.dependencies->reads)) {
      ++counters_.invalidations;
    } else {
      ++counters_.hits;
      recent_.splice(recent_.begin(), recent_, found->second);
      return entry.value;
    }
    ++counters_.misses;
    remove(found->second);
    return nullptr;
  }

  // Takes a new reference of `value`.
  void put(std::string_view key, PyObject* value, std::size_t bytes,
           const sqlite::Freshness::Observation& seen,
           std::shared_ptr<const sqlite::Dependencies> dependencies) {
    bytes += sizeof(Entry) + key.size() + 64;
    ++counters_.loads;
    if (bytes > largest()) return;
    const auto old = by_key_.find(key);
    if (old != by_key_.end()) remove(old->second);
    while (bytes_ + bytes > capacity_ && !recent_.empty()) {
      ++counters_.evictions;
      remove(std::prev(recent_.end()));
    }
    recent_.push_front(
        {std::string(key), value, bytes, now_coarse() + ttl_, seen, std::move(dependencies)});
    by_key_.emplace(recent_.front().key, recent_.begin());
    Py_INCREF(value);
    bytes_ += bytes;
  }

  void clear() {
    by_key_.clear();
    bytes_ = 0;
    std::list<Entry> dropped;
    dropped.swap(recent_);
    for (Entry& entry : dropped) dead_.push_back(entry.value);
  }

  // Drops what has left. May give up the interpreter lock.
  void drop_dead() {
    while (!dead_.empty()) {
      PyObject* value = dead_.back();
      dead_.pop_back();
      drop_in_turns(value);
    }
  }

  [[nodiscard]] Counters counters() const {
    Counters out = counters_;
    out.entries = recent_.size();
    out.bytes = bytes_;
    out.capacity_bytes = capacity_;
    return out;
  }

 private:
  struct Entry {
    std::string key;
    PyObject* value;
    std::size_t bytes;
    Instant expires;
    sqlite::Freshness::Observation seen;
    std::shared_ptr<const sqlite::Dependencies> dependencies;
  };

  void remove(std::list<Entry>::iterator at) {
    dead_.push_back(at->value);
    bytes_ -= at->bytes;
    by_key_.erase(at->key);
    recent_.erase(at);
  }

  const std::size_t capacity_;
  const Duration ttl_;
  std::list<Entry> recent_;
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;  // views of Entry::key
  std::vector<PyObject*> dead_;
  std::size_t bytes_ = 0;
  Counters counters_;
};

}  // namespace mcp::python
