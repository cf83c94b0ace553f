// turn_queue.h: work that comes in parts, on its way to one consumer that has little time.
//
// Two promises that no caller can break: the parts of one id are worked on in the order in which
// they came, and ids take turns. There is no call that moves a part behind a later one of its id: a
// consumer is shown the first part of the id whose turn it is, and says whether that part is used
// up (pop) or goes on later (yield). Either way the turn passes to the next id.
//
// A pure state machine: no clock, no lock, no I/O. Thread-compatible.
// Invariant: an id has at most one lane, and a lane is never empty.
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
    Lane lane{id, std::move(part), {}};
    if (last) {  // most often: an answer in one part needs no look-up
      lanes_.push_back(std::move(lane));
      return;
    }
    const auto slot = unfinished_.emplace(id, lanes_.end()).first;
    try {
      lanes_.push_back(std::move(lane));
    } catch (...) {
      unfinished_.erase(slot);
      throw;
    }
    slot->second = std::prev(lanes_.end());
  }

  [[nodiscard]] bool empty() const noexcept { return lanes_.empty(); }

  // The id whose turn it is, and the first of its parts. REQUIRES: !empty(), for all that follow.
  [[nodiscard]] std::uint64_t id() const noexcept { return lanes_.front().id; }
  [[nodiscard]] Part& front() noexcept { return lanes_.front().first; }

  // The part is not used up, and stays the first of its id.
  void yield() noexcept { lanes_.splice(lanes_.end(), lanes_, lanes_.begin()); }

  // The part is used up: gives it away, so that the caller decides where it is destroyed.
  Part pop() noexcept {
    Lane& lane = lanes_.front();
    Part used = std::move(lane.first);
    if (lane.later.empty()) {
      drop();
    } else {
      lane.first = std::move(lane.later.front());
      lane.later.pop_front();
      yield();
    }
    return used;
  }

 private:
  struct Lane {
    std::uint64_t id;
    Part first;
    std::list<Part> later;  // an empty list allocates nothing
  };

  void drop() noexcept {
    const auto found = unfinished_.empty() ? unfinished_.end() : unfinished_.find(id());
    if (found != unfinished_.end() && found->second == lanes_.begin()) unfinished_.erase(found);
    lanes_.pop_front();
  }

  std::list<Lane> lanes_;  // in the order of their turns
  // The lanes that may get more parts.
  std::unordered_map<std::uint64_t, typename std::list<Lane>::iterator> unfinished_;
};

}  // namespace mcp
