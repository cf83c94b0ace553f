// sieve_policy.h: SIEVE (Zhang et al., NSDI 2024). One list in the order of
// arrival; a hit marks the entry and moves nothing. A hand goes from the oldest
// to the newest, takes marks off, and evicts the first entry without one.
// Thread-compatible. See cache_core.h for what a policy is.
//
// Invariant: the entry that the hand points at, and no other, has kHand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "cache/entry_list.h"
#include "cache/types.h"

namespace mcp::cache {

class SievePolicy {
 public:
  static constexpr std::string_view kName = "sieve";

  struct Node {
    Index prev = kNone;
    Index next = kNone;
    std::uint32_t marks = 0;
  };
  using Placement = bool;  // there is one place for every entry

  explicit SievePolicy(std::uint64_t capacity) noexcept : capacity_(capacity) {}

  template <class Entries>
  void on_hit(Entries& entries, Index i) noexcept {
    entries.node(i).marks |= kVisited;
  }

  template <class Entries, class Evict>
  Placement admit(Entries& entries, std::uint64_t /*hash*/, std::uint64_t weight, Evict&& evict) {
    make_room(entries, weight, evict);
    return true;
  }

  template <class Entries, class Evict>
  void make_room(Entries& entries, std::uint64_t weight, Evict&& evict) {
    while (list_.count() != 0 && list_.weight() + weight > capacity_) {
      Index victim = hand_ == kNone ? list_.tail() : hand_;
      while ((entries.node(victim).marks & kVisited) != 0) {
        entries.node(victim).marks &= ~kVisited;
        const Index newer = entries.node(victim).prev;
        victim = newer == kNone ? list_.tail() : newer;
      }
      point_at(entries, entries.node(victim).prev);
      list_.remove(entries, victim);
      evict(victim);
    }
  }

  template <class Entries>
  void insert(Entries& entries, Index i, Placement /*placement*/) noexcept {
    entries.node(i).marks = 0;
    list_.push_front(entries, i);
  }

  template <class Entries>
  void detach(Entries& entries, Index i) noexcept {
    remove(entries, i);
  }

  template <class Entries>
  void attach(Entries& entries, Index i) noexcept {
    list_.push_front(entries, i);
  }

  template <class Entries>
  void remove(Entries& entries, Index i) noexcept {
    if (hand_ == i) point_at(entries, entries.node(i).prev);
    list_.remove(entries, i);
  }

  template <class Entries>
  void relocate(Entries& entries, Index to) noexcept {
    if ((entries.node(to).marks & kHand) != 0) hand_ = to;
    list_.relocate(entries, to);
  }

  template <class Entries>
  void set_capacity(Entries& /*entries*/, std::uint64_t capacity) noexcept {
    capacity_ = capacity;
  }

  void clear() noexcept {
    list_.clear();
    hand_ = kNone;
  }

  [[nodiscard]] bool evicted_recently(std::uint64_t /*hash*/) const noexcept { return false; }
  [[nodiscard]] std::uint64_t weight() const noexcept { return list_.weight(); }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return 0; }

  template <class Entries, class Member>
  void check_invariants(const Entries& entries, Member&& member) const {
    list_.check_invariants(entries, [&](Index i) {
      if (((entries.node(i).marks & kHand) != 0) != (i == hand_)) {
        throw std::logic_error("sieve: the hand is elsewhere");
      }
      member(i);
    });
  }

 private:
  static constexpr std::uint32_t kVisited = 1;
  static constexpr std::uint32_t kHand = 2;

  // Where the hand goes on; kNone: at the oldest entry.
  template <class Entries>
  void point_at(Entries& entries, Index i) noexcept {
    if (hand_ != kNone) entries.node(hand_).marks &= ~kHand;
    hand_ = i;
    if (i != kNone) entries.node(i).marks |= kHand;
  }

  std::uint64_t capacity_;
  EntryList list_;  // newest first
  Index hand_ = kNone;
};

}  // namespace mcp::cache
