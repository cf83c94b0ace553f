#include "cache/concurrent_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <latch>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cache/fibers.h"
#include "cache/test_rounds.h"

namespace mcp::cache {
namespace {

using mcp::testing::FiberPlatform;
using mcp::testing::Fibers;

using Names = ConcurrentCache<std::string, std::string>;

TEST(ConcurrentCache, GivesBackWhatWasPut) {
  Names cache({.capacity = 100});
  EXPECT_EQ(cache.get("a", 0), std::nullopt);
  cache.put("a", "1", {}, 0);
  EXPECT_EQ(cache.get("a", 0), "1");
  cache.put("a", "2", {}, 0);
  EXPECT_EQ(cache.get("a", 0), "2");
  EXPECT_TRUE(cache.erase("a"));
  EXPECT_FALSE(cache.erase("a"));
  EXPECT_EQ(cache.get("a", 0), std::nullopt);
  EXPECT_EQ(cache.stats().hits, 2U);
  EXPECT_EQ(cache.stats().misses, 2U);
}

TEST(ConcurrentCache, KeepsItsCapacityAndItsDeadlines) {
  Names cache({.capacity = 100, .idle_ttl = 10 * kSecond});
  for (int n = 0; n < 1'000; ++n) {
    cache.put(std::to_string(n), "", {.expires_at = 5 * kSecond}, 0);
    ASSERT_LE(cache.size(), 100U);
  }
  EXPECT_EQ(cache.get("999", 5 * kSecond), std::nullopt);
  cache.put("idle", "x", {}, 6 * kSecond);
  EXPECT_EQ(cache.get("idle", 15 * kSecond), "x");
  EXPECT_EQ(cache.get("idle", 24 * kSecond), "x");
  EXPECT_EQ(cache.get("idle", 34 * kSecond), std::nullopt);
  EXPECT_FALSE(cache.expire(60 * kSecond));
  EXPECT_EQ(cache.size(), 0U);
  cache.check_invariants();
}

TEST(ConcurrentCache, HitsReachThePolicy) {
  ConcurrentCache<int, int, LruPolicy> cache({.capacity = 100});
  for (int n = 0; n < 100; ++n) cache.put(n, n, {}, 0);
  for (int n = 0; n < 64; ++n) EXPECT_EQ(cache.get(n % 2, 0), n % 2);  // a full batch
  for (int n = 100; n < 198; ++n) cache.put(n, n, {}, 0);
  EXPECT_TRUE(cache.get(0, 0));
  EXPECT_TRUE(cache.get(1, 0));
  EXPECT_FALSE(cache.get(2, 0));
}

TEST(ConcurrentCache, ShrinksAndGrowsAgain) {
  ConcurrentCache<int, int> cache({.capacity = 10'000});
  for (int n = 0; n < 10'000; ++n) cache.put(n, n, {}, 0);
  const std::size_t full = cache.memory_bytes();
  for (int n = 100; n < 10'000; ++n) cache.erase(n);
  cache.shrink_to_fit();
  cache.check_invariants();
  EXPECT_LT(cache.memory_bytes(), full / 3);
  for (int n = 0; n < 100; ++n) ASSERT_EQ(cache.get(n, 0), n);
  cache.resize(50);
  EXPECT_EQ(cache.size(), 50U);
  cache.clear();
  EXPECT_EQ(cache.size(), 0U);
}

TEST(ConcurrentCache, LoadsOnceForAllWhoAsk) {
  Names cache({.capacity = 100});
  std::atomic<int> loads{0};
  std::latch leading(1);
  std::latch go(1);
  const auto load = [&](const std::string& key) {
    ++loads;
    leading.count_down();
    go.wait();
    return key + "!";
  };
  std::vector<std::jthread> threads;
  threads.emplace_back([&] { EXPECT_EQ(cache.get_or_load("a", load, {}, 0), "a!"); });
  leading.wait();
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&] { EXPECT_EQ(cache.get_or_load("a", load, {}, 0), "a!"); });
  }
  go.count_down();
  threads.clear();
  EXPECT_EQ(loads, 1);
}

TEST(ConcurrentCache, ALoaderThatThrowsStoresNothing) {
  Names cache({.capacity = 100});
  const auto fail = [](const std::string&) -> std::string { throw std::runtime_error("no"); };
  EXPECT_THROW((void)cache.get_or_load("a", fail, {}, 0), std::runtime_error);
  EXPECT_EQ(cache.get("a", 0), std::nullopt);
  const auto load = [](const std::string&) { return std::string("yes"); };
  EXPECT_EQ(cache.get_or_load("a", load, {}, 0), "yes");
  EXPECT_EQ(cache.get("a", 0), "yes");
}

TEST(ConcurrentCache, ALoaderMayAskForItsOwnKey) {
  Names cache({.capacity = 100});
  const auto inner = [](const std::string&) { return std::string("inner"); };
  const auto outer = [&](const std::string& key) {
    return cache.get_or_load(key, inner, {}, 0) + " in outer";
  };
  EXPECT_EQ(cache.get_or_load("a", outer, {}, 0), "inner in outer");
  EXPECT_EQ(cache.get("a", 0), "inner in outer");
}

TEST(ConcurrentCache, AnInvalidationDuringTheLoadWins) {
  Names cache({.capacity = 100});
  const auto erased = [&](const std::string& key) {
    cache.erase(key);
    return std::string("old");
  };
  EXPECT_EQ(cache.get_or_load("a", erased, {}, 0), "old");
  EXPECT_EQ(cache.get("a", 0), std::nullopt);
  const auto overtaken = [&](const std::string& key) {
    cache.put(key, "new", {}, 0);
    return std::string("old");
  };
  EXPECT_EQ(cache.get_or_load("a", overtaken, {}, 0), "old");
  EXPECT_EQ(cache.get("a", 0), "new");
}

// A value that knows whether it is alive, and is copied in two steps.
class Tracked {
 public:
  explicit Tracked(std::uint64_t number = 0) : number_(number) { ++alive; }
  Tracked(const Tracked& other) : number_(other.number()) {
    ++alive;
    FiberPlatform::step();
    if (other.number() != number_) ++dead_reads;
  }
  Tracked(Tracked&& other) noexcept : number_(other.number()) { ++alive; }
  Tracked& operator=(const Tracked& other) {
    number_ = other.number();
    return *this;
  }
  ~Tracked() {
    magic_ = 0;
    --alive;
  }
  [[nodiscard]] std::uint64_t number() const noexcept {
    if (magic_ != kMagic) ++dead_reads;
    return number_;
  }

  static inline std::atomic<int> alive{0};
  static inline std::atomic<int> dead_reads{0};

 private:
  static constexpr std::uint64_t kMagic = 0xA11FE;
  std::uint64_t magic_ = kMagic;
  std::uint64_t number_;
};

struct SteppingEqual {
  bool operator()(int a, int b) const {
    FiberPlatform::step();
    return a == b;
  }
};

// What happened to one key, in the order of a logical clock.
struct Event {
  enum Kind { kPut, kLoad, kErase, kRead } kind;  // kLoad: may be stored, after its end
  int key;
  std::uint64_t number;  // of the value put or read; 0: absent
  int begun;
  int ended;
};

// Every read returns a value that was put before the read ended and was not certainly overwritten
// before it began.
void expect_consistent(const std::vector<Event>& events, bool evicts) {
  const auto ends_before = [](const Event& a, const Event& b) { return a.ended < b.begun; };
  for (const Event& read : events) {
    if (read.kind != Event::kRead) continue;
    const Event* source = nullptr;
    for (const Event& put : events) {
      const bool writes = put.kind == Event::kPut || put.kind == Event::kLoad;
      if (writes && read.number != 0 && put.number == read.number) source = &put;
    }
    if (read.number != 0) {
      ASSERT_NE(source, nullptr) << "a value that nobody put";
      ASSERT_EQ(source->key, read.key) << "a foreign value";
      ASSERT_FALSE(ends_before(read, *source)) << "a value from the future";
    } else if (evicts) {
      continue;
    }
    bool absent_is_explained = read.number != 0;
    bool ever_put = false;
    for (const Event& other : events) {
      const bool changes = other.kind == Event::kPut || other.kind == Event::kErase;
      if (other.key != read.key || !changes) continue;
      if (read.number != 0 && &other != source) {
        ASSERT_FALSE(ends_before(*source, other) && ends_before(other, read)) << "a stale value";
      }
      if (other.kind == Event::kPut && ends_before(other, read)) ever_put = true;
      if (other.kind == Event::kErase && !ends_before(read, other)) absent_is_explained = true;
    }
    ASSERT_TRUE(absent_is_explained || !ever_put) << "a value was lost";
  }
}

using Subject =
    ConcurrentCache<int, Tracked, AdaptivePolicy, std::hash<int>, SteppingEqual, FiberPlatform>;

class CacheSchedule {
 public:
  explicit CacheSchedule(std::uint64_t seed)
      : seed_(seed), cache_({.capacity = seed % 3 == 0 ? 2U : 64U}) {}

  void run() {
    Fibers fibers(seed_);
    const std::size_t actors = 2 + seed_ % 3;
    for (std::size_t n = 0; n < actors; ++n) fibers.add([this, n] { act(n); });
    fibers.run();
    std::vector<Event> all;
    for (const auto& log : logs_) all.insert(all.end(), log.begin(), log.end());
    ASSERT_NO_FATAL_FAILURE(expect_consistent(all, seed_ % 3 == 0));
    ASSERT_NO_THROW(cache_.check_invariants());
  }

 private:
  static constexpr int kKeys = 3;

  int tick() { return clock_.fetch_add(1, std::memory_order_relaxed); }

  void act(std::size_t actor) {
    std::minstd_rand random(static_cast<unsigned>(seed_ * 7 + actor));
    auto& log = logs_[actor];
    for (int n = 0; n < 4; ++n) {
      const int key = static_cast<int>(random() / 7 % kKeys);
      const std::uint64_t number = (actor + 1) * 1000 + static_cast<unsigned>(n);
      const int begun = tick();
      switch (random() / 7 % 10) {
        case 0:
        case 1:
        case 2:
          cache_.put(key, Tracked(number), {}, 0);
          log.push_back({Event::kPut, key, number, begun, tick()});
          break;
        case 3:
          cache_.erase(key);
          log.push_back({Event::kErase, key, 0, begun, tick()});
          break;
        case 4: {
          const auto load = [&](int) {
            const int asked = tick();
            FiberPlatform::step();
            log.push_back({Event::kLoad, key, number, asked, tick()});
            return Tracked(number);
          };
          const std::uint64_t got = cache_.get_or_load(key, load, {}, 0).number();
          log.push_back({Event::kRead, key, got, begun, tick()});
          break;
        }
        default: {
          const std::optional<Tracked> got = cache_.get(key, 0);
          log.push_back({Event::kRead, key, got ? got->number() : 0, begun, tick()});
        }
      }
    }
  }

  std::uint64_t seed_;
  std::atomic<int> clock_{0};
  std::array<std::vector<Event>, Fibers::kMost> logs_;
  Subject cache_;
};

TEST(ConcurrentCache, ScheduleNoReadIsStaleForeignOrDead) {
  for (int seed = 0; seed < test_rounds(10'000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ASSERT_NO_FATAL_FAILURE(CacheSchedule(static_cast<std::uint64_t>(seed)).run());
    ASSERT_EQ(Tracked::alive, 0);
    ASSERT_EQ(Tracked::dead_reads, 0);
  }
}

// Real threads, small caches, everything at once: for the thread sanitizer.
TEST(ConcurrentCache, ThreadsShareIt) {
  ConcurrentCache<int, std::shared_ptr<const int>> cache({.capacity = 200});
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::minstd_rand random(t + 1);
        for (int n = 0; n < 20'000; ++n) {
          const int key = static_cast<int>(random() / 11 % 300);
          const auto load = [](int k) { return std::make_shared<const int>(k); };
          const unsigned kind = random() / 11 % 100;
          if (kind < 80) {
            if (const auto value = cache.get(key, n); value && **value != key) ++wrong;
          } else if (kind < 90) {
            if (*cache.get_or_load(key, load, {}, n) != key) ++wrong;
          } else if (kind < 98) {
            cache.put(key, load(key), {.expires_at = n + 50}, n);
          } else if (kind < 99) {
            cache.erase(key);
          } else {
            cache.resize(100 + random() / 11 % 200);
          }
          if (n % 5'000 == 0) cache.shrink_to_fit();
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
  cache.check_invariants();
}

}  // namespace
}  // namespace mcp::cache
