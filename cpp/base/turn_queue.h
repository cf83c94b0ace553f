// turn_queue.h: work that comes in parts, on its way to one consumer that has little time.
//
// Two promises that no caller can break: the parts of one id are worked on in the order in which
// they came, and ids take turns. There is no call that moves a part behind a later one of its id: a
// consumer is shown the first part of the id whose turn it is, and says whether that part is used
// up (pop) or goes on later (yield). Either way the turn passes to the next id.
//
// A pure state machine: no clock, no lock, no I/O. Thread-compatible.
// Invariant: an id has at most one turn, and a turn is never empty.
#pragma once

#include <cstdint>
#include <iterator>
#include <list>
#include <unordered_map>
#include <utility>

namespace mcp {

template <class Part>
class TurnQueue {
 public:
  // Appends a part behind those of its id. `last`: no further part of this id will come, unless the
  // id is used anew. Throws std::bad_alloc, and then nothing has changed.
  void push(std::uint64_t id, Part part, bool last) {
    const auto found = unfinished_.empty() ? unfinished_.end() : unfinished_.find(id);
    if (found != unfinished_.end()) {
      found->second->later.push_back(std::move(part));
      if (last) unfinished_.erase(found);
      return;
    }
    Turn turn{id, std::move(part), {}};
    if (last) {  // most often: an answer in one part needs no look-up
      turns_.push_back(std::move(turn));
      return;
    }
    const auto slot = unfinished_.emplace(id, turns_.end()).first;
    try {
      turns_.push_back(std::move(turn));
    } catch (...) {
      unfinished_.erase(slot);
      throw;
    }
    slot->second = std::prev(turns_.end());
  }

  [[nodiscard]] bool empty() const noexcept { return turns_.empty(); }

  // The id whose turn it is, and the first of its parts. REQUIRES: !empty(), for all that follow.
  [[nodiscard]] std::uint64_t id() const noexcept { return turns_.front().id; }
  [[nodiscard]] Part& front() noexcept { return turns_.front().first; }

  // The part is not used up, and stays the first of its id.
  void yield() noexcept { turns_.splice(turns_.end(), turns_, turns_.begin()); }

  // The part is used up: gives it away, so that the caller decides where it is destroyed.
  Part pop() noexcept {
    Turn& turn = turns_.front();
    Part used = std::move(turn.first);
    if (turn.later.empty()) {
      drop();
    } else {
      turn.first = std::move(turn.later.front());
      turn.later.pop_front();
      yield();
    }
    return used;
  }

 private:
  struct Turn {
    std::uint64_t id;
    Part first;
    std::list<Part> later;  // an empty list allocates nothing
  };

  void drop() noexcept {
    const auto found = unfinished_.empty() ? unfinished_.end() : unfinished_.find(id());
    if (found != unfinished_.end() && found->second == turns_.begin()) unfinished_.erase(found);
    turns_.pop_front();
  }

  std::list<Turn> turns_;  // in the order of their turns
  // The turns that may get more parts.
  std::unordered_map<std::uint64_t, typename std::list<Turn>::iterator> unfinished_;
};

}  // namespace mcp
