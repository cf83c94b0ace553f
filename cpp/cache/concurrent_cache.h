// concurrent_cache.h: the memory cache for many C++ threads.
//
// One cache, one policy, exact capacity; a table that readers share (shared_table.h). A hit takes
// no lock and writes nothing that another thread reads: it announces itself, copies the value, and
// notes the hit in a buffer of its thread's stripe. A full buffer goes to the policy if the mutex
// is free, and is dropped if not: the policy loses a few hits of the many. A miss and every change
// take the mutex.
//
//   ConcurrentCache<std::string, std::shared_ptr<const Page>> cache({.capacity = 100'000});
//   if (auto page = cache.get(name, now)) return *page;
//   cache.put(name, load(name), {.expires_at = now + kSecond}, now);
//   auto page = cache.get_or_load(name, load, {.expires_at = now + kSecond}, now);
//
// Thread-safety: every member from any thread. User code that runs inside: Hash before any lock;
// Equal, and the copy of a Value, while the entry is kept alive (they must not use this cache);
// destructors of displaced keys and values, and loaders, after all locks. Values are copied out:
// make large ones shared pointers. Lock: mutex_, taken alone.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "cache/cache_core.h"
#include "cache/shared_table.h"
#include "cache/single_flight.h"

namespace mcp::cache {

// Threads as the operating system has them.
struct ThreadPlatform {
  using Mutex = mcp::Mutex;
  using CondVar = mcp::CondVar;

  [[nodiscard]] static unsigned thread() noexcept {
    static std::atomic<unsigned> count{0};
    static thread_local const unsigned number = count.fetch_add(1, std::memory_order_relaxed);
    return number;
  }
  static void pause(unsigned turn) noexcept {
    if (turn < 64) {
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#endif
    } else {
      std::this_thread::yield();
    }
  }
  static void step() noexcept {}
};

struct PutOptions {
  std::uint32_t weight = 1;
  Instant expires_at = kNever;
};

struct ConcurrentCacheStats {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
};

template <class Key, class Value, class Policy = AdaptivePolicy, class Hash = std::hash<Key>,
          class Equal = std::equal_to<Key>, class Platform = ThreadPlatform>
class ConcurrentCache {
 public:
  using Displaced = cache::Displaced<Key, Value>;

  explicit ConcurrentCache(const CacheOptions& options) : core_(options) {}

  // A copy of the value; nothing if the key is absent or expired.
  [[nodiscard]] std::optional<Value> get(const Key& key, Instant now) {
    const std::uint64_t hash = Hash{}(key);
    HitBatch full;
    {
      auto reader = core_.table().enter(mix_hash(hash));
      if (!reader) return get_locked(key, hash, now);
      std::optional<Value> value = read(key, hash, now, reader.data(), full);
      if (full.count == 0) return value;
      if (value) full.value = std::move(value);
    }
    give_to_policy(full, now);
    return std::move(full.value);
  }

  // The value, loaded by `loader(key)` if it is absent. One caller a key loads; those who ask
  // meanwhile wait for its value or its exception. A loader may ask for other keys, and for its
  // own: where waiting would never end, it is called once more instead, and that value is not
  // stored. Nor is one whose key was put, erased or cleared during the load.
  template <class Loader>
  [[nodiscard]] Value get_or_load(const Key& key, Loader&& loader, const PutOptions& options,
                                  Instant now) {
    if (std::optional<Value> value = get(key, now)) return *std::move(value);
    std::optional<Value> stored;
    const typename Flights::Ticket ticket = join(key, now, stored);
    if (stored) return *std::move(stored);
    switch (ticket.role) {
      case Flights::Role::kLead:
        return lead(*ticket.flight, loader, options, now);
      case Flights::Role::kWait:
        return wait(*ticket.flight);
      case Flights::Role::kInline:
        break;
    }
    return loader(key);
  }

  // Adds the key or replaces its value. What that displaces is destroyed here, after unlocking.
  void put(Key key, Value value, const PutOptions& options, Instant now) {
    Displaced displaced;
    put(std::move(key), std::move(value), options, now, displaced);
  }
  // The same, for callers that want what it displaces.
  void put(Key key, Value value, const PutOptions& options, Instant now, Displaced& displaced) {
    const std::uint64_t hash = Hash{}(key);
    const Writer writer(*this);
    flights_.invalidate(key);
    store(std::move(key), hash, std::move(value), options, now, displaced);
  }

  // True if the key was there, expired or not.
  bool erase(const Key& key) {
    Displaced displaced;
    const std::uint64_t hash = Hash{}(key);
    const Writer writer(*this);
    flights_.invalidate(key);
    const Index i = find(key, hash);
    if (i != kNone) core_.erase(i, Cause::kRemoved, displaced);
    return i != kNone;
  }

  void clear() {
    Displaced displaced;
    const Writer writer(*this);
    flights_.invalidate_all();
    core_.clear(displaced);
  }

  // Reclaims what has expired, `budget` entries at most; true if some may be left.
  bool expire(Instant now, std::size_t budget = 1024) {
    Displaced displaced;
    const Writer writer(*this);
    return core_.expire(now, displaced, budget);
  }

  void resize(std::uint64_t capacity) {
    Displaced displaced;
    const Writer writer(*this);
    core_.resize(capacity, displaced);
  }

  void shrink_to_fit() {
    const Writer writer(*this);
    core_.shrink_to_fit();
  }

  [[nodiscard]] std::size_t size() {
    const Writer writer(*this);
    return core_.size();
  }
  [[nodiscard]] std::uint64_t weight() {
    const Writer writer(*this);
    return core_.weight();
  }
  [[nodiscard]] std::size_t memory_bytes() {
    const Writer writer(*this);
    return core_.memory_bytes();
  }

  [[nodiscard]] ConcurrentCacheStats stats() const {
    ConcurrentCacheStats sum{locked_hits_.load(std::memory_order_relaxed),
                             locked_misses_.load(std::memory_order_relaxed)};
    core_.table().for_each_stripe([&](const StripeData& data) {
      sum.hits += data.hits.load(std::memory_order_relaxed);
      sum.misses += data.misses.load(std::memory_order_relaxed);
    });
    return sum;
  }

  // Throws std::logic_error unless all invariants hold. For tests: O(size).
  void check_invariants() {
    const Writer writer(*this);
    core_.check_invariants();
    flights_.check_invariants();
  }

 private:
  static constexpr std::size_t kBatch = 64;

  struct Hit {
    std::uint64_t hash;
    Index index;
  };
  // A stripe's unreported hits and its share of the counts; touched by the stripe's reader only,
  // except that anyone may load the counts.
  struct StripeData {
    std::atomic<std::uint64_t> hits{0};
    std::atomic<std::uint64_t> misses{0};
    std::size_t pending = 0;
    std::array<Hit, kBatch> batch;
  };
  struct HitBatch {
    std::size_t count = 0;
    std::array<Hit, kBatch> hits;
    std::optional<Value> value;
  };
  // What a loader leaves for those who wait.
  struct Load {
    std::optional<Value> value;
    std::exception_ptr error;
    typename Platform::CondVar settled;
  };
  using Flights = SingleFlight<Key, Load, Hash, Equal>;
  using Table = SharedTable<Platform, StripeData>;
  using Core = CacheCore<Key, Value, Policy, Table>;

  // Holds the mutex; on leaving lets the readers in again.
  class SCOPED_CAPABILITY Writer {
   public:
    explicit Writer(ConcurrentCache& cache) ACQUIRE(cache.mutex_) : cache_(cache) {
      for (unsigned turn = 0; turn < kSpins; ++turn) {
        if (cache_.mutex_.try_lock()) return;
        Platform::pause(turn);
      }
      cache_.mutex_.lock();
    }
    Writer(ConcurrentCache& cache, std::adopt_lock_t) REQUIRES(cache.mutex_) : cache_(cache) {}
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    ~Writer() RELEASE() {
      cache_.core_.table().readmit();
      cache_.mutex_.unlock();
    }

   private:
    static constexpr unsigned kSpins = 60;
    ConcurrentCache& cache_;
  };

  static void count(std::atomic<std::uint64_t>& counter) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  [[nodiscard]] Index find(const Key& key, std::uint64_t hash) const {
    return core_.find(hash, [&](const Key& other) { return Equal{}(other, key); });
  }

  // REQUIRES: a Reader of the hash, whose stripe `mine` is. Takes a full batch over into `full`.
  std::optional<Value> read(const Key& key, std::uint64_t hash, Instant now, StripeData& mine,
                            HitBatch& full) {
    const Index i = find(key, hash);
    if (i == kNone || core_.expired(i, now)) {
      count(mine.misses);
      return std::nullopt;
    }
    std::optional<Value> value(core_.value(i));
    core_.note_access(i, now);
    count(mine.hits);
    mine.batch[mine.pending++] = {core_.mixed_hash(i), i};
    if (mine.pending == kBatch) {
      full.hits = mine.batch;
      full.count = std::exchange(mine.pending, 0);
    }
    return value;
  }

  std::optional<Value> get_locked(const Key& key, std::uint64_t hash, Instant now) {
    const Writer writer(*this);
    const Index i = find(key, hash);
    if (i == kNone || core_.expired(i, now)) {
      locked_misses_.fetch_add(1, std::memory_order_relaxed);
      return std::nullopt;
    }
    locked_hits_.fetch_add(1, std::memory_order_relaxed);
    core_.touch(i, now);
    return core_.value(i);
  }

  void store(Key&& key, std::uint64_t hash, Value&& value, const PutOptions& options, Instant now,
             Displaced& displaced) REQUIRES(mutex_) {
    core_.table().close(mix_hash(hash));
    const Index i = find(key, hash);
    if (i == kNone) {
      core_.insert(std::move(key), hash, std::move(value), options.weight, options.expires_at, now,
                   displaced);
    } else {
      core_.table().exclude(mix_hash(hash));
      core_.replace(i, std::move(value), options.weight, options.expires_at, now, displaced);
    }
  }

  // A ticket; or, if the value came in the meantime, a copy of it in `stored`.
  typename Flights::Ticket join(const Key& key, Instant now, std::optional<Value>& stored) {
    const Writer writer(*this);
    const Index i = find(key, Hash{}(key));
    if (i == kNone || core_.expired(i, now)) return flights_.join(key, Platform::thread());
    stored = core_.value(i);
    return {Flights::Role::kInline, nullptr};
  }

  template <class Loader>
  Value lead(typename Flights::Flight& flight, Loader&& loader, const PutOptions& options,
             Instant now) {
    std::optional<Value> value;
    std::exception_ptr error;
    try {
      value.emplace(loader(std::as_const(flight.key)));
    } catch (...) {
      error = std::current_exception();
    }
    Displaced displaced;
    {
      const Writer writer(*this);
      const bool may_store = flights_.settle(flight);
      flight.payload.value = value;
      flight.payload.error = error;
      flight.payload.settled.notify_all();
      if (value && may_store) {
        store(Key(flight.key), Hash{}(flight.key), Value(*value), options, now, displaced);
      }
    }
    if (error) std::rethrow_exception(error);
    return *std::move(value);
  }

  Value wait(typename Flights::Flight& flight) {
    const Writer writer(*this);
    while (!flight.is_settled) flight.payload.settled.wait(mutex_);
    flights_.leave(Platform::thread());
    if (flight.payload.error) std::rethrow_exception(flight.payload.error);
    return *flight.payload.value;
  }

  void give_to_policy(const HitBatch& full, Instant now) {
    if (!mutex_.try_lock()) return;
    const Writer writer(*this, std::adopt_lock);
    for (std::size_t n = 0; n < full.count; ++n) core_.prefetch(full.hits[n].index);
    for (std::size_t n = 0; n < full.count; ++n) {
      const Hit& hit = full.hits[n];
      if (core_.is_hash(hit.index, hit.hash)) core_.touch(hit.index, now);
    }
  }

  typename Platform::Mutex mutex_;
  // Changed under mutex_ and with the readers of its region excluded; read under either.
  mutable Core core_;
  Flights flights_ GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> locked_hits_{0};
  std::atomic<std::uint64_t> locked_misses_{0};
};

}  // namespace mcp::cache
