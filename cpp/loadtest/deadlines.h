// deadlines.h: which request in flight runs out of time first. All have the same timeout, so the
// order of starting is the order of expiring, and a list needs no comparisons: every operation is
// O(1).
// Thread-compatible. Invariant: instants never decrease from front to back.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace mcp::loadtest {

class Deadlines {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  explicit Deadlines(std::size_t items) : links_(items) {}

  // REQUIRES: `item` is not in the list; `at` is not before the last one pushed.
  void push(std::uint32_t item, Instant at) noexcept {
    links_[item] = {last_, kNone, at};
    (last_ == kNone ? first_ : links_[last_].next) = item;
    last_ = item;
  }
  // REQUIRES: `item` is in the list.
  void remove(std::uint32_t item) noexcept {
    const Link& link = links_[item];
    (link.previous == kNone ? first_ : links_[link.previous].next) = link.next;
    (link.next == kNone ? last_ : links_[link.next].previous) = link.previous;
  }
  [[nodiscard]] std::uint32_t front() const noexcept { return first_; }
  [[nodiscard]] Instant front_at() const noexcept {
    return first_ == kNone ? kNever : links_[first_].at;
  }

 private:
  struct Link {
    std::uint32_t previous = kNone;
    std::uint32_t next = kNone;
    Instant at = 0;
  };
  std::vector<Link> links_;
  std::uint32_t first_ = kNone;
  std::uint32_t last_ = kNone;
};

}  // namespace mcp::loadtest
