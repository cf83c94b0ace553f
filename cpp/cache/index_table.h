// index_table.h: an open-addressing hash table of 4-byte slots that name entries kept elsewhere.
//
// A slot holds an entry's index in its low bits and a tag, the top bits of its hash, in the rest:
// no entry is read to find that its tag differs. Fifteen slots and the number of entries that had
// to go past them fill one cache line; a search ends at the first line that nothing went past. So
// there are no tombstones: any mix of insertions and erasures leaves the table as good as new. Keys
// with one hash fill whole lines, which spread over the table, and cost other keys little.
//
// Thread-compatible. Hashes are expected to be mixed (types.h).
// Invariants: an index is in at most one slot; Group::overflow counts the entries whose search goes
// past that group; the load stays at or under 12 slots of 15.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cache/types.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace mcp::cache {

class IndexTable {
 public:
  // A place in the search for a hash; candidate() moves it on.
  struct Cursor {
    std::uint64_t hash;
    std::uint32_t group;
    std::uint32_t step;
    std::uint32_t matches;  // slots of the group still to be looked at
  };

  IndexTable() : groups_(1) {}

  // The index for which `match(index)` is true, among those whose tag fits `hash`; kNone if none.
  template <class Match>
  [[nodiscard]] Index find(std::uint64_t hash, Match&& match) const {
    const std::uint32_t wanted = tag_of(hash);
    std::uint32_t group = group_of(hash);
    const std::uint32_t home = groups_[group].slots[home_of(hash)];
    if (((home ^ wanted) & ~index_mask_) == 0) {
      const Index index = home & index_mask_;
      if (index != index_mask_ && match(index)) return index;
    }
    for (std::uint32_t step = 1;; ++step) {
      const Group& g = groups_[group];
      for (std::uint32_t m = matches(g, wanted, ~index_mask_); m != 0; m &= m - 1) {
        const Index index = g.slots[std::countr_zero(m)] & index_mask_;
        if (index != index_mask_ && match(index)) return index;
      }
      if (g.overflow == 0 || step > group_mask_) return kNone;
      group = (group + step) & group_mask_;
    }
  }

  [[nodiscard]] Cursor candidates(std::uint64_t hash) const noexcept {
    const std::uint32_t group = group_of(hash);
    return {hash, group, 1, matches(groups_[group], tag_of(hash), ~index_mask_)};
  }

  // The next index whose tag fits the cursor's hash; kNone at the end.
  [[nodiscard]] Index candidate(Cursor& at) const noexcept {
    for (;;) {
      const Group& g = groups_[at.group];
      while (at.matches != 0) {
        const Index index = g.slots[std::countr_zero(at.matches)] & index_mask_;
        at.matches &= at.matches - 1;
        if (index != index_mask_) return index;
      }
      if (g.overflow == 0 || at.step > group_mask_) return kNone;
      at.group = (at.group + at.step++) & group_mask_;
      at.matches = matches(groups_[at.group], tag_of(at.hash), ~index_mask_);
    }
  }

  // True if one more entry, or an entry with this index, needs grow() first.
  [[nodiscard]] bool must_grow(std::uint64_t /*hash*/, Index index) const noexcept {
    return size_ >= groups_.size() * kLoad || index >= index_mask_;
  }

  // REQUIRES: !must_grow(hash, index), and index is not in the table.
  void insert(std::uint64_t hash, Index index) noexcept {
    std::uint32_t group = group_of(hash);
    const std::uint32_t slot = (tag_of(hash) & ~index_mask_) | index;
    ++size_;
    std::uint32_t& home = groups_[group].slots[home_of(hash)];
    if (home == kEmpty) {
      home = slot;
      return;
    }
    for (std::uint32_t step = 1;; ++step) {
      Group& g = groups_[group];
      if (const std::uint32_t m = matches(g, kEmpty, kEmpty); m != 0) {
        g.slots[std::countr_zero(m)] = slot;
        return;
      }
      ++g.overflow;
      group = (group + step) & group_mask_;
    }
  }

  // REQUIRES: index is in the table under this hash.
  void erase(std::uint64_t hash, Index index) noexcept {
    std::uint32_t group = group_of(hash);
    const std::uint32_t slot = (tag_of(hash) & ~index_mask_) | index;
    --size_;
    for (std::uint32_t step = 1;; ++step) {
      Group& g = groups_[group];
      if (const std::uint32_t m = matches(g, slot, kEmpty); m != 0) {
        g.slots[std::countr_zero(m)] = kEmpty;
        return;
      }
      --g.overflow;
      group = (group + step) & group_mask_;
    }
  }

  // The entry's index changed. REQUIRES: `from` is in the table, !must_grow(hash, to).
  void rename(std::uint64_t hash, Index from, Index to) noexcept {
    erase(hash, from);
    insert(hash, to);
  }

  // Makes room for `entries` entries with indices below `limit`, or gives back what they do not
  // need; `hash_of(index)` is asked for every entry. On an exception nothing has changed.
  template <class HashOf>
  void rehash(std::size_t entries, std::size_t limit, HashOf&& hash_of) {
    const std::size_t groups = std::bit_ceil((entries + kLoad - 1) / kLoad);
    const std::size_t indices = std::bit_ceil(std::max(groups * (kSlots + 1), limit + 1));
    if (indices > kMaxIndices) throw std::length_error("the cache's index is full");
    std::vector<Group> old(groups);
    old.swap(groups_);
    const std::uint32_t old_index_mask =
        std::exchange(index_mask_, static_cast<std::uint32_t>(indices - 1));
    group_mask_ = static_cast<std::uint32_t>(groups - 1);
    size_ = 0;
    for (const Group& g : old) {
      for (const std::uint32_t slot : g.slots) {
        if (slot == kEmpty) continue;
        const Index index = slot & old_index_mask;
        insert(hash_of(index), index);
      }
    }
  }

  // Makes room for one more entry, with this index. REQUIRES as for rehash().
  template <class HashOf>
  void grow(std::uint64_t /*hash*/, Index index, HashOf&& hash_of) {
    const std::size_t room = groups_.size() * kLoad;
    rehash(size_ >= room ? room + 1 : room, std::max<std::size_t>(index + 1, index_mask_), hash_of);
  }

  void clear() noexcept {
    groups_.resize(1);
    groups_.shrink_to_fit();
    groups_[0] = Group();
    group_mask_ = 0;
    index_mask_ = kSlots;
    size_ = 0;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return groups_.size() * sizeof(Group); }

  // Throws std::logic_error unless the invariants hold.
  template <class HashOf>
  void check_invariants(HashOf&& hash_of) const {
    std::vector<std::uint32_t> overflow(groups_.size(), 0);
    std::size_t found = 0;
    for (std::size_t at = 0; at < groups_.size(); ++at) {
      for (const std::uint32_t slot : groups_[at].slots) {
        if (slot == kEmpty) continue;
        ++found;
        const std::uint64_t hash = hash_of(slot & index_mask_);
        if (((slot ^ tag_of(hash)) & ~index_mask_) != 0) throw std::logic_error("index: wrong tag");
        std::uint32_t group = group_of(hash);
        for (std::uint32_t step = 1; group != at; ++step) {
          if (step > group_mask_) throw std::logic_error("index: entry off its path");
          ++overflow[group];
          group = (group + step) & group_mask_;
        }
      }
    }
    if (found != size_) throw std::logic_error("index: size is wrong");
    for (std::size_t at = 0; at < groups_.size(); ++at) {
      if (groups_[at].overflow != overflow[at]) throw std::logic_error("index: overflow is wrong");
    }
  }

 private:
  static constexpr std::size_t kSlots = 15;
  static constexpr std::size_t kLoad = 12;
  static constexpr std::size_t kMaxIndices = std::size_t{1} << 31;
  static constexpr std::uint32_t kEmpty =
      0xFFFFFFFF;  // its index is index_mask_, which is never used

  struct alignas(64) Group {
    std::uint32_t slots[kSlots] = {kEmpty, kEmpty, kEmpty, kEmpty, kEmpty, kEmpty, kEmpty, kEmpty,
                                   kEmpty, kEmpty, kEmpty, kEmpty, kEmpty, kEmpty, kEmpty};
    std::uint32_t overflow = 0;
  };

  [[nodiscard]] static std::uint32_t tag_of(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>(hash >> 32);
  }
  [[nodiscard]] std::uint32_t group_of(std::uint64_t hash) const noexcept {
    return static_cast<std::uint32_t>(hash) & group_mask_;
  }
  [[nodiscard]] static std::uint32_t home_of(std::uint64_t hash) noexcept {
    return ((static_cast<std::uint32_t>(hash) >> 24) * kSlots) >> 8;
  }

  // One bit for each slot that equals `wanted` where `mask` is set.
  [[nodiscard]] static std::uint32_t matches(const Group& group, std::uint32_t wanted,
                                             std::uint32_t mask) noexcept {
#if defined(__SSE2__)
    const __m128i m = _mm_set1_epi32(static_cast<int>(mask));
    const __m128i w = _mm_set1_epi32(static_cast<int>(wanted & mask));
    const auto* at = reinterpret_cast<const __m128i*>(&group);
    const auto same = [&](int quarter) {
      return _mm_cmpeq_epi32(_mm_and_si128(_mm_load_si128(at + quarter), m), w);
    };
    const __m128i low = _mm_packs_epi32(same(0), same(1));
    const __m128i high = _mm_packs_epi32(same(2), same(3));
    return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(low, high))) & 0x7FFF;
#else
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < kSlots; ++i) {
      bits |= static_cast<std::uint32_t>(((group.slots[i] ^ wanted) & mask) == 0) << i;
    }
    return bits;
#endif
  }

  std::vector<Group> groups_;
  std::uint32_t group_mask_ = 0;
  std::uint32_t index_mask_ = kSlots;  // the low bits of a slot; the others are the tag
  std::size_t size_ = 0;
};

}  // namespace mcp::cache
