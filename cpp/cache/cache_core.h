// cache_core.h: the memory cache as one free-standing algorithm: table, entries, expiry, policy.
//
// No mutex, no clock, no I/O, no thread, no callback into code that it does not know except `eq`.
// Thread-compatible: one owner at a time (the interpreter lock, a shard's mutex, one thread).
//
//   CacheCore<std::string, int> cache({.capacity = 1000});
//   const std::uint64_t hash = std::hash<std::string>{}(name);
//   Index i = cache.find(hash, [&](const std::string& key) { return key == name; });
//   if (i != kNone && !cache.expired(i, now)) { cache.touch(i, now); use(cache.value(i)); }
//
// Promises
//   * A hit is find(), expired(), touch(), value(): it allocates nothing and, with AdaptivePolicy,
//     moves nothing.
//   * Keys and values are never destroyed in here: what leaves goes to the caller's Displaced list,
//   to
//     be destroyed after unlocking. (~CacheCore alone destroys what is left; a binding that owns
//     references calls clear() first.)
//   * Strong exception guarantee, std::bad_alloc being the only exception: when insert() or
//   replace()
//     throws, the new key and value are not in the cache; at most, older entries were displaced.
//   * An Index is good until the next call that takes a Displaced& or shrinks; references to keys
//   and
//     values are good until the next insert() or shrink_to_fit() too. version() changes whenever an
//     entry comes, goes or moves.
//
// Slow comparisons (Python's __eq__) must not run in here: the caller lists candidates(), takes a
// reference to a key, leaves, compares, returns, and starts again if version() has changed.
//
//   for (;;) {
//     auto at = cache.candidates(hash);
//     const auto version = cache.version();
//     for (Index i; (i = cache.candidate(at)) != kNone;) {
//       ... compare cache.key(i) outside; if (cache.version() != version) start again; equal: found
//     }
//   }
//
// Time: `expires_at` is absolute, kNever for none. With `idle_ttl` an entry also expires that long
// after its last touch. Readers ask expired(); expire() and insert() reclaim, up to 67 ms late.
//
// A policy orders the entries, by Policy::Node, which it keeps in each, and is a class with
//   kName; Node; Placement; a constructor from the capacity
//   admit(entries, hash, weight, evict) -> Placement   makes room for a new entry
//   insert(entries, i, placement)                      which is there now
//   make_room(entries, weight, evict)                  evict(i) for each victim, taken out before
//   on_hit(entries, i)
//   remove(entries, i)                                 it leaves for another reason
//   detach(entries, i), attach(entries, i)             around a change of its weight
//   relocate(entries, to)                              its index changed; the node has moved
//   set_capacity(entries, capacity), clear(), weight(), memory_bytes()
//   evicted_recently(hash)                             false where it keeps no history
//   check_invariants(entries, member)                  member(i) for each entry
// `entries` has node(i) and weight(i). policies.h has the list.
//
// Invariants: weight() <= capacity(); an entry is in the table once, in one queue of the policy,
// and in the wheel iff it can expire.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "cache/adaptive_policy.h"
#include "cache/displaced.h"
#include "cache/ghost.h"
#include "cache/index_table.h"
#include "cache/lru_policy.h"
#include "cache/slab.h"
#include "cache/timer_wheel.h"
#include "cache/types.h"

namespace mcp::cache {

struct CacheOptions {
  std::uint64_t capacity = 1024;  // total weight; entries, where every weight is 1
  Duration idle_ttl = 0;          // 0: none
};

template <class Key, class Value, class Policy = AdaptivePolicy>
class CacheCore {
 public:
  using Displaced = cache::Displaced<Key, Value>;
  static constexpr std::uint32_t kMaxWeight = 0xFFFFFFFF;  // of one entry

  explicit CacheCore(const CacheOptions& options)
      : idle_ttl_(options.idle_ttl), policy_(options.capacity), capacity_(options.capacity) {
    while ((idle_ttl_ >> idle_shift_) >= (Duration{1} << 30)) ++idle_shift_;
  }
  CacheCore(const CacheCore&) = delete;
  CacheCore& operator=(const CacheCore&) = delete;
  ~CacheCore() { destroy_all(); }

  // ---- looking up

  // The entry whose key `eq(const Key&)` accepts, expired or not; kNone if absent.
  template <class Eq>
  [[nodiscard]] Index find(std::uint64_t hash, Eq&& eq) const {
    const std::uint64_t mixed = mix_hash(hash);
    return table_.find(mixed, [&](Index i) {
      const Entry& entry = entries_.slab[i];
      return entry.hash == mixed && eq(entry.key);
    });
  }

  // Every entry with this hash, one by one.
  [[nodiscard]] IndexTable::Cursor candidates(std::uint64_t hash) const noexcept {
    return table_.candidates(mix_hash(hash));
  }
  [[nodiscard]] Index candidate(IndexTable::Cursor& at) const noexcept {
    for (;;) {
      const Index i = table_.candidate(at);
      if (i == kNone || entries_.slab[i].hash == at.hash) return i;
    }
  }

  // The entry was read: the policy and the idle time count it.
  void touch(Index i, Instant now) noexcept {
    policy_.on_hit(entries_, i);
    if (idle_ttl_ != 0) entries_.slab[i].accessed = idle_tick(now);
  }

  [[nodiscard]] bool expired(Index i, Instant now) const noexcept {
    const Entry& entry = entries_.slab[i];
    if (entry.expires_at <= now) return true;
    return idle_ttl_ != 0 && idle_for(entry, now) >= idle_ttl_;
  }

  // When the entry expires unless it is touched; kNever if it does not.
  [[nodiscard]] Instant expires_at(Index i, Instant now) const noexcept {
    const Entry& entry = entries_.slab[i];
    if (idle_ttl_ == 0) return entry.expires_at;
    return std::min(entry.expires_at, later(now, idle_ttl_ - idle_for(entry, now)));
  }

  // True if the hash was in a key that left not long ago, or (1 in 8,192) of another.
  [[nodiscard]] bool evicted_recently(std::uint64_t hash) const noexcept {
    return policy_.evicted_recently(mix_hash(hash));
  }

  // True if a key of that hash expired not long ago and has not come back, or (1 in 8,192) of
  // another.
  [[nodiscard]] bool expired_recently(std::uint64_t hash) const noexcept {
    return lapsed_.contains(mix_hash(hash));
  }

  [[nodiscard]] const Key& key(Index i) const noexcept { return entries_.slab[i].key; }
  [[nodiscard]] Value& value(Index i) noexcept { return entries_.slab[i].value; }
  [[nodiscard]] const Value& value(Index i) const noexcept { return entries_.slab[i].value; }
  [[nodiscard]] std::uint32_t weight(Index i) const noexcept { return entries_.slab[i].weight; }
  // A word for the caller; 0 in a new entry, kept by replace().
  [[nodiscard]] std::uint32_t& aux(Index i) noexcept { return entries_.slab[i].aux; }

  // ---- changing

  // Adds a key that find() does not find. Reclaims some expired entries, evicts what must go.
  // Returns kNone, with the pair in `out` as evicted, if it weighs more than the capacity.
  Index insert(Key key, std::uint64_t hash, Value value, std::uint32_t weight, Instant expires_at,
               Instant now, Displaced& out) {
    out.reserve(1);
    if (weight > capacity_) {
      out.push(std::move(key), std::move(value), Cause::kEvicted);
      return kNone;
    }
    if (wheel_.due(now)) expire(now, out, kInsertBudget);
    const std::uint64_t mixed = mix_hash(hash);
    out.reserve(1);
    const auto placement = policy_.admit(entries_, mixed, weight, evictor(out));
    const Index i = allocate(mixed);
    Entry& entry = entries_.slab[i];
    entry.hash = mixed;
    entry.expires_at = expires_at;
    entry.weight = weight;
    entry.aux = 0;
    entry.accessed = idle_ttl_ == 0 ? 0 : idle_tick(now);
    new (&entry.key) Key(std::move(key));
    new (&entry.value) Value(std::move(value));
    table_.insert(mixed, i);
    policy_.insert(entries_, i, placement);
    static_cast<void>(lapsed_.take(mixed));
    wheel_.schedule(wheel_nodes(), i, deadline(entry, now));
    ++version_;
    return i;
  }

  // Gives the entry a new value; the old one goes to `out`. Counts as a read. The entry itself
  // leaves if it now weighs more than the capacity; others leave if it needs their room.
  void replace(Index i, Value value, std::uint32_t weight, Instant expires_at, Instant now,
               Displaced& out) {
    out.reserve(2);
    Entry& entry = entries_.slab[i];
    touch(i, now);
    if (weight != entry.weight && weight <= capacity_) reweigh(i, weight, out);
    out.reserve(2);
    out.push(Key{}, std::exchange(entry.value, std::move(value)), Cause::kReplaced);
    if (weight > capacity_) {
      remove(i, Cause::kEvicted, out);
    } else {
      set_expiry(i, expires_at, now);
    }
  }

  // A new deadline for an entry that keeps its value.
  void set_expiry(Index i, Instant expires_at, Instant now) noexcept {
    Entry& entry = entries_.slab[i];
    entry.expires_at = expires_at;
    wheel_.cancel(wheel_nodes(), i);
    wheel_.schedule(wheel_nodes(), i, deadline(entry, now));
  }

  void erase(Index i, Cause cause, Displaced& out) {
    out.reserve(1);
    if (cause == Cause::kExpired) note_lapsed(i);
    remove(i, cause, out);
  }

  void clear(Displaced& out) {
    out.reserve(size());
    for (Index i = next(0); i != kNone; i = next(i + 1)) {
      Entry& entry = entries_.slab[i];
      out.push(std::move(entry.key), std::move(entry.value), Cause::kCleared);
      destroy(entry);
    }
    forget_all();
  }

  // Takes out entries whose time has passed; looks at `budget` at most. True if some
  // may be left.
  bool expire(Instant now, Displaced& out, std::size_t budget = SIZE_MAX) {
    out.reserve(1);
    return wheel_.advance(
        wheel_nodes(), now, budget, [&](Index i) { return deadline(entries_.slab[i], now); },
        [&](Index i) {
          note_lapsed(i);
          remove(i, Cause::kExpired, out);
          out.reserve(1);
        });
  }

  // Removes the entries that have expired and that expire(now), with no limit, has left for later.
  void expire_late(Instant now, Displaced& out) {
    std::vector<Index> late;
    for_each_late(now, [&late](Index i) { late.push_back(i); });
    out.reserve(late.size());
    for (const Index i : late) {
      note_lapsed(i);
      remove(i, Cause::kExpired, out);
    }
  }

  // Calls f(Index) for them; f changes nothing.
  template <class F>
  void for_each_late(Instant now, F&& f) const {
    const auto nodes = [this](Index i) -> const WheelNode& { return entries_.slab[i].wheel; };
    wheel_.for_each_current(nodes, [&](Index i) {
      if (expired(i, now)) f(i);
    });
  }

  // expire() has nothing to do before then; kNever if nothing can expire.
  [[nodiscard]] Instant next_expiry() const noexcept { return wheel_.next_due(); }

  void resize(std::uint64_t capacity, Displaced& out) {
    out.reserve(1);
    policy_.set_capacity(entries_, capacity);
    capacity_ = capacity;
    policy_.make_room(entries_, 0, evictor(out));
  }

  // Gives memory back: moves the entries together if less than half of the room is used. An empty
  // cache also lets go of the policy's history.
  void shrink_to_fit() {
    if (size_ == 0) {
      forget_all();
      return;
    }
    if (size_ * 2 > entries_.slab.capacity() || entries_.slab.capacity() <= kFirstCapacity) return;
    compact();
    entries_.slab.resize(std::max<std::size_t>(size_, kFirstCapacity), used_, move_entry);
    table_.rehash(size_, entries_.slab.capacity(), hash_of());
  }

  // ---- the whole

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint64_t weight() const noexcept { return policy_.weight(); }
  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }
  [[nodiscard]] const Policy& policy() const noexcept { return policy_; }

  // Memory held, without what keys and values own elsewhere.
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return sizeof(*this) + entries_.slab.memory_bytes() + table_.memory_bytes() +
           policy_.memory_bytes() + lapsed_.memory_bytes();
  }

  // The first entry at or after `from`; kNone at the end. Valid while version() does not change.
  [[nodiscard]] Index next(Index from) const noexcept {
    for (Index i = from; i < used_; ++i) {
      if (entries_.slab[i].wheel.prev != kFree) return i;
    }
    return kNone;
  }

  // Calls f(Index) for every entry, expired ones too, in no useful order; f changes nothing.
  template <class F>
  void for_each(F&& f) const {
    for (Index i = next(0); i != kNone; i = next(i + 1)) f(i);
  }

  // Throws std::logic_error unless all invariants hold. For tests: O(size).
  void check_invariants() const {
    std::size_t in_policy = 0;
    policy_.check_invariants(entries_, [&](Index i) {
      if (i >= used_ || entries_.slab[i].wheel.prev == kFree) {
        throw std::logic_error("core: the policy holds a free entry");
      }
      ++in_policy;
    });
    std::size_t live = 0;
    std::size_t scheduled = 0;
    for_each([&](Index i) {
      const Entry& entry = entries_.slab[i];
      ++live;
      const bool can_expire = entry.expires_at != kNever || idle_ttl_ != 0;
      if (entry.wheel.prev != kNone) ++scheduled;
      if (can_expire != (entry.wheel.prev != kNone)) {
        throw std::logic_error("core: scheduled iff it can expire");
      }
      if (table_.find(entry.hash, [&](Index found) { return found == i; }) != i) {
        throw std::logic_error("core: entry not in the table");
      }
    });
    if (live != size_ || in_policy != size_ || table_.size() != size_) {
      throw std::logic_error("core: sizes differ");
    }
    if (scheduled != wheel_.size()) throw std::logic_error("core: wheel size differs");
    if (weight() > capacity_) throw std::logic_error("core: over capacity");
    table_.check_invariants(hash_of());
    wheel_.check_invariants([this](Index i) -> const WheelNode& { return entries_.slab[i].wheel; });
  }

 private:
  static constexpr std::size_t kFirstCapacity = 15;
  static constexpr std::size_t kInsertBudget = 32;
  static constexpr std::size_t kFewestLapsed = 64;  // expired keys that are remembered
  static constexpr std::size_t kMostLapsed = 16'384;
  static constexpr Index kFree = 0xFFFFFFFE;  // in Entry::wheel.prev
  static constexpr bool kRelocatable =
      std::is_trivially_copyable_v<Key> && std::is_trivially_copyable_v<Value>;

  // One cache line where keys and values take 8 bytes each.
  struct Entry {
    std::uint64_t hash;
    union {
      Key key;
    };
    union {
      Value value;
    };
    Instant expires_at;
    typename Policy::Node node;
    std::uint32_t weight;
    WheelNode wheel;
    std::uint32_t aux;
    mutable std::uint32_t accessed;  // in idle ticks, modulo 2^32

    Entry() noexcept : node{} {}
    ~Entry() {}
  };

  // What a policy sees of the entries.
  struct Entries {
    Slab<Entry, kRelocatable> slab;
    [[nodiscard]] typename Policy::Node& node(Index i) noexcept { return slab[i].node; }
    [[nodiscard]] const typename Policy::Node& node(Index i) const noexcept { return slab[i].node; }
    [[nodiscard]] std::uint64_t hash(Index i) const noexcept { return slab[i].hash; }
    [[nodiscard]] std::uint32_t weight(Index i) const noexcept { return slab[i].weight; }
  };

  [[nodiscard]] auto wheel_nodes() noexcept {
    return [this](Index i) -> WheelNode& { return entries_.slab[i].wheel; };
  }
  [[nodiscard]] auto hash_of() const noexcept {
    return [this](Index i) { return entries_.slab[i].hash; };
  }
  // Finishes an eviction that the policy began; keeps room for the next.
  [[nodiscard]] auto evictor(Displaced& out) noexcept {
    return [this, &out](Index victim) {
      release(victim, Cause::kEvicted, out);
      out.reserve(1);
    };
  }

  [[nodiscard]] static Instant later(Instant from, Duration by) noexcept {
    Instant at;
    return __builtin_add_overflow(from, by, &at) ? kNever : at;
  }
  [[nodiscard]] std::uint32_t idle_tick(Instant now) const noexcept {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(now) >> idle_shift_);
  }
  [[nodiscard]] Duration idle_for(const Entry& entry, Instant now) const noexcept {
    const std::uint32_t ticks = idle_tick(now) - entry.accessed;
    return static_cast<Duration>(static_cast<std::uint64_t>(ticks) << idle_shift_);
  }
  // When expire() may take the entry.
  [[nodiscard]] Instant deadline(const Entry& entry, Instant now) const noexcept {
    Instant at = entry.expires_at;
    if (idle_ttl_ != 0) at = std::min(at, later(now, idle_ttl_ - idle_for(entry, now)));
    return at;
  }

  static void destroy(Entry& entry) noexcept {
    entry.key.~Key();
    entry.value.~Value();
    entry.wheel.prev = kFree;
  }

  static constexpr auto move_entry = [](Entry* to, Entry& from) noexcept {
    new (to) Entry;
    if (from.wheel.prev != kFree) {
      new (&to->key) Key(std::move(from.key));
      new (&to->value) Value(std::move(from.value));
      from.key.~Key();
      from.value.~Value();
    }
    to->hash = from.hash;
    to->expires_at = from.expires_at;
    to->node = from.node;
    to->weight = from.weight;
    to->wheel = from.wheel;
    to->aux = from.aux;
    to->accessed = from.accessed;
  };

  // A free entry, with room in the table for one of this hash. Changes nothing when it throws.
  [[nodiscard]] Index allocate(std::uint64_t hash) {
    const Index i = free_ != kNone ? free_ : static_cast<Index>(used_);
    if (i == entries_.slab.capacity()) {
      std::size_t room = std::max(kFirstCapacity, used_ * 2);
      if (capacity_ > used_) room = std::min<std::size_t>(room, capacity_);
      entries_.slab.resize(room, used_, move_entry);
    }
    if (table_.must_grow(hash, i)) table_.grow(hash, i, hash_of());
    Entry& entry = entries_.slab[i];
    if (free_ != kNone) {
      free_ = entry.wheel.next;
    } else {
      ++used_;
      new (&entry) Entry;
    }
    entry.wheel = {};
    ++size_;
    return i;
  }

  // The policy has let go of the entry already. REQUIRES: room in `out`.
  void release(Index i, Cause cause, Displaced& out) noexcept {
    Entry& entry = entries_.slab[i];
    table_.erase(entry.hash, i);
    wheel_.cancel(wheel_nodes(), i);
    out.push(std::move(entry.key), std::move(entry.value), cause);
    destroy(entry);
    entry.wheel.next = free_;
    free_ = i;
    --size_;
    ++version_;
  }

  // Remembers as many keys as there are entries, within bounds; nothing until something expires.
  void note_lapsed(Index i) {
    const std::size_t wanted = std::min(size_, kMostLapsed);
    if (lapsed_.slots() < wanted) lapsed_.resize(std::bit_ceil(std::max(wanted, kFewestLapsed)));
    ++lapses_;
    lapsed_.record(entries_.slab[i].hash, lapses_, lapses_);
  }

  void remove(Index i, Cause cause, Displaced& out) noexcept {
    policy_.remove(entries_, i);
    release(i, cause, out);
  }

  void reweigh(Index i, std::uint32_t weight, Displaced& out) {
    Entry& entry = entries_.slab[i];
    policy_.detach(entries_, i);
    try {
      policy_.make_room(entries_, weight, evictor(out));
    } catch (...) {
      policy_.attach(entries_, i);
      throw;
    }
    entry.weight = weight;
    policy_.attach(entries_, i);
  }

  // Moves the last entries into the free places below size_.
  void compact() noexcept {
    Index to = 0;
    while (used_ > size_) {
      const auto from = static_cast<Index>(used_ - 1);
      Entry& last = entries_.slab[from];
      if (last.wheel.prev != kFree) {
        while (entries_.slab[to].wheel.prev != kFree) ++to;
        table_.rename(last.hash, from, to);
        move_entry(&entries_.slab[to], last);
        policy_.relocate(entries_, to);
        wheel_.relocate(wheel_nodes(), to);
      }
      --used_;
    }
    free_ = kNone;
    ++version_;
  }

  void destroy_all() noexcept {
    for (Index i = next(0); i != kNone; i = next(i + 1)) destroy(entries_.slab[i]);
  }

  // REQUIRES: every entry is destroyed.
  void forget_all() {
    policy_.clear();
    lapsed_.resize(0);
    wheel_.clear();
    table_.clear();
    entries_.slab.resize(0, 0, move_entry);
    used_ = 0;
    size_ = 0;
    free_ = kNone;
    ++version_;
  }

  // What a hit reads, which hardly changes.
  Entries entries_;
  Duration idle_ttl_;
  int idle_shift_ = 16;
  IndexTable table_;

  Policy policy_;
  std::uint64_t version_ = 0;
  std::uint64_t capacity_;
  Index free_ = kNone;    // free entries below used_, linked by wheel.next
  std::size_t used_ = 0;  // entries from here on were never used
  std::size_t size_ = 0;
  TimerWheel wheel_;
  Ghost lapsed_;  // keys that expired
  std::uint16_t lapses_ = 0;
};

}  // namespace mcp::cache
