// ghost.h: the keys that left the cache, with the time of their last access.
//
// Eight-way set-associative, 4 bytes a slot: a 16-bit fingerprint and a 16-bit stamp of the
// policy's clock. Recording replaces the oldest slot of the set; a match removes the slot. A
// foreign key matches with probability 8 / 65,536 at most. Thread-compatible.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace mcp::cache {

class Ghost {
 public:
  // Forgets everything. No slots: records nothing.
  void resize(std::size_t slots) { std::vector<Set>((slots + kWays - 1) / kWays).swap(sets_); }

  void record(std::uint64_t hash, std::uint16_t stamp, std::uint16_t now) noexcept {
    if (sets_.empty()) return;
    Set& set = set_of(hash);
    std::size_t oldest = 0;
    std::uint32_t oldest_age = 0;
    for (std::size_t way = 0; way < kWays; ++way) {
      if (set[way] == kEmpty) {
        oldest = way;
        break;
      }
      const std::uint32_t age = static_cast<std::uint16_t>(now - set[way]);
      if (age >= oldest_age) {
        oldest_age = age;
        oldest = way;
      }
    }
    set[oldest] = fingerprint(hash) | stamp;
  }

  // The stamp recorded for `hash`, which is forgotten.
  [[nodiscard]] std::optional<std::uint16_t> take(std::uint64_t hash) noexcept {
    if (sets_.empty()) return std::nullopt;
    for (std::uint32_t& slot : set_of(hash)) {
      if (matches(slot, hash)) {
        const auto stamp = static_cast<std::uint16_t>(slot);
        slot = kEmpty;
        return stamp;
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] bool contains(std::uint64_t hash) const noexcept {
    if (sets_.empty()) return false;
    for (const std::uint32_t slot : sets_[set_index(hash)]) {
      if (matches(slot, hash)) return true;
    }
    return false;
  }

  [[nodiscard]] std::size_t slots() const noexcept { return sets_.size() * kWays; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return sets_.size() * sizeof(Set); }

 private:
  static constexpr std::size_t kWays = 8;
  static constexpr std::uint32_t kEmpty = 0;
  using Set = std::array<std::uint32_t, kWays>;

  // Never zero, so that no recorded slot looks empty.
  [[nodiscard]] static std::uint32_t fingerprint(std::uint64_t hash) noexcept {
    const auto bits = static_cast<std::uint32_t>(hash >> 32) & 0xFFFF;
    return (bits == 0 ? 1 : bits) << 16;
  }
  [[nodiscard]] static bool matches(std::uint32_t slot, std::uint64_t hash) noexcept {
    return (slot & 0xFFFF0000) == fingerprint(hash);
  }
  [[nodiscard]] std::size_t set_index(std::uint64_t hash) const noexcept {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(hash)) * sets_.size()) >> 32;
  }
  [[nodiscard]] Set& set_of(std::uint64_t hash) noexcept { return sets_[set_index(hash)]; }

  std::vector<Set> sets_;
};

}  // namespace mcp::cache
