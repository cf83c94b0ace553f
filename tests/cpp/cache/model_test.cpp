// Random operations on the cache and on a plain reference at once: after each, both have displaced
// the same entries for the same causes, hold the same keys, and the cache's invariants hold.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "cache/cache_core.h"
#include "cache/policies.h"
#include "cache/reference_cache.h"
#include "test_rounds.h"

namespace mcp::cache::testing {
namespace {

constexpr Duration kTick = Duration{1} << 26;  // the wheel's; reclaiming is exact at its multiples

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t below(std::uint64_t n) { return engine_() % n; }

 private:
  std::mt19937_64 engine_;
};

template <class Policy>
class Subject {
 public:
  explicit Subject(const CacheOptions& options) : core_(options) {}

  std::optional<std::string> get(Key key, Instant now) {
    const Index i = find(key);
    if (i == kNone || core_.expired(i, now)) return std::nullopt;
    core_.touch(i, now);
    return core_.value(i);
  }
  void put(Key key, const std::string& value, std::uint32_t weight, Instant at, Instant now) {
    const Index i = find(key);
    if (i == kNone) {
      core_.insert(key, key, value, weight, at, now, out_);
    } else {
      core_.replace(i, value, weight, at, now, out_);
    }
  }
  void erase(Key key) {
    if (const Index i = find(key); i != kNone) core_.erase(i, Cause::kRemoved, out_);
  }
  std::vector<Left> left() {
    std::vector<Left> all;
    for (auto& item : out_) all.emplace_back(item.key, item.value, item.cause);
    out_.clear();
    return all;
  }
  [[nodiscard]] Index find(Key key) const {
    return core_.find(key, [&](Key other) { return other == key; });
  }

  CacheCore<Key, std::string, Policy> core_;
  typename CacheCore<Key, std::string, Policy>::Displaced out_;
};

std::vector<Left> sorted(std::vector<Left> left) {
  std::sort(left.begin(), left.end());
  return left;
}

CacheOptions random_options(Random& random) {
  CacheOptions options;
  options.capacity = 1 + random.below(random.below(4) == 0 ? 200 : 24);
  if (random.below(3) == 0) {
    options.idle_ttl = static_cast<Duration>(random.below(50)) * kTick + kTick / 2;
  }
  return options;
}

template <class Policy, class ReferencePolicy>
void compare(std::uint64_t seed, int operations) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  const CacheOptions options = random_options(random);
  const bool weighted = random.below(2) == 0;
  const std::uint64_t keys = 2 + random.below(3 * options.capacity + 4);
  Subject<Policy> subject(options);
  ReferenceCache<ReferencePolicy> reference(options);
  Instant now = 0;
  const auto deadline = [&] {
    if (random.below(2) == 0) return kNever;
    return now + static_cast<Duration>(random.below(60)) * kTick + kTick / 3;
  };
  for (int n = 0; n < operations; ++n) {
    const Key key = random.below(keys);
    std::vector<Left> expected;
    switch (const std::uint64_t kind = random.below(100); kind) {
      default:
        if (kind < 55) {
          ASSERT_EQ(subject.get(key, now), reference.get(key, now));
        } else {
          const auto weight = static_cast<std::uint32_t>(weighted ? random.below(6) : 1);
          const std::string value = std::to_string(n);
          const Instant at = deadline();
          subject.put(key, value, weight, at, now);
          expected = reference.put(key, value, weight, at, now);
        }
        break;
      case 90:
      case 91:
      case 92:
      case 93:
        subject.erase(key);
        expected = reference.erase(key);
        break;
      case 94:
      case 95:
      case 96:
      case 97:
        now += static_cast<Duration>(random.below(30)) * kTick;
        subject.core_.expire(now, subject.out_);
        expected = reference.expire(now);
        break;
      case 98:
        subject.core_.shrink_to_fit();
        if (reference.entries().empty()) (void)reference.clear();
        break;
      case 99: {
        if (random.below(4) == 0) {
          subject.core_.clear(subject.out_);
          expected = reference.clear();
        } else {
          const std::uint64_t capacity = random.below(2 * options.capacity + 2);
          subject.core_.resize(capacity, subject.out_);
          expected = reference.resize(capacity);
        }
        break;
      }
    }
    ASSERT_NO_THROW(subject.core_.check_invariants());
    ASSERT_EQ(sorted(subject.left()), sorted(expected)) << "operation " << n;
    ASSERT_EQ(subject.core_.size(), reference.entries().size());
    for (const auto& [held, entry] : reference.entries()) {
      const Index i = subject.find(held);
      ASSERT_NE(i, kNone);
      ASSERT_EQ(subject.core_.value(i), entry.value);
      ASSERT_EQ(subject.core_.weight(i), entry.weight);
    }
  }
}

template <class Policy>
class CacheModelTest : public ::testing::Test {};
using EveryPolicy = Policies::into<::testing::Types>;
TYPED_TEST_SUITE(CacheModelTest, EveryPolicy);

TYPED_TEST(CacheModelTest, IsTheReference) {
  using Held = Model<TypeParam>;
  for (int seed = 0; seed < test_rounds(150); ++seed) {
    ASSERT_NO_FATAL_FAILURE((compare<typename Held::Subject, typename Held::Reference>(seed, 400)));
  }
}

// The tuner moves the window, so that no plain reference says who is evicted. What must hold: every
// value that went in is either held or was given back once, and the books balance.
TEST(CacheModel, AdaptiveLosesNothingAndInventsNothing) {
  for (int seed = 0; seed < test_rounds(60); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(static_cast<std::uint64_t>(seed));
    CacheOptions options = random_options(random);
    options.capacity *= 8;
    const bool weighted = random.below(2) == 0;
    const std::uint64_t keys = 2 + random.below(2 * options.capacity + 4);
    Subject<AdaptivePolicy> subject(options);
    std::map<std::string, Key> held;  // by value, which is unique
    Instant now = 0;
    for (int n = 0; n < 2'000; ++n) {
      const Key key = random.below(random.below(2) == 0 ? keys : keys / 8 + 1);
      const std::uint64_t kind = random.below(1'000);
      if (kind < 500) {
        const auto value = subject.get(key, now);
        ASSERT_TRUE(!value || held.at(*value) == key);
      } else if (kind < 950) {
        const auto weight = static_cast<std::uint32_t>(weighted ? random.below(6) : 1);
        held[std::to_string(n)] = key;
        const Instant ttl = static_cast<Duration>(random.below(60)) * kTick;
        subject.put(key, std::to_string(n), weight, random.below(2) == 0 ? kNever : now + ttl, now);
      } else if (kind < 970) {
        subject.erase(key);
      } else if (kind < 996) {
        now += static_cast<Duration>(random.below(30 * kTick));
        subject.core_.expire(now, subject.out_, random.below(8));
      } else if (kind < 998) {
        subject.core_.shrink_to_fit();
      } else if (kind < 999) {
        subject.core_.resize(1 + random.below(2 * options.capacity), subject.out_);
      } else {
        subject.core_.clear(subject.out_);
      }
      for (const auto& [left, value, cause] : subject.left()) {
        ASSERT_EQ(held.erase(value), 1U) << value;
      }
      if (n % 16 == 0) {
        ASSERT_NO_THROW(subject.core_.check_invariants());
      }
      ASSERT_EQ(subject.core_.size(), held.size());
    }
  }
}

TEST(GhostModel, KeepsTheYoungestOfASetAndForgetsWhatItGave) {
  Random random(1);
  Ghost ghost;
  ghost.resize(8);  // one set
  std::map<std::uint64_t, std::uint16_t> kept;
  std::uint16_t now = 0;
  for (int n = 0; n < 10'000; ++n) {
    now = static_cast<std::uint16_t>(now + 2 + random.below(20));
    const std::uint64_t hash = mix_hash(random.below(40));
    const auto known = kept.find(hash);
    ASSERT_EQ(ghost.contains(hash), known != kept.end());
    if (known != kept.end()) {
      ASSERT_EQ(ghost.take(hash), known->second);
      kept.erase(known);
    }
    ghost.record(hash, now, now);
    if (kept.size() == 8) {
      kept.erase(std::max_element(kept.begin(), kept.end(), [&](const auto& a, const auto& b) {
        return static_cast<std::uint16_t>(now - a.second) <
               static_cast<std::uint16_t>(now - b.second);
      }));
    }
    kept[hash] = now;
  }
}

}  // namespace
}  // namespace mcp::cache::testing
