// types.h: the words that the parts of the cache share.
#pragma once

#include <cstdint>

namespace mcp::cache {

using Index = std::uint32_t;  // names an entry of one cache until it is erased or moved
inline constexpr Index kNone = 0xFFFFFFFF;

// Why an entry, or a value, left the cache.
enum class Cause : std::uint8_t {
  kEvicted,   // to make room
  kExpired,   // its time had passed
  kReplaced,  // a new value took its place
  kRemoved,   // erased by its owner
  kCleared,   // with everything else
};

// Spreads any 64-bit hash, even the identity of small integers, over all 64 bits.
[[nodiscard]] inline std::uint64_t mix_hash(std::uint64_t hash) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(hash ^ 0xA0761D6478BD642FULL) * 0xE7037ED1A0B428DBULL;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace mcp::cache
