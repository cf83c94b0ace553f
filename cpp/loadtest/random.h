// random.h: SplitMix64 (Steele, Lea, Flood 2014): small, fast, and a pure function of its seed, so
// that a run can be repeated. Not for secrets.
#pragma once

#include <cstdint>

namespace mcp::loadtest {

[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// 53 bits as a number in [0, 1).
[[nodiscard]] constexpr double to_unit(std::uint64_t bits) noexcept {
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) noexcept : state_(seed) {}
  constexpr std::uint64_t next() noexcept {
    const std::uint64_t result = mix64(state_);
    state_ += 0x9e3779b97f4a7c15ULL;
    return result;
  }
  constexpr double unit() noexcept { return to_unit(next()); }

 private:
  std::uint64_t state_;
};

}  // namespace mcp::loadtest
