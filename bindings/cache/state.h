// state.h: a cache of Python objects over the native core: the single place where keys and
// values are stored for Cache, cached functions and lru_cache.
//
// The interpreter lock is the lock: REQUIRES it everywhere. The core never runs Python code: hashes
// are taken before, __eq__ is asked outside (find()), and what the core displaces is dropped and
// reported after it returns. Any call that stores, drops or compares may run Python code, which may
// call back into this cache; nothing read from it before is relied on afterwards.
//
// References: the cache owns one to each key and one to each value.
#pragma once

#include <Python.h>

#include <memory>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "bindings/base/ref.h"
#include "bindings/cache/box.h"
#include "bindings/cache/key.h"
#include "bindings/cache/load_table.h"
#include "cache/cache_core.h"
#include "cache/invalidation_feed.h"
#include "cache/policies.h"

namespace mcp::python {

struct CacheFigures {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t misses_expired = 0;
  std::uint64_t misses_evicted = 0;
  std::uint64_t loads = 0;
  std::uint64_t load_errors = 0;
  Duration load_ns = 0;
  std::uint64_t evictions = 0;
  std::uint64_t expirations = 0;
  std::uint64_t invalidations = 0;
  std::uint64_t stale_served = 0;
};

struct CacheSettings {
  std::uint64_t capacity = 1024;
  bool is_unbounded = false;
  std::string_view policy = cache::AdaptivePolicy::kName;  // borrowed; one of cache::Policies
  Duration ttl = kNever;        // of entries that bring none of their own
  Duration idle_ttl = 0;        // 0: none
  PyObject* weigher = nullptr;  // borrowed; nullptr for none
  PyObject* on_evict = nullptr;
  PyObject* clock = nullptr;
};

// How a value is to be stored.
struct StoreTerms {
  Duration ttl = kNever;
  Duration stale = 0;         // how long after its ttl it may still be served
  Duration longest = kNever;  // how long it is kept at most, stale or not
  Duration load_ns = 0;
  bool is_failure = false;
  bool keeps_present = false;  // a value that is there and fresh stays as it is
  bool is_newest = false;      // set by hand: loads of the key that have begun by now are out
  std::vector<std::string> tags;
  const Load* claim = nullptr;  // of a load: nothing is stored once it is fenced
  PyObject* holds = nullptr;    // holds() -> bool, native: asked last, false stores nothing
  std::uint64_t stamp = 0;      // the tag epoch at which the load began
  std::uint64_t absent_at = UINT64_MAX;  // as in Lookup: saves looking for the key again
};

enum class Found {
  kMiss,
  kFresh,
  kStale,   // past its ttl; may be served while somebody loads, or if the load fails
  kFailed,  // an exception is set: __eq__ or the clock
};

// For `absent_at`: the key may be there.
inline constexpr std::uint64_t kPresent = UINT64_MAX;

struct Lookup {
  Found found = Found::kMiss;
  Ref value;
  bool is_failure = false;   // the value is an exception to raise
  bool has_expired = false;  // a miss on an entry whose time had passed
  Duration load_ns = 0;
  Instant fresh_until = kNever;
  std::uint64_t absent_at = kPresent;  // the version of the core at which the key was absent
};

class CacheState {
  template <class Policy>
  using CoreOf = cache::CacheCore<PyObject*, Stored, Policy>;
  template <class... Policy>
  using AnyCore = std::variant<std::unique_ptr<CoreOf<Policy>>...>;

 public:
  // Calls f with the core, whichever policy it has.
  template <class F>
  decltype(auto) with_core(F&& f) {
    return std::visit([&](auto& core) -> decltype(auto) { return f(*core); }, core_);
  }

  using Displaced = cache::Displaced<PyObject*, Stored>;

  explicit CacheState(PyObject* owner);
  ~CacheState();  // REQUIRES: drop_all() was called
  CacheState(const CacheState&) = delete;
  CacheState& operator=(const CacheState&) = delete;

  // Once, before anything else.
  void configure(const CacheSettings& settings);
  [[nodiscard]] bool is_configured() const noexcept { return is_configured_; }

  // ---- the hit path

  // False with an exception set: a clock written in Python may raise.
  [[nodiscard]] bool read_clock(Instant& now) {
    if (clock_.get() == nullptr) [[likely]] {
      now = now_coarse();
      return true;
    }
    return read_python_clock(now);
  }

  // The two below run no Python code and count a hit where they find one. `may_be_there` false
  // means that no entry has this hash, so the key is absent for certain.
  //
  // The same for a key that `same(PyObject* stored)` knows by identity alone.
  template <class Core, class Same>
  [[nodiscard, gnu::always_inline]] PyObject* hit_identical(Core& core, Py_hash_t hash, Same&& same,
                                                            bool& may_be_there) noexcept {
    if (clock_.get() != nullptr || has_news()) [[unlikely]] {
      may_be_there = true;
      return nullptr;
    }
    const cache::Index i = core.find(static_cast<std::uint64_t>(hash), [&](PyObject* key) {
      may_be_there = true;
      return same(key);
    });
    if (i == cache::kNone) [[unlikely]]
      return nullptr;
    const Instant now = now_coarse();  // a miss needs none
    if (core.expired(i, now)) [[unlikely]]
      return nullptr;
    const Stored stored = core.value(i);
    if (stored.is_boxed()) [[unlikely]]
      return nullptr;
    core.touch(i, now);
    ++figures.hits;
    return stored.value();
  }

  // A borrowed reference to a bare, living value, counted as a hit; nullptr for everything else,
  // which look_up() sorts out. Runs no Python code.
  [[nodiscard]] PyObject* hit(const KeyView& view) noexcept {
    if (clock_.get() != nullptr || has_news()) [[unlikely]]
      return nullptr;
    return with_core([&](auto& core) -> PyObject* {
      const cache::Index i = core.find(static_cast<std::uint64_t>(view.hash), [&](PyObject* key) {
        return matches_fast(key, view) == Match::kEqual;
      });
      if (i == cache::kNone) return nullptr;
      const Instant now = now_coarse();
      if (core.expired(i, now)) return nullptr;
      const Stored stored = core.value(i);
      if (stored.is_boxed()) return nullptr;
      core.touch(i, now);
      ++figures.hits;
      return stored.value();
    });
  }

  // Looks for the key. With `touch` this is a read: it counts for the policy, and what is found
  // dead or expired is dropped. Counts no hit and no miss.
  [[nodiscard]] Lookup look_up(const KeyView& view, bool touch = true);

  // What look_up() finds for a key whose hash no entry has.
  [[nodiscard]] Lookup absent() {
    Lookup lookup;
    lookup.absent_at = with_core([](auto& core) { return core.version(); });
    return lookup;
  }

  // Whether the next load is to be timed, and as how many it counts: loads of microseconds are
  // sampled, since reading the clock would take as long.
  [[nodiscard]] unsigned timing_weight() const noexcept {
    const std::uint64_t loads = figures.loads + figures.load_errors;
    if (loads < kAlwaysTimed || figures.load_ns > static_cast<Duration>(loads) * kQuickLoad)
      return 1;
    return loads % kTimedShare == 0 ? kTimedShare : 0;
  }

  // Counts a miss and why it was one.
  void count_miss(const KeyView& view, const Lookup& lookup);

  // ---- changing

  // Stores under `key`, the object that build_key(view) makes, and takes references of its own.
  // False with an exception set.
  [[nodiscard]] bool store(const KeyView& view, PyObject* key, PyObject* value,
                           const StoreTerms& terms);

  // Takes the entry out, and any load of it: 1 if there was an entry, 0 if not, -1 with an
  // exception set. `taken`, where given, gets its value unless that is a failure or stale.
  [[nodiscard]] int remove(const KeyView& view, Ref* taken = nullptr);

  // A new time to live for an entry: 1, 0 or -1 as for remove().
  [[nodiscard]] int set_ttl(const KeyView& view, Duration ttl);

  // Seconds left into `*left` (kNever for ever): 1, 0 or -1.
  [[nodiscard]] int time_left(const KeyView& view, Duration* left);

  void clear();
  [[nodiscard]] bool was_invalidated(const std::vector<std::string>& names,
                                     std::uint64_t epoch) const {
    return tags_.was_invalidated(names, epoch);
  }
  // Adds to `killed` how many entries it took, as measure() counts them: exact, unless over a
  // thousand of them carry several tags. False with an exception set; it is done then, too.
  [[nodiscard]] bool invalidate_tags(const std::vector<std::string>& names, std::size_t& killed);
  void resize(std::uint64_t capacity, bool is_unbounded);
  // Drops what has expired, at most `budget` entries; gives memory back when much was dropped.
  // SIZE_MAX: nothing that has expired is left. False with an exception set.
  [[nodiscard]] bool expire(std::size_t budget);

  // ---- invalidations from a shared tier

  // Compares the feed's counter before every hit, and calls `handler` (without arguments) when it
  // has grown; the handler takes the news and drops what is out of date. Null ends that. False when
  // another handler is there.
  bool follow(std::shared_ptr<cache::InvalidationFeed> feed, PyObject* handler);

  // ---- the whole

  // What list() gives: drops what has expired, and counts no failure. False with an exception set.
  struct Extent {
    std::size_t entries = 0;
    std::uint64_t weight = 0;
  };
  [[nodiscard]] bool measure(Extent& extent);
  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] bool is_unbounded() const noexcept { return is_unbounded_; }
  [[nodiscard]] Duration ttl() const noexcept { return ttl_; }
  [[nodiscard]] Duration idle_ttl() const noexcept { return idle_ttl_; }
  [[nodiscard]] Instant next_expiry() {
    return with_core([](auto& c) { return c.next_expiry(); });
  }
  [[nodiscard]] std::size_t memory_bytes() {
    return with_core([](auto& c) { return c.memory_bytes(); });
  }
  [[nodiscard]] std::uint64_t tag_epoch() const noexcept { return tags_.epoch(); }
  void check_invariants() {
    with_core([](auto& c) { c.check_invariants(); });
  }

  // New list of the living keys, or of (key, value) pairs. nullptr with an exception set.
  [[nodiscard]] PyObject* list(bool pairs);

  // The core behind with_core(), for entry points that are chosen by policy.
  [[nodiscard]] void* core() const noexcept {
    return std::visit([](const auto& core) -> void* { return core.get(); }, core_);
  }

  LoadTable& loads() noexcept { return loads_; }
  CacheFigures figures;

  int traverse(visitproc visit, void* arg);
  void drop_all() noexcept;  // tells no listener

 private:
  static constexpr std::uint64_t kAlwaysTimed = 32;
  static constexpr unsigned kTimedShare = 64;
  static constexpr Duration kQuickLoad = 20 * kMicrosecond;

  template <class Core>
  [[nodiscard]] cache::Index locate(Core& core, const KeyView& view, bool& failed);
  template <class Core>
  [[nodiscard]] cache::Index locate_slow(Core& core, const KeyView& view, bool& failed);

  [[nodiscard]] bool read_python_clock(Instant& now);
  [[nodiscard]] bool has_news() const noexcept {
    return feed_ != nullptr && feed_->arrived() != news_seen_;
  }
  // Lets the handler take the news. False with an exception set.
  [[nodiscard]] bool take_news();
  // Whether the entry is a fresh value: what a write that keeps_present leaves alone.
  template <class Core>
  [[nodiscard]] bool is_fresh(Core& core, cache::Index i, Instant now);
  // Where the key is, once Python code no longer runs: with the loads of the key out if `terms` say
  // so. Sets `failed` with an exception set.
  template <class Core>
  [[nodiscard]] cache::Index place(Core& core, const KeyView& view, const StoreTerms& terms,
                                   bool& failed);
  [[nodiscard]] bool weigh(PyObject* key, PyObject* value, std::uint32_t& weight);
  [[nodiscard]] Stored wrap(PyObject* value, const KeyView& view, const StoreTerms& terms,
                            Instant now, std::uint32_t weight, bool& refused);
  void unwrap(Stored stored) noexcept;  // frees the box; the value's reference is the caller's
  // Reports and drops what the core displaced. `key` names the replaced entry.
  void settle(Displaced& out, PyObject* key = nullptr, const char* cause = nullptr);
  void count(cache::Cause cause) noexcept;
  void tell(PyObject* key, PyObject* value, const char* cause);
  void bury_dead(std::size_t limit);
  void watch_expiry();

  PyObject* owner_;  // the Python object that holds this; borrowed
  cache::Policies::into<AnyCore> core_;
  TagTable tags_;
  LoadTable loads_;
  std::uint64_t capacity_ = 0;
  bool is_unbounded_ = false;
  bool is_configured_ = false;
  bool has_room_to_spare_ = false;  // entries left since memory was last given back
  bool is_watched_ = false;         // the housekeeper knows this cache
  Extent failures_;                 // entries that are exceptions to raise
  Duration ttl_ = kNever;
  Duration idle_ttl_ = 0;
  Ref weigher_;
  Ref on_evict_;
  Ref clock_;
  std::shared_ptr<cache::InvalidationFeed> feed_;  // null: no shared tier behind this cache
  std::uint64_t news_seen_ = 0;
  Ref news_handler_;
};

// Where caches that hold expiring entries announce themselves; see _housekeeping.py.
void set_housekeeper(PyObject* function);

// now + ttl, saturating at kNever.
[[nodiscard]] inline Instant after(Instant now, Duration ttl) noexcept {
  Instant at;
  return ttl == kNever || __builtin_add_overflow(now, ttl, &at) ? kNever : at;
}

}  // namespace mcp::python
