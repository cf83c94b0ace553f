// entry_list.h: a doubly linked list of entries by index, with the weight of its members.
// Thread-compatible. Invariants: prev and next agree; count() and weight() are those of the
// members. Nodes: `nodes.node(Index)` has `Index prev, next`; `nodes.weight(Index)`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "cache/types.h"

namespace mcp::cache {

class EntryList {
 public:
  [[nodiscard]] Index head() const noexcept { return head_; }
  [[nodiscard]] Index tail() const noexcept { return tail_; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t weight() const noexcept { return weight_; }

  template <class Nodes>
  void push_front(Nodes& nodes, Index i) noexcept {
    auto& node = nodes.node(i);
    node.prev = kNone;
    node.next = head_;
    (head_ == kNone ? tail_ : nodes.node(head_).prev) = i;
    head_ = i;
    ++count_;
    weight_ += nodes.weight(i);
  }

  template <class Nodes>
  void remove(Nodes& nodes, Index i) noexcept {
    detach(nodes, i);
    --count_;
    weight_ -= nodes.weight(i);
  }

  template <class Nodes>
  void move_to_front(Nodes& nodes, Index i) noexcept {
    if (head_ == i) return;
    detach(nodes, i);
    auto& node = nodes.node(i);
    node.prev = kNone;
    node.next = head_;
    (head_ == kNone ? tail_ : nodes.node(head_).prev) = i;
    head_ = i;
  }

  // A member's index became `to`; nodes.node(to) holds its links.
  template <class Nodes>
  void relocate(Nodes& nodes, Index to) noexcept {
    const auto& node = nodes.node(to);
    (node.prev == kNone ? head_ : nodes.node(node.prev).next) = to;
    (node.next == kNone ? tail_ : nodes.node(node.next).prev) = to;
  }

  void clear() noexcept { *this = {}; }

  // Throws std::logic_error unless the invariants hold; calls `member(i)` for each.
  template <class Nodes, class Member>
  void check_invariants(const Nodes& nodes, Member&& member) const {
    std::size_t count = 0;
    std::uint64_t weight = 0;
    Index prev = kNone;
    for (Index i = head_; i != kNone; i = nodes.node(i).next) {
      if (nodes.node(i).prev != prev) throw std::logic_error("list: broken links");
      if (++count > count_) throw std::logic_error("list: count is wrong");
      weight += nodes.weight(i);
      member(i);
      prev = i;
    }
    if (prev != tail_) throw std::logic_error("list: wrong tail");
    if (count != count_) throw std::logic_error("list: count is wrong");
    if (weight != weight_) throw std::logic_error("list: weight is wrong");
  }

 private:
  template <class Nodes>
  void detach(Nodes& nodes, Index i) noexcept {
    const auto& node = nodes.node(i);
    (node.prev == kNone ? head_ : nodes.node(node.prev).next) = node.next;
    (node.next == kNone ? tail_ : nodes.node(node.next).prev) = node.prev;
  }

  Index head_ = kNone;
  Index tail_ = kNone;
  std::size_t count_ = 0;
  std::uint64_t weight_ = 0;
};

}  // namespace mcp::cache
