// timer_wheel.h: finds the entries whose time has passed, in O(1) amortised.
//
// Five levels of 64 buckets; a bucket of the first level spans 67 ms, of the last 13 days. An entry
// sits in the bucket of its deadline, coarser the further away it is, and moves down a level as its
// time comes nearer. A bitmap a level leads past empty buckets, so that waking after a long sleep
// costs nothing. An entry fires up to one span late: readers check the time themselves.
//
// Thread-compatible; no clock: the caller passes the time, which never goes back.
// Invariants: a linked entry is in the list of one bucket; a bucket's bit is set iff it is not
// empty. Nodes: `WheelNode& nodes(Index)`; `REQUIRES` an index below 2^31.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "base/clock.h"
#include "cache/types.h"

namespace mcp::cache {

struct WheelNode {
  Index prev = kNone;  // kNone: in no bucket; TimerWheel::kHead | bucket: first of that bucket
  Index next = kNone;
};

class TimerWheel {
 public:
  static constexpr Index kHead = 0x80000000;

  TimerWheel() { heads_.fill(kNone); }

  // REQUIRES: not linked. A deadline of kNever is never due and links nothing.
  template <class Nodes>
  void schedule(Nodes&& nodes, Index i, Instant deadline) noexcept {
    if (deadline == kNever) return;
    link(nodes, i, bucket_for(deadline));
    ++size_;
  }

  // Harmless on an entry that is not linked.
  template <class Nodes>
  void cancel(Nodes&& nodes, Index i) noexcept {
    if (nodes(i).prev == kNone) return;
    unlink(nodes, i);
    --size_;
  }

  // The entry's index became `to`; nodes(to) holds what nodes(from) held.
  template <class Nodes>
  void relocate(Nodes&& nodes, Index to) noexcept {
    const WheelNode& node = nodes(to);
    if (node.prev == kNone) return;
    if (node.prev & kHead) {
      heads_[node.prev & ~kHead] = to;
    } else {
      nodes(node.prev).next = to;
    }
    if (node.next != kNone) nodes(node.next).prev = to;
  }

  // No entry fires before this time; kNever if none is scheduled.
  [[nodiscard]] Instant next_due() const noexcept {
    if (size_ == 0) return kNever;
    const std::uint64_t tick = next_event().tick + 1;
    return tick > static_cast<std::uint64_t>(kNever >> kTickShift)
               ? kNever
               : static_cast<Instant>(tick << kTickShift);
  }

  // True if advance() may have work: a tick has passed since the last call.
  [[nodiscard]] bool due(Instant now) const noexcept { return tick_of(now) > tick_; }

  // Unlinks the entries whose bucket has passed and calls `fire(i)` for each, which destroys it or
  // schedules it anew; looks at `budget` entries at most. True if work is left.
  template <class Nodes, class Deadline, class Fire>
  bool advance(Nodes&& nodes, Instant now, std::size_t budget, Deadline&& deadline, Fire&& fire) {
    const std::uint64_t target = tick_of(now);
    while (size_ != 0) {
      const Event event = next_event();
      if (event.tick >= target) break;
      tick_ = std::max(tick_, event.tick);
      Index& head = heads_[event.bucket];
      while (head != kNone) {
        if (budget-- == 0) return true;
        const Index i = head;
        unlink(nodes, i);
        --size_;
        if (deadline(i) <= now) {
          fire(i);
        } else {
          schedule(nodes, i, deadline(i));
        }
      }
    }
    tick_ = std::max(tick_, target);
    return false;
  }

  // Calls f(i) for the entries that may be due by now though their bucket has not passed; f changes
  // nothing. REQUIRES: advance() to the same time left no work.
  template <class Nodes, class F>
  void for_each_current(Nodes&& nodes, F&& f) const {
    for (int level = 0; level < kLevels; ++level) {
      const std::uint64_t slot = (tick_ >> (kBits * level)) & (kWidth - 1);
      const auto bucket = static_cast<std::uint32_t>(level) * kWidth + slot;
      for (Index i = heads_[bucket]; i != kNone; i = nodes(i).next) f(i);
    }
  }

  void clear() noexcept {
    heads_.fill(kNone);
    occupied_.fill(0);
    size_ = 0;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  // Throws std::logic_error unless the invariants hold.
  template <class Nodes>
  void check_invariants(Nodes&& nodes) const {
    std::size_t found = 0;
    for (std::uint32_t bucket = 0; bucket < kBuckets; ++bucket) {
      const bool bit = (occupied_[bucket / kWidth] >> (bucket % kWidth)) & 1;
      if (bit != (heads_[bucket] != kNone)) throw std::logic_error("wheel: bitmap is wrong");
      Index prev = kHead | bucket;
      for (Index i = heads_[bucket]; i != kNone; i = nodes(i).next) {
        if (nodes(i).prev != prev) throw std::logic_error("wheel: broken list");
        if (++found > size_) throw std::logic_error("wheel: cycle");
        prev = i;
      }
    }
    if (found != size_) throw std::logic_error("wheel: size is wrong");
  }

 private:
  static constexpr int kTickShift = 26;  // 67 ms
  static constexpr int kLevels = 5;
  static constexpr int kBits = 6;
  static constexpr std::uint32_t kWidth = 1U << kBits;
  static constexpr std::uint32_t kBuckets = kLevels * kWidth;
  // The furthest that the last level can tell from the present.
  static constexpr std::uint64_t kReach = (std::uint64_t{kWidth - 1}) << (kBits * (kLevels - 1));

  struct Event {
    std::uint64_t tick;  // when the bucket fires
    std::uint32_t bucket;
  };

  [[nodiscard]] static std::uint64_t tick_of(Instant t) noexcept {
    return t <= 0 ? 0 : static_cast<std::uint64_t>(t) >> kTickShift;
  }

  [[nodiscard]] std::uint32_t bucket_for(Instant deadline) const noexcept {
    const std::uint64_t tick = std::clamp(tick_of(deadline), tick_, tick_ + kReach);
    int level = 0;
    // The first level whose current turn still holds the tick.
    while (level + 1 < kLevels &&
           (tick >> (kBits * level)) - (tick_ >> (kBits * level)) >= kWidth) {
      ++level;
    }
    return static_cast<std::uint32_t>(level) * kWidth +
           static_cast<std::uint32_t>((tick >> (kBits * level)) & (kWidth - 1));
  }

  // The occupied bucket that comes next. REQUIRES: size_ != 0.
  [[nodiscard]] Event next_event() const noexcept {
    Event best{UINT64_MAX, 0};
    for (int level = 0; level < kLevels; ++level) {
      if (occupied_[level] == 0) continue;
      const std::uint64_t position = tick_ >> (kBits * level);
      const auto offset = static_cast<int>(position & (kWidth - 1));
      const int ahead = std::countr_zero(std::rotr(occupied_[level], offset));
      const std::uint64_t slot = position + static_cast<std::uint64_t>(ahead);
      const std::uint64_t tick = std::max(slot << (kBits * level), tick_);
      // A coarse bucket that begins together with a finer one is spread out first.
      if (tick <= best.tick) {
        best = {tick, static_cast<std::uint32_t>(level) * kWidth +
                          static_cast<std::uint32_t>(slot & (kWidth - 1))};
      }
    }
    return best;
  }

  template <class Nodes>
  void link(Nodes&& nodes, Index i, std::uint32_t bucket) noexcept {
    Index& head = heads_[bucket];
    nodes(i) = {kHead | bucket, head};
    if (head != kNone) nodes(head).prev = i;
    head = i;
    occupied_[bucket / kWidth] |= std::uint64_t{1} << (bucket % kWidth);
  }

  template <class Nodes>
  void unlink(Nodes&& nodes, Index i) noexcept {
    WheelNode& node = nodes(i);
    if (node.next != kNone) nodes(node.next).prev = node.prev;
    if (node.prev & kHead) {
      const std::uint32_t bucket = node.prev & ~kHead;
      heads_[bucket] = node.next;
      if (node.next == kNone)
        occupied_[bucket / kWidth] &= ~(std::uint64_t{1} << (bucket % kWidth));
    } else {
      nodes(node.prev).next = node.next;
    }
    node = {};
  }

  std::array<Index, kBuckets> heads_;
  std::array<std::uint64_t, kLevels> occupied_{};
  std::uint64_t tick_ = 0;  // buckets of earlier ticks are empty
  std::size_t size_ = 0;
};

}  // namespace mcp::cache
