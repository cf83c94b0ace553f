// lru_policy.h: exact least-recently-used order. A hit moves the entry to the front of one list.
// Thread-compatible. See cache_core.h for what a policy is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cache/entry_list.h"
#include "cache/types.h"

namespace mcp::cache {

class LruPolicy {
 public:
  static constexpr std::string_view kName = "lru";
  struct Node {
    Index prev = kNone;
    Index next = kNone;
  };
  using Placement = bool;  // there is one place for every entry

  explicit LruPolicy(std::uint64_t capacity) noexcept : capacity_(capacity) {}

  template <class Entries>
  void on_hit(Entries& entries, Index i) noexcept {
    list_.move_to_front(entries, i);
  }

  template <class Entries, class Evict>
  Placement admit(Entries& entries, std::uint64_t /*hash*/, std::uint64_t weight, Evict&& evict) {
    make_room(entries, weight, evict);
    return true;
  }

  template <class Entries, class Evict>
  void make_room(Entries& entries, std::uint64_t weight, Evict&& evict) {
    while (list_.count() != 0 && list_.weight() + weight > capacity_) {
      const Index victim = list_.tail();
      list_.remove(entries, victim);
      evict(victim);
    }
  }

  template <class Entries>
  void insert(Entries& entries, Index i, Placement /*placement*/) noexcept {
    list_.push_front(entries, i);
  }

  template <class Entries>
  void detach(Entries& entries, Index i) noexcept {
    list_.remove(entries, i);
  }

  template <class Entries>
  void attach(Entries& entries, Index i) noexcept {
    list_.push_front(entries, i);
  }

  template <class Entries>
  void remove(Entries& entries, Index i) noexcept {
    list_.remove(entries, i);
  }

  template <class Entries>
  void relocate(Entries& entries, Index to) noexcept {
    list_.relocate(entries, to);
  }

  template <class Entries>
  void set_capacity(Entries& /*entries*/, std::uint64_t capacity) noexcept {
    capacity_ = capacity;
  }

  void clear() noexcept { list_.clear(); }

  [[nodiscard]] bool evicted_recently(std::uint64_t /*hash*/) const noexcept { return false; }
  [[nodiscard]] std::uint64_t weight() const noexcept { return list_.weight(); }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return 0; }

  template <class Entries, class Member>
  void check_invariants(const Entries& entries, Member&& member) const {
    list_.check_invariants(entries, member);
  }

 private:
  std::uint64_t capacity_;
  EntryList list_;  // most recently used first
};

}  // namespace mcp::cache
