// Any bytes are a sequence of operations on three caches, one a policy. After each operation the
// invariants hold; at the end everything that went in was held or given back exactly once.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>

#include "cache/cache_core.h"
#include "cache/policies.h"
#include "cache/reference_cache.h"

namespace {

using mcp::Duration;
using mcp::Instant;
using namespace mcp::cache;

// Reads the input as numbers; zeros when it has run out.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), end_(data + size) {}
  [[nodiscard]] bool done() const { return data_ == end_; }
  std::uint64_t byte() { return done() ? 0 : *data_++; }
  std::uint64_t word() { return byte() << 8 | byte(); }

 private:
  const std::uint8_t* data_;
  const std::uint8_t* end_;
};

void require(bool holds) {
  if (!holds) std::abort();
}

template <class Policy>
void run(Input input) {
  using Core = CacheCore<std::uint64_t, std::uint64_t, Policy>;
  CacheOptions options;
  options.capacity = input.byte();
  options.idle_ttl = static_cast<Duration>(input.byte() >> 6) << 30;
  Core core(options);
  typename Core::Displaced out;
  std::set<std::uint64_t> held;
  std::uint64_t next_value = 0;
  Instant now = 0;
  while (!input.done()) {
    const std::uint64_t operation = input.byte();
    const std::uint64_t key = input.byte();
    const std::uint64_t hash = key >> (operation >> 6);  // some keys collide
    const Index i = core.find(hash, [&](std::uint64_t other) { return other == key; });
    switch (operation & 15) {
      default:
        if (i != kNone && !core.expired(i, now)) core.touch(i, now);
        break;
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5: {
        const auto weight = static_cast<std::uint32_t>(operation & 16 ? input.byte() : 1);
        const Instant at =
            operation & 32 ? now + static_cast<Duration>(input.word() << 22) : mcp::kNever;
        held.insert(++next_value);
        if (i == kNone) {
          core.insert(key, hash, next_value, weight, at, now, out);
        } else {
          core.replace(i, next_value, weight, at, now, out);
        }
        break;
      }
      case 6:
        if (i != kNone) core.erase(i, Cause::kRemoved, out);
        break;
      case 7:
        now += static_cast<Duration>(input.word()) << (operation >> 4) * 2;
        break;
      case 8:
        core.expire(now, out, input.byte());
        break;
      case 9:
        core.shrink_to_fit();
        break;
      case 10:
        core.resize(input.word() >> (operation >> 4), out);
        break;
      case 11:
        if (operation == 0xFB) core.clear(out);
        break;
      case 12:
        if (i != kNone) core.set_expiry(i, now + static_cast<Duration>(input.word() << 20), now);
        break;
    }
    for (auto& item : out) require(held.erase(item.value) == 1);
    out.clear();
    core.check_invariants();
    require(core.size() == held.size());
  }
  core.clear(out);
  for (auto& item : out) require(held.erase(item.value) == 1);
  require(held.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Policies::for_each([&]<class Policy>(std::type_identity<Policy>) { run<Policy>({data, size}); });
  run<testing::FixedWindowPolicy>({data, size});
  return 0;
}
