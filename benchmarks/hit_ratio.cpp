// hit_ratio POLICY CAPACITY...: replays the keys on standard input (little-endian, 64 bits each)
// against a cold cache of each capacity, a miss storing the key, and prints "capacity hits
// accesses". A plain set follows what the cache says it took in and gave out: a hit on a key that
// is not in it, a miss on one that is, or more entries than the capacity end the run with status 1.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <unordered_set>
#include <vector>

#include "cache/cache_core.h"
#include "cache/policies.h"

namespace {

struct Nothing {};

void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "hit_ratio: %s\n", what);
  std::exit(1);
}

template <class Policy>
std::uint64_t replay(const std::vector<std::uint64_t>& keys, std::uint64_t capacity) {
  using Core = mcp::cache::CacheCore<std::uint64_t, Nothing, Policy>;
  Core cache({.capacity = capacity});
  typename Core::Displaced displaced;
  std::unordered_set<std::uint64_t> inside;
  std::uint64_t hits = 0;
  for (const std::uint64_t key : keys) {
    const auto i = cache.find(key, [key](std::uint64_t other) { return other == key; });
    expect((i != mcp::cache::kNone) == inside.contains(key), "a hit or a miss that is none");
    if (i != mcp::cache::kNone) {
      expect(cache.key(i) == key, "the entry of another key");
      ++hits;
      cache.touch(i, 0);
    } else {
      cache.insert(key, key, {}, 1, mcp::kNever, 0, displaced);
      inside.insert(key);
      for (const auto& item : displaced) {
        expect(inside.erase(item.key) == 1, "evicted a key that it did not have");
      }
      displaced.clear();
    }
    expect(inside.size() == cache.size() && cache.size() <= capacity, "a wrong number of entries");
  }
  return hits;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: hit_ratio POLICY CAPACITY... < keys\n");
    return 2;
  }
  std::vector<std::uint64_t> keys;
  std::uint64_t block[4096];
  while (const std::size_t got = std::fread(block, sizeof(block[0]), 4096, stdin)) {
    keys.insert(keys.end(), block, block + got);
  }
  for (int arg = 2; arg < argc; ++arg) {
    const std::uint64_t capacity = std::strtoull(argv[arg], nullptr, 10);
    std::uint64_t hits = 0;
    const bool known = mcp::cache::Policies::with_name(
        argv[1],
        [&]<class Policy>(std::type_identity<Policy>) { hits = replay<Policy>(keys, capacity); });
    expect(known, "no policy of that name");
    std::printf("%llu %llu %zu\n", static_cast<unsigned long long>(capacity),
                static_cast<unsigned long long>(hits), keys.size());
  }
}
