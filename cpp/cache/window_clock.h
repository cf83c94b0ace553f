// window_clock.h: the two queues of the adaptive policy, with the ghost beside them.
//
// New entries enter the window, a FIFO; those read twice there move on to the main queue, a CLOCK.
// A key that comes back soon after its eviction goes straight to the main queue, if its reuse time
// is clearly shorter than the idle time of the entry it would displace there. A hit moves nothing:
// it sets a count of two bits and a stamp. The clock behind the stamps counts misses.
//
// Thread-compatible. Nodes: `nodes.node(Index)` gives the Node, `nodes.weight(Index)`,
// `nodes.hash(Index)`. Invariants: an entry is in one queue, which its word names.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>

#include "cache/entry_list.h"
#include "cache/ghost.h"
#include "cache/types.h"

namespace mcp::cache {

class WindowClock {
 public:
  struct Node {
    Index prev = kNone;
    Index next = kNone;
    std::uint32_t word = 0;  // stamp, count and queue of the entry
  };
  enum class Queue : std::uint32_t { kWindow = 0, kMain = 1 };

  // `entries`: how many entries the capacity is expected to hold; `window`: the window's weight.
  WindowClock(std::uint64_t capacity, std::uint64_t window, std::uint64_t entries) noexcept
      : capacity_(capacity), window_(window) {
    set_scale(entries);
  }

  template <class Nodes>
  void on_hit(Nodes& nodes, Index i) noexcept {
    std::uint32_t& word = nodes.node(i).word;
    const bool counts = (word & kQueueMask) == 0 || age(word) >= gate_;
    std::uint32_t next = (now_ << kStampShift) | (word & kLowMask);
    if (counts && (word & kCountMask) != kCountMask) next += kCountOne;
    if (next != word) word = next;
  }

  // Makes room for a new entry and says where it belongs. `evict(i)` is called for each victim
  // after it has left its queue. One miss on the policy's clock.
  template <class Nodes, class Evict>
  [[nodiscard]] Queue admit(Nodes& nodes, std::uint64_t hash, std::uint64_t weight, Evict&& evict) {
    tick();
    prefetch(nodes, window_list_.tail());
    prefetch(nodes, main_list_.tail());
    const std::optional<std::uint16_t> last_seen = ghost_.take(hash);
    bool to_main = last_seen.has_value();
    if (!is_over(weight)) {
      if (filling_) to_main = window_list_.weight() + weight > window_;
      return to_main ? Queue::kMain : Queue::kWindow;
    }
    filling_ = false;
    if (to_main && main_list_.weight() + weight > main_target()) {
      const std::uint32_t reuse = static_cast<std::uint16_t>(now_ - *last_seen);
      const Index victim = hand(nodes);
      to_main = victim != kNone && reuse * 10ULL < age(nodes.node(victim).word) * 7ULL;
    }
    make_room(nodes, weight, to_main, evict);
    return to_main ? Queue::kMain : Queue::kWindow;
  }

  // Evicts until an entry of `weight` fits, or nothing is left.
  template <class Nodes, class Evict>
  void make_room(Nodes& nodes, std::uint64_t weight, bool to_main, Evict&& evict) {
    const std::uint64_t main_target = this->main_target();
    int promotions = 0;
    while (is_over(weight) && count() != 0) {
      const std::uint64_t main_weight = main_list_.weight() + (to_main ? weight : 0);
      const bool from_main = main_list_.count() != 0 && main_weight > main_target;
      if (from_main || window_list_.count() == 0) {
        const Index victim = hand(nodes);
        evict_entry(nodes, main_list_, victim == kNone ? main_list_.tail() : victim, evict);
        continue;
      }
      const Index tail = window_list_.tail();
      std::uint32_t& word = nodes.node(tail).word;
      if ((word & kCountMask) >= 2 * kCountOne && promotions < kHandLimit) {
        ++promotions;
        window_list_.remove(nodes, tail);
        word = (word & ~kLowMask) | static_cast<std::uint32_t>(Queue::kMain);
        main_list_.push_front(nodes, tail);
      } else {
        evict_entry(nodes, window_list_, tail, evict);
      }
    }
  }

  template <class Nodes>
  void insert(Nodes& nodes, Index i, Queue queue) noexcept {
    nodes.node(i).word = (now_ << kStampShift) | static_cast<std::uint32_t>(queue);
    attach(nodes, i);
  }

  // Puts back what remove() took, at the head of its queue.
  template <class Nodes>
  void attach(Nodes& nodes, Index i) noexcept {
    list_of(nodes.node(i).word).push_front(nodes, i);
  }

  template <class Nodes>
  void remove(Nodes& nodes, Index i) noexcept {
    list_of(nodes.node(i).word).remove(nodes, i);
  }

  // Remembers a key that left without being evicted: its next visit is no stranger's.
  template <class Nodes>
  void remember(Nodes& nodes, Index i) noexcept {
    ghost_.record(nodes.hash(i), static_cast<std::uint16_t>(nodes.node(i).word >> kStampShift),
                  static_cast<std::uint16_t>(now_));
  }

  template <class Nodes>
  void relocate(Nodes& nodes, Index to) noexcept {
    list_of(nodes.node(to).word).relocate(nodes, to);
  }

  void set_capacity(std::uint64_t capacity) noexcept { capacity_ = capacity; }
  void set_window(std::uint64_t window) noexcept { window_ = window; }
  void set_ghost(std::size_t slots) { ghost_.resize(slots); }

  // The capacity is now expected to hold `entries`: stamps get the matching unit, ages are kept.
  template <class Nodes>
  void rescale(Nodes& nodes, std::uint64_t entries) noexcept {
    const std::uint64_t old_unit = unit_;
    set_scale(entries);
    if (unit_ == old_unit) return;
    for (const EntryList* list : {&window_list_, &main_list_}) {
      for (Index i = list->head(); i != kNone; i = nodes.node(i).next) {
        std::uint32_t& word = nodes.node(i).word;
        const auto aged = static_cast<std::uint32_t>(
            std::min<std::uint64_t>(age(word) * old_unit / unit_, kStampMask));
        word = (((now_ - aged) & kStampMask) << kStampShift) | (word & kLowMask);
      }
    }
  }

  void clear() noexcept {
    window_list_.clear();
    main_list_.clear();
    ghost_.resize(0);
    filling_ = true;
  }

  // True while an entry of `weight` does not fit.
  [[nodiscard]] bool is_over(std::uint64_t weight) const noexcept {
    return this->weight() + weight > capacity_;
  }
  // True once something had to make room.
  [[nodiscard]] bool has_been_full() const noexcept { return !filling_; }
  [[nodiscard]] bool evicted_recently(std::uint64_t hash) const noexcept {
    return ghost_.contains(hash);
  }
  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t window() const noexcept { return window_; }
  [[nodiscard]] std::uint64_t weight() const noexcept {
    return window_list_.weight() + main_list_.weight();
  }
  [[nodiscard]] std::size_t count() const noexcept {
    return window_list_.count() + main_list_.count();
  }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return ghost_.memory_bytes(); }

  // Throws std::logic_error unless the invariants hold; calls `member(i)` for each entry.
  template <class Nodes, class Member>
  void check_invariants(const Nodes& nodes, Member&& member) const {
    const auto check = [&](const EntryList& list, Queue queue) {
      list.check_invariants(nodes, [&](Index i) {
        if ((nodes.node(i).word & kQueueMask) != static_cast<std::uint32_t>(queue)) {
          throw std::logic_error("policy: entry in the wrong queue");
        }
        member(i);
      });
    };
    check(window_list_, Queue::kWindow);
    check(main_list_, Queue::kMain);
    if (weight() > capacity_) throw std::logic_error("policy: over capacity");
  }

 private:
  static constexpr std::uint32_t kQueueMask = 1;
  static constexpr std::uint32_t kCountOne = 2;
  static constexpr std::uint32_t kCountMask = 3 * kCountOne;
  static constexpr std::uint32_t kLowMask = kQueueMask | kCountMask;
  static constexpr int kStampShift = 3;
  static constexpr std::uint32_t kStampMask = 0xFFFFFFFF >> kStampShift;
  static constexpr int kHandLimit = 32;
  static constexpr std::uint64_t kUnitsPerTurn = 1024;  // stamp units in as many misses as entries
  static constexpr double kGate = 0.03;  // younger accesses are correlated with the last one

  [[nodiscard]] std::uint32_t age(std::uint32_t word) const noexcept {
    return (now_ - (word >> kStampShift)) & kStampMask;
  }
  [[nodiscard]] std::uint64_t main_target() const noexcept {
    return capacity_ - std::min(capacity_, window_);
  }
  [[nodiscard]] EntryList& list_of(std::uint32_t word) noexcept {
    return (word & kQueueMask) != 0 ? main_list_ : window_list_;
  }

  void set_scale(std::uint64_t entries) noexcept {
    unit_ = std::max<std::uint64_t>(1, entries / kUnitsPerTurn);
    gate_ = static_cast<std::uint32_t>(
        std::ceil(kGate * static_cast<double>(entries) / static_cast<double>(unit_)));
  }

  void tick() noexcept {
    if (++misses_ >= unit_) {
      misses_ = 0;
      now_ = (now_ + 1) & kStampMask;
    }
  }

  template <class Nodes>
  static void prefetch(Nodes& nodes, Index i) noexcept {
    if (i != kNone) __builtin_prefetch(&nodes.node(i), 1);
  }

  // The main queue's next victim, which stays its tail; kNone if all that it looked at had been
  // read.
  template <class Nodes>
  [[nodiscard]] Index hand(Nodes& nodes) noexcept {
    for (int looked = 0; looked < kHandLimit; ++looked) {
      const Index tail = main_list_.tail();
      if (tail == kNone) return kNone;
      std::uint32_t& word = nodes.node(tail).word;
      if ((word & kCountMask) == 0) return tail;
      word -= kCountOne;
      main_list_.move_to_front(nodes, tail);
    }
    return kNone;
  }

  template <class Nodes, class Evict>
  void evict_entry(Nodes& nodes, EntryList& list, Index i, Evict&& evict) {
    list.remove(nodes, i);
    remember(nodes, i);
    evict(i);
  }

  std::uint64_t capacity_;
  std::uint64_t window_;    // the weight that the window aims at
  std::uint64_t unit_ = 1;  // misses a stamp
  std::uint64_t misses_ = 0;
  std::uint32_t now_ = 0;
  std::uint32_t gate_ = 0;  // in stamps
  bool filling_ = true;     // never full since the start
  EntryList window_list_;   // newest first
  EntryList main_list_;     // the hand is at the tail
  Ghost ghost_;
};

}  // namespace mcp::cache
