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
//
// Thread-safety: every member from any thread. User code that runs inside: Hash before any lock;
// Equal, and the copy of a Value, while the entry is kept alive (they must not use this cache);
// destructors of displaced keys and values after all locks. Values are copied out: make large ones
// shared pointers. Lock: mutex_, taken alone.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "cache/cache_core.h"
#include "cache/shared_table.h"

namespace mcp::cache {

// Threads as the operating system has them.
struct ThreadPlatform {
  using Mutex = mcp::Mutex;

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

  // Adds the key or replaces its value. What that displaces is destroyed here, after unlocking.
  void put(Key key, Value value, const PutOptions& options, Instant now) {
    Displaced displaced;
    put(std::move(key), std::move(value), options, now, displaced);
  }
  // The same, for callers that want what it displaces.
  void put(Key key, Value value, const PutOptions& options, Instant now, Displaced& displaced) {
    const std::uint64_t hash = Hash{}(key);
    const Writer writer(*this);
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

  // True if the key was there, expired or not.
  bool erase(const Key& key) {
    Displaced displaced;
    const std::uint64_t hash = Hash{}(key);
    const Writer writer(*this);
    const Index i = find(key, hash);
    if (i != kNone) core_.erase(i, Cause::kRemoved, displaced);
    return i != kNone;
  }

  void clear() {
    Displaced displaced;
    const Writer writer(*this);
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
  using Table = SharedTable<Platform, StripeData>;
  using Core = CacheCore<Key, Value, Policy, Table>;

  // Holds the mutex; on leaving lets the readers in again.
  class Writer {
   public:
    explicit Writer(ConcurrentCache& cache) : cache_(cache) {
      for (unsigned turn = 0; turn < kSpins; ++turn) {
        if (cache_.mutex_.try_lock()) return;
        Platform::pause(turn);
      }
      cache_.mutex_.lock();
    }
    Writer(ConcurrentCache& cache, std::adopt_lock_t) : cache_(cache) {}
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    ~Writer() {
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

  void give_to_policy(const HitBatch& full, Instant now) {
    if (!mutex_.try_lock()) return;
    const Writer writer(*this, std::adopt_lock);
    for (std::size_t n = 0; n < full.count; ++n) {
      const Hit& hit = full.hits[n];
      if (core_.is_hash(hit.index, hit.hash)) core_.touch(hit.index, now);
    }
  }

  typename Platform::Mutex mutex_;
  // Changed under mutex_ and with the readers of its region excluded; read under either.
  mutable Core core_;
  std::atomic<std::uint64_t> locked_hits_{0};
  std::atomic<std::uint64_t> locked_misses_{0};
};

}  // namespace mcp::cache
