// hit_ratio POLICY CAPACITY...: replays the keys on standard input (little-endian, 64 bits each)
// against a cold cache of each capacity, a miss storing the key, and prints "capacity hits
// accesses".
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cache/cache_core.h"

namespace {

struct Nothing {};

template <class Policy>
std::uint64_t replay(const std::vector<std::uint64_t>& keys, std::uint64_t capacity) {
  using Core = mcp::cache::CacheCore<std::uint64_t, Nothing, Policy>;
  Core cache({.capacity = capacity});
  typename Core::Displaced displaced;
  std::uint64_t hits = 0;
  for (const std::uint64_t key : keys) {
    const auto i = cache.find(key, [key](std::uint64_t other) { return other == key; });
    if (i != mcp::cache::kNone) {
      ++hits;
      cache.touch(i, 0);
    } else {
      cache.insert(key, key, {}, 1, mcp::kNever, 0, displaced);
      displaced.clear();
    }
  }
  return hits;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: hit_ratio adaptive|lru CAPACITY... < keys\n");
    return 2;
  }
  const bool lru = std::strcmp(argv[1], "lru") == 0;
  std::vector<std::uint64_t> keys;
  std::uint64_t block[4096];
  while (const std::size_t got = std::fread(block, sizeof(block[0]), 4096, stdin)) {
    keys.insert(keys.end(), block, block + got);
  }
  for (int arg = 2; arg < argc; ++arg) {
    const std::uint64_t capacity = std::strtoull(argv[arg], nullptr, 10);
    const std::uint64_t hits = lru ? replay<mcp::cache::LruPolicy>(keys, capacity)
                                   : replay<mcp::cache::AdaptivePolicy>(keys, capacity);
    std::printf("%llu %llu %zu\n", static_cast<unsigned long long>(capacity),
                static_cast<unsigned long long>(hits), keys.size());
  }
}
