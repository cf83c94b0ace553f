#include "cache/cache_core.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cache/policies.h"

namespace mcp::cache {
namespace {

// One cache with integer keys and string values, checked after every operation.
template <class Policy>
struct Fixture {
  explicit Fixture(const CacheOptions& options) : core(options) {}

  [[nodiscard]] Index find(std::uint64_t key) const {
    return core.find(key, [&](std::uint64_t other) { return other == key; });
  }
  [[nodiscard]] bool holds(std::uint64_t key) const { return find(key) != kNone; }

  bool get(std::uint64_t key, Instant now = 0) {
    const Index i = find(key);
    if (i == kNone || core.expired(i, now)) return false;
    core.touch(i, now);
    return true;
  }
  Index put(std::uint64_t key, Instant expires_at = kNever, Instant now = 0,
            std::uint32_t weight = 1) {
    const Index i = core.insert(key, key, std::to_string(key), weight, expires_at, now, out);
    core.check_invariants();
    return i;
  }
  // How many left for `cause` since the last call.
  std::map<Cause, int> left() {
    std::map<Cause, int> counts;
    for (auto& item : out) ++counts[item.cause];
    out.clear();
    return counts;
  }

  CacheCore<std::uint64_t, std::string, Policy> core;
  typename CacheCore<std::uint64_t, std::string, Policy>::Displaced out;
};

template <class Policy>
class CacheCoreTest : public testing::Test {};
using EveryPolicy = Policies::into<testing::Types>;
TYPED_TEST_SUITE(CacheCoreTest, EveryPolicy);

TYPED_TEST(CacheCoreTest, FindsWhatWasInserted) {
  Fixture<TypeParam> cache({.capacity = 1000});
  for (std::uint64_t key = 0; key < 1000; ++key) cache.put(key);
  for (std::uint64_t key = 0; key < 1000; ++key) {
    ASSERT_TRUE(cache.holds(key));
    EXPECT_EQ(cache.core.value(cache.find(key)), std::to_string(key));
  }
  EXPECT_FALSE(cache.holds(1000));
  EXPECT_EQ(cache.core.size(), 1000U);
}

TYPED_TEST(CacheCoreTest, AFreshKeyIsThereAfterInsertionAtEveryCapacity) {
  for (std::uint64_t capacity = 1; capacity <= 40; ++capacity) {
    Fixture<TypeParam> cache({.capacity = capacity});
    for (std::uint64_t key = 0; key < 200; ++key) {
      cache.put(key);
      ASSERT_TRUE(cache.holds(key));
      ASSERT_LE(cache.core.size(), capacity);
    }
    EXPECT_EQ(cache.core.size(), capacity);
  }
}

TYPED_TEST(CacheCoreTest, GivesBackWhatItDisplaces) {
  Fixture<TypeParam> cache({.capacity = 10});
  for (std::uint64_t key = 0; key < 25; ++key) cache.put(key);
  EXPECT_EQ(cache.out.size(), 15U);
  for (auto& item : cache.out) {
    EXPECT_EQ(item.value, std::to_string(item.key));
    EXPECT_EQ(item.cause, Cause::kEvicted);
    EXPECT_FALSE(cache.holds(item.key));
  }
}

TYPED_TEST(CacheCoreTest, ReplaceGivesBackTheOldValue) {
  Fixture<TypeParam> cache({.capacity = 10});
  const Index i = cache.put(1);
  cache.core.aux(i) = 7;
  cache.core.replace(i, "new", 1, kNever, 0, cache.out);
  cache.core.check_invariants();
  ASSERT_EQ(cache.out.size(), 1U);
  EXPECT_EQ(cache.out[0].value, "1");
  EXPECT_EQ(cache.out[0].cause, Cause::kReplaced);
  EXPECT_EQ(cache.core.value(cache.find(1)), "new");
  EXPECT_EQ(cache.core.aux(i), 7U);
}

TYPED_TEST(CacheCoreTest, AnEntryHeavierThanTheCacheIsHandedBack) {
  Fixture<TypeParam> cache({.capacity = 10});
  cache.put(1, kNever, 0, 4);
  EXPECT_EQ(cache.put(2, kNever, 0, 11), kNone);
  EXPECT_TRUE(cache.holds(1));
  EXPECT_EQ(cache.left()[Cause::kEvicted], 1);

  cache.core.replace(cache.find(1), "heavy", 11, kNever, 0, cache.out);
  cache.core.check_invariants();
  EXPECT_FALSE(cache.holds(1));
  EXPECT_EQ(cache.out.size(), 2U);
}

TYPED_TEST(CacheCoreTest, AHeavierValueDisplacesOthersButNotItself) {
  Fixture<TypeParam> cache({.capacity = 10});
  for (std::uint64_t key = 0; key < 10; ++key) cache.put(key);
  for (std::uint64_t key = 0; key < 10; ++key) {
    if (!cache.holds(key)) continue;
    cache.core.replace(cache.find(key), "heavier", 6, kNever, 0, cache.out);
    cache.core.check_invariants();
    EXPECT_TRUE(cache.holds(key));
    EXPECT_LE(cache.core.weight(), 10U);
  }
}

TYPED_TEST(CacheCoreTest, ExpiryIsExactForReaders) {
  Fixture<TypeParam> cache({.capacity = 10});
  cache.put(1, 5 * kSecond);
  EXPECT_TRUE(cache.get(1, 5 * kSecond - 1));
  EXPECT_FALSE(cache.get(1, 5 * kSecond));
}

TYPED_TEST(CacheCoreTest, ExpireTakesOutWhatHasExpiredAndNothingElse) {
  Fixture<TypeParam> cache({.capacity = 100'000});
  std::map<std::uint64_t, Instant> deadline;
  std::uint64_t seed = 1;
  for (std::uint64_t key = 0; key < 2'000; ++key) {
    seed = seed * 6364136223846793005 + 1;
    deadline[key] = static_cast<Instant>((seed >> 20) >> (seed % 40));
    cache.core.insert(key, key, "", 1, deadline[key], 0, cache.out);
  }
  const Duration lateness = 68 * kMillisecond;
  for (Instant now = kMillisecond; now < Instant{1} << 45; now += now / 3) {
    cache.core.expire(now, cache.out);
    cache.core.check_invariants();
    for (auto& item : cache.out) EXPECT_EQ(item.cause, Cause::kExpired);
    cache.out.clear();
    std::size_t late = 0;
    for (const auto& [key, at] : deadline) {
      const bool held = cache.holds(key);
      late += held && at <= now ? 1 : 0;
      ASSERT_TRUE(held || at <= now) << at << " at " << now;
      ASSERT_TRUE(!held || now < at + lateness) << at << " at " << now;
    }
    std::size_t told = 0;
    cache.core.for_each_late(now, [&told](Index) { ++told; });
    ASSERT_EQ(told, late) << " at " << now;
  }
  cache.core.expire(kNever - 1, cache.out);
  EXPECT_EQ(cache.core.size(), 0U);
  EXPECT_EQ(cache.core.next_expiry(), kNever);
}

TYPED_TEST(CacheCoreTest, ExpireLateLeavesNothingThatHasExpired) {
  Fixture<TypeParam> cache({.capacity = 1000, .idle_ttl = 3 * kSecond});
  for (std::uint64_t key = 0; key < 1000; ++key) {
    const Instant at = key * 7 * kMillisecond + 1;
    cache.core.insert(key, key, "", 1, at, 0, cache.out);
  }
  std::size_t late = 0;
  for (Instant now = 1; now < 8 * kSecond; now += 13 * kMillisecond) {
    cache.core.expire(now, cache.out);
    const std::size_t before = cache.core.size();
    cache.core.expire_late(now, cache.out);
    cache.core.check_invariants();
    late += before - cache.core.size();
    std::size_t living = 0;
    cache.core.for_each([&](Index i) { living += cache.core.expired(i, now) ? 0 : 1; });
    ASSERT_EQ(cache.core.size(), living) << " at " << now;
  }
  EXPECT_GT(late, 0U);
  for (auto& item : cache.out) EXPECT_EQ(item.cause, Cause::kExpired);
  EXPECT_EQ(cache.core.size(), 0U);
}

TYPED_TEST(CacheCoreTest, ExpireDoesBoundedWork) {
  Fixture<TypeParam> cache({.capacity = 1000});
  for (std::uint64_t key = 0; key < 1000; ++key) cache.put(key, kSecond);
  EXPECT_TRUE(cache.core.expire(2 * kSecond, cache.out, 100));
  cache.core.check_invariants();
  EXPECT_EQ(cache.out.size(), 100U);
  EXPECT_EQ(cache.core.size(), 900U);
  EXPECT_FALSE(cache.core.expire(2 * kSecond, cache.out));
  EXPECT_EQ(cache.core.size(), 0U);
}

TYPED_TEST(CacheCoreTest, NextExpiryIsNeitherEarlyNorLate) {
  for (const Duration ttl : {Duration{1}, kSecond, 100 * kSecond, 100'000 * kSecond}) {
    Fixture<TypeParam> cache({.capacity = 1000});
    EXPECT_EQ(cache.core.next_expiry(), kNever);
    cache.put(static_cast<std::uint64_t>(ttl), ttl);
    int wakeups = 0;
    Instant now = 0;
    while (cache.core.size() != 0) {
      const Instant due = cache.core.next_expiry();
      cache.core.expire(due - 1, cache.out);
      ASSERT_EQ(cache.core.size(), 1U);
      ASSERT_GT(due, now);
      now = due;
      cache.core.expire(now, cache.out);
      ASSERT_LT(++wakeups, 6);
    }
    EXPECT_GE(now, ttl);
    EXPECT_LT(now, ttl + 68 * kMillisecond);
  }
}

TYPED_TEST(CacheCoreTest, TouchPutsOffIdleExpiry) {
  Fixture<TypeParam> cache({.capacity = 10, .idle_ttl = 10 * kSecond});
  cache.put(1, 35 * kSecond);
  cache.put(2);
  for (Instant now = 9 * kSecond; now <= 34 * kSecond; now += 9 * kSecond) {
    EXPECT_TRUE(cache.get(1, now));
    cache.core.expire(now, cache.out);
    cache.core.check_invariants();
  }
  EXPECT_FALSE(cache.holds(2));  // idle since 0
  EXPECT_TRUE(cache.get(1, 34 * kSecond));
  EXPECT_FALSE(cache.get(1, 35 * kSecond));  // its own deadline
  EXPECT_EQ(cache.left()[Cause::kExpired], 1);
}

TYPED_TEST(CacheCoreTest, InsertionReclaimsTheExpiredBeforeItEvictsTheLiving) {
  Fixture<TypeParam> cache({.capacity = 10});
  for (std::uint64_t key = 0; key < 5; ++key) cache.put(key, kSecond);
  for (std::uint64_t key = 5; key < 10; ++key) cache.put(key);
  cache.put(10, kNever, 2 * kSecond);
  EXPECT_EQ(cache.left(), (std::map<Cause, int>{{Cause::kExpired, 5}}));
  for (std::uint64_t key = 5; key <= 10; ++key) EXPECT_TRUE(cache.holds(key));
}

TYPED_TEST(CacheCoreTest, ResizeEvictsDownToTheNewCapacity) {
  Fixture<TypeParam> cache({.capacity = 1000});
  for (std::uint64_t key = 0; key < 1000; ++key) cache.put(key);
  cache.core.resize(10, cache.out);
  cache.core.check_invariants();
  EXPECT_EQ(cache.core.size(), 10U);
  EXPECT_EQ(cache.left()[Cause::kEvicted], 990);
  cache.core.resize(100, cache.out);
  for (std::uint64_t key = 2000; key < 2100; ++key) cache.put(key);
  EXPECT_EQ(cache.core.size(), 100U);
  cache.core.resize(0, cache.out);
  EXPECT_EQ(cache.core.size(), 0U);
  EXPECT_EQ(cache.put(1), kNone);
}

TYPED_TEST(CacheCoreTest, ClearHandsEverythingBackAndTheCacheGoesOn) {
  Fixture<TypeParam> cache({.capacity = 100});
  for (std::uint64_t key = 0; key < 100; ++key) cache.put(key, kSecond);
  cache.core.clear(cache.out);
  cache.core.check_invariants();
  EXPECT_EQ(cache.left()[Cause::kCleared], 100);
  EXPECT_EQ(cache.core.size(), 0U);
  for (std::uint64_t key = 0; key < 150; ++key) cache.put(key);
  EXPECT_EQ(cache.core.size(), 100U);
}

TYPED_TEST(CacheCoreTest, ShrinkingGivesMemoryBackAndKeepsEveryEntry) {
  Fixture<TypeParam> cache({.capacity = 100'000});
  for (std::uint64_t key = 0; key < 50'000; ++key) {
    cache.core.insert(key, key, std::to_string(key), 1, key % 50 == 0 ? kNever : kSecond, 0,
                      cache.out);
  }
  const std::size_t full = cache.core.memory_bytes();
  cache.core.expire(2 * kSecond, cache.out);
  cache.core.shrink_to_fit();
  cache.core.check_invariants();
  EXPECT_EQ(cache.core.size(), 1'000U);
  EXPECT_LT(cache.core.memory_bytes(), full / 10);
  for (std::uint64_t key = 0; key < 50'000; key += 50) {
    ASSERT_TRUE(cache.holds(key));
    EXPECT_EQ(cache.core.value(cache.find(key)), std::to_string(key));
  }
  cache.core.clear(cache.out);
  cache.core.shrink_to_fit();
  EXPECT_LT(cache.core.memory_bytes(), 8'000U);
}

TYPED_TEST(CacheCoreTest, VersionChangesWheneverAnEntryComesGoesOrMoves) {
  Fixture<TypeParam> cache({.capacity = 100});
  std::uint64_t last = cache.core.version();
  const auto changed = [&] {
    const std::uint64_t before = std::exchange(last, cache.core.version());
    return before != last;
  };
  const Index i = cache.put(1);
  EXPECT_TRUE(changed());
  cache.core.touch(i, 0);
  cache.core.replace(i, "new", 1, kNever, 0, cache.out);
  EXPECT_FALSE(changed());
  cache.core.erase(i, Cause::kRemoved, cache.out);
  EXPECT_TRUE(changed());
  cache.core.clear(cache.out);
  EXPECT_TRUE(changed());
}

TYPED_TEST(CacheCoreTest, CandidatesAreTheEntriesWithTheHash) {
  Fixture<TypeParam> cache({.capacity = 1000});
  for (std::uint64_t key = 0; key < 100; ++key) {
    cache.core.insert(key, key % 2, "", 1, kNever, 0, cache.out);
  }
  std::vector<std::uint64_t> found;
  auto at = cache.core.candidates(1);
  for (Index i; (i = cache.core.candidate(at)) != kNone;) found.push_back(cache.core.key(i));
  std::sort(found.begin(), found.end());
  ASSERT_EQ(found.size(), 50U);
  for (std::size_t n = 0; n < 50; ++n) EXPECT_EQ(found[n], 2 * n + 1);
}

TYPED_TEST(CacheCoreTest, KeysThatCollideAreAllFoundAndErased) {
  Fixture<TypeParam> cache({.capacity = 3000});
  const auto find = [&](std::uint64_t key) {
    return cache.core.find(42, [&](std::uint64_t other) { return other == key; });
  };
  for (std::uint64_t key = 0; key < 3000; ++key) {
    cache.core.insert(key, 42, "", 1, kNever, 0, cache.out);
  }
  cache.core.check_invariants();
  for (std::uint64_t key = 0; key < 3000; key += 2) {
    ASSERT_NE(find(key), kNone);
    cache.core.erase(find(key), Cause::kRemoved, cache.out);
  }
  cache.core.check_invariants();
  for (std::uint64_t key = 0; key < 3000; ++key) ASSERT_EQ(find(key) != kNone, key % 2 == 1);
}

TEST(LruPolicy, EvictsTheLeastRecentlyUsed) {
  Fixture<LruPolicy> cache({.capacity = 3});
  for (std::uint64_t key : {1, 2, 3}) cache.put(key);
  EXPECT_TRUE(cache.get(1));
  cache.put(4);
  EXPECT_FALSE(cache.holds(2));
  cache.core.replace(cache.find(3), "", 1, kNever, 0, cache.out);
  cache.put(5);
  EXPECT_FALSE(cache.holds(1));
  EXPECT_TRUE(cache.holds(3));
}

TEST(AdaptivePolicy, KeepsALoopThatIsALittleTooLarge) {
  Fixture<AdaptivePolicy> adaptive({.capacity = 1000});
  Fixture<LruPolicy> lru({.capacity = 1000});
  int adaptive_hits = 0;
  int lru_hits = 0;
  for (int turn = 0; turn < 50; ++turn) {
    for (std::uint64_t key = 0; key < 1100; ++key) {
      if (adaptive.get(key)) {
        ++adaptive_hits;
      } else {
        adaptive.core.insert(key, key, "", 1, kNever, 0, adaptive.out);
      }
      if (lru.get(key)) {
        ++lru_hits;
      } else {
        lru.core.insert(key, key, "", 1, kNever, 0, lru.out);
      }
    }
  }
  EXPECT_EQ(lru_hits, 0);
  EXPECT_GT(adaptive_hits, 50 * 1100 * 3 / 4);
}

TEST(AdaptivePolicy, AScanDoesNotDisplaceWhatIsInUse) {
  Fixture<AdaptivePolicy> cache({.capacity = 1000});
  for (int turn = 0; turn < 20; ++turn) {
    for (std::uint64_t key = 0; key < 800; ++key) {
      if (!cache.get(key)) cache.core.insert(key, key, "", 1, kNever, 0, cache.out);
    }
  }
  for (std::uint64_t key = 10'000; key < 20'000; ++key) {
    cache.core.insert(key, key, "", 1, kNever, 0, cache.out);
  }
  int kept = 0;
  for (std::uint64_t key = 0; key < 800; ++key) kept += cache.holds(key);
  EXPECT_GT(kept, 700);
}

TEST(AdaptivePolicy, AnEmptyCacheCostsLittle) {
  const CacheCore<void*, void*> small({.capacity = 1 << 20});
  EXPECT_LT(small.memory_bytes(), 2'500U);
}

}  // namespace
}  // namespace mcp::cache
