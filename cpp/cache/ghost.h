// ghost.h: the keys that left the cache, with the time of their last access.
//
// Eight-way set-associative, 4 bytes a slot: a 16-bit fingerprint and a 16-bit stamp of the
// policy's clock. Recording replaces a free slot of the set or its oldest; a match removes the
// slot. A foreign key matches with probability 8 / 65,536 at most. Thread-compatible.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace mcp::cache {

class Ghost {
 public:
  // Forgets everything. No slots: records nothing.
  void resize(std::size_t slots) { std::vector<Set>((slots + kWays - 1) / kWays).swap(sets_); }

  void record(std::uint64_t hash, std::uint16_t stamp, std::uint16_t now) noexcept {
    if (sets_.empty()) return;
    Set& set = sets_[set_of(hash)];
    const unsigned way = oldest(set, now);
    set.fingerprints[way] = fingerprint(hash);
    set.stamps[way] = stamp;
  }

  // The stamp recorded for `hash`, which is forgotten.
  [[nodiscard]] std::optional<std::uint16_t> take(std::uint64_t hash) noexcept {
    if (sets_.empty()) return std::nullopt;
    Set& set = sets_[set_of(hash)];
    const std::uint32_t found = matches(set, fingerprint(hash));
    if (found == 0) return std::nullopt;
    const int way = std::countr_zero(found);
    set.fingerprints[way] = kFree;
    return set.stamps[way];
  }

  [[nodiscard]] bool contains(std::uint64_t hash) const noexcept {
    return !sets_.empty() && matches(sets_[set_of(hash)], fingerprint(hash)) != 0;
  }

  [[nodiscard]] std::size_t slots() const noexcept { return sets_.size() * kWays; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return sets_.size() * sizeof(Set); }

 private:
  static constexpr std::size_t kWays = 8;
  static constexpr std::uint16_t kFree = 0;

  struct alignas(32) Set {
    std::uint16_t fingerprints[kWays] = {};
    std::uint16_t stamps[kWays] = {};
  };

  [[nodiscard]] static std::uint16_t fingerprint(std::uint64_t hash) noexcept {
    const auto bits = static_cast<std::uint16_t>(hash >> 32);
    return bits == kFree ? 1 : bits;
  }
  [[nodiscard]] std::size_t set_of(std::uint64_t hash) const noexcept {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(hash)) * sets_.size()) >> 32;
  }

#if defined(__SSE2__)
  // One bit for each way that holds the fingerprint.
  [[nodiscard]] static std::uint32_t matches(const Set& set, std::uint16_t wanted) noexcept {
    return bits_of(_mm_cmpeq_epi16(load(set.fingerprints), _mm_set1_epi16(as_signed(wanted))));
  }

  // A free way, or else the one of the greatest age (to two stamps).
  [[nodiscard]] static unsigned oldest(const Set& set, std::uint16_t now) noexcept {
    const __m128i free = _mm_cmpeq_epi16(load(set.fingerprints), _mm_set1_epi16(kFree));
    const __m128i age = _mm_sub_epi16(_mm_set1_epi16(as_signed(now)), load(set.stamps));
    const __m128i rank = _mm_srli_epi16(_mm_or_si128(age, free), 1);
    __m128i most = _mm_max_epi16(rank, _mm_shuffle_epi32(rank, _MM_SHUFFLE(1, 0, 3, 2)));
    most = _mm_max_epi16(most, _mm_shuffle_epi32(most, _MM_SHUFFLE(2, 3, 0, 1)));
    most = _mm_max_epi16(most, _mm_or_si128(_mm_slli_epi32(most, 16), _mm_srli_epi32(most, 16)));
    return static_cast<unsigned>(std::countr_zero(bits_of(_mm_cmpeq_epi16(rank, most))));
  }

  [[nodiscard]] static std::int16_t as_signed(std::uint16_t value) noexcept {
    return static_cast<std::int16_t>(value);
  }
  [[nodiscard]] static __m128i load(const std::uint16_t* from) noexcept {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(from));
  }
  [[nodiscard]] static std::uint32_t bits_of(__m128i lanes) noexcept {
    return static_cast<std::uint32_t>(
        _mm_movemask_epi8(_mm_packs_epi16(lanes, _mm_setzero_si128())));
  }
#else
  [[nodiscard]] static std::uint32_t matches(const Set& set, std::uint16_t wanted) noexcept {
    std::uint32_t bits = 0;
    for (std::size_t way = 0; way < kWays; ++way) {
      bits |= static_cast<std::uint32_t>(set.fingerprints[way] == wanted) << way;
    }
    return bits;
  }

  [[nodiscard]] static unsigned oldest(const Set& set, std::uint16_t now) noexcept {
    unsigned best = 0;
    std::uint32_t best_rank = 0;
    for (unsigned way = 0; way < kWays; ++way) {
      const auto age = static_cast<std::uint16_t>(now - set.stamps[way]);
      const std::uint32_t rank = (set.fingerprints[way] == kFree ? 0xFFFFU : age) >> 1;
      if (rank <= best_rank) continue;
      best_rank = rank;
      best = way;
    }
    return best;
  }
#endif

  std::vector<Set> sets_;
};

}  // namespace mcp::cache
