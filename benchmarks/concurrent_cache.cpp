// concurrent_cache THREADS: reads keys of a Zipf(0.99) distribution through a
// ConcurrentCache of 10^5 entries, a miss storing the key; the key space is
// chosen for about 95 % hits. Prints "nanoseconds-per-get-of-one-thread
// hit-ratio nanoseconds-per-step-of-the-bare-loop"; the bare loop, run by as
// many threads, only looks the same keys up in an array of the same size that
// nobody writes: what the machine itself allows. A second line "bytes" is the
// memory of an entry of the single-owner core at 10^6 entries with deadlines,
// keys and values of 8 bytes included.
#include "cache/concurrent_cache.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <random>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kCapacity = 100'000;
constexpr std::size_t kKeys = 180'000;
constexpr std::size_t kGets = 1 << 20;
constexpr int kPasses = 4;
constexpr unsigned kDraws = 4;
constexpr double kSkew = 0.99;

using Cache = mcp::cache::ConcurrentCache<std::uint64_t, std::uint64_t>;

std::vector<double> zipf_sums() {
  std::vector<double> sums(kKeys);
  double sum = 0;
  for (std::size_t rank = 0; rank < kKeys; ++rank) {
    sum += 1 / std::pow(static_cast<double>(rank + 1), kSkew);
    sums[rank] = sum;
  }
  return sums;
}

std::vector<std::uint64_t> draw(const std::vector<double>& sums, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(0, sums.back());
  std::vector<std::uint64_t> keys(kGets);
  for (std::uint64_t& key : keys) {
    const auto rank = std::lower_bound(sums.begin(), sums.end(), uniform(random)) - sums.begin();
    key = static_cast<std::uint64_t>(rank) * 0x9E3779B97F4A7C15ULL;
  }
  return keys;
}

void read_through(Cache& cache, const std::vector<std::uint64_t>& keys) {
  for (const std::uint64_t key : keys) {
    if (!cache.get(key, 0)) cache.put(key, key, {}, 0);
  }
}

// As much memory as the cache's: a slot of 4 bytes leads to a line of 64.
struct Bare {
  struct alignas(64) Line {
    std::uint64_t value;
  };
  static constexpr int kBits = 17;
  std::vector<std::uint32_t> slots = std::vector<std::uint32_t>(std::size_t{1} << kBits);
  std::vector<Line> lines = std::vector<Line>(kCapacity);

  Bare() {
    for (std::size_t n = 0; n < slots.size(); ++n) {
      slots[n] = static_cast<std::uint32_t>(n * 7919 % kCapacity);
    }
    for (std::size_t n = 0; n < lines.size(); ++n) lines[n].value = n;
  }
  // Each step waits for the last, as calls do that use what they got.
  [[nodiscard]] std::uint64_t read(const std::vector<std::uint64_t>& keys) const {
    std::uint64_t sum = 0;
    for (const std::uint64_t key : keys) {
      const std::uint64_t hash = (key + (sum & 1)) * 0xD6E8FEB86659FD93ULL;
      sum += lines[slots[hash >> (64 - kBits)]].value;
    }
    return sum;
  }
};

// Nanoseconds a step of `work(thread)`, which takes kGets * kPasses of them, while `count` threads
// are at it.
template <class Work>
double time_of(int count, Work&& work) {
  using Clock = std::chrono::steady_clock;
  // Each thread takes its own times: nobody who waits for a processor takes them for it.
  std::vector<Clock::time_point> begun(static_cast<std::size_t>(count));
  std::vector<Clock::time_point> ended(begun.size());
  std::latch ready(count);
  std::vector<std::jthread> threads;
  for (std::size_t n = 0; n < begun.size(); ++n) {
    threads.emplace_back([&, n] {
      ready.arrive_and_wait();
      begun[n] = Clock::now();
      work(n);
      ended[n] = Clock::now();
    });
  }
  threads.clear();
  const std::chrono::duration<double, std::nano> elapsed =
      *std::max_element(ended.begin(), ended.end()) - *std::min_element(begun.begin(), begun.end());
  return elapsed.count() / (double{kGets} * kPasses);
}

double bytes_per_entry() {
  constexpr std::uint64_t kEntries = 1'000'000;
  using Core = mcp::cache::CacheCore<void*, void*>;
  Core core({.capacity = kEntries});
  Core::Displaced displaced;
  for (std::uint64_t key = 0; key < 2 * kEntries; ++key) {
    core.insert(nullptr, key, nullptr, 1, mcp::kSecond, 0, displaced);
    displaced.clear();
  }
  return static_cast<double>(core.memory_bytes()) / kEntries;
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 1;
  const std::vector<double> sums = zipf_sums();
  // Every pass of a thread takes the next draw, so that one thread and several read the same keys.
  std::vector<std::vector<std::uint64_t>> draws;
  for (unsigned n = 0; n < kDraws; ++n) draws.push_back(draw(sums, n + 1));
  const auto keys = [&](std::size_t thread, int pass) -> const std::vector<std::uint64_t>& {
    return draws[(thread + static_cast<std::size_t>(pass)) % kDraws];
  };
  Cache cache({.capacity = kCapacity});
  for (const auto& own : draws) read_through(cache, own);
  const auto before = cache.stats();

  const double spent = time_of(count, [&](std::size_t n) {
    for (int pass = 0; pass < kPasses; ++pass) read_through(cache, keys(n, pass));
  });

  const auto after = cache.stats();
  const auto hits = static_cast<double>(after.hits - before.hits);
  const auto misses = static_cast<double>(after.misses - before.misses);

  const Bare bare;
  std::atomic<std::uint64_t> sum{0};
  const double floor = time_of(count, [&](std::size_t n) {
    for (int pass = 0; pass < kPasses; ++pass) sum += bare.read(keys(n, pass));
  });
  if (sum == 0) return 1;
  std::printf("%.1f %.4f %.2f\n", spent, hits / (hits + misses), floor);
  if (count == 1) std::printf("%.1f\n", bytes_per_entry());
}
