// box.h: what a cache's entry holds, and the tags that invalidate many entries at once.
//
// Most entries hold a bare value. One that needs more (tags, a stale window, a failure, the time
// its load took) holds a Box. Both are one word to the core: trivially destructible, owned by the
// binding.
//
// Tags: invalidating one is O(1). It raises the tag's barrier to a new epoch; entries stamped with
// an older one are dead from that moment and taken out later, when somebody comes by.
//
// REQUIRES: the interpreter lock, everywhere. Nothing here runs Python code.
#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"

namespace mcp::python {

struct Box;
struct Tag;

struct TagLink {
  TagLink* previous = nullptr;
  TagLink* next = nullptr;
  Tag* tag = nullptr;
  Box* box = nullptr;
};

struct Tag {
  std::string name;
  std::uint64_t barrier = 0;  // entries with an older stamp are dead
  std::size_t live = 0;       // links of entries that this tag has not killed
  std::size_t links = 0;      // all of them
};

struct Box {
  PyObject* value = nullptr;  // owned
  std::uint64_t hash = 0;
  Instant fresh_until = kNever;  // stale from then on
  Duration load_ns = 0;          // what making it took; 0 where early refresh is off
  std::uint64_t stamp = 0;       // the epoch at which its load began
  bool is_failure = false;       // value is the exception to raise
  std::uint32_t weight = 0;      // of a failure, which no figure counts
  std::vector<TagLink> tags;

  [[nodiscard]] bool is_dead() const noexcept {
    for (const TagLink& link : tags) {
      if (link.tag->barrier > stamp) return true;
    }
    return false;
  }
};

// The word in the core: an object, or a Box marked by the lowest bit.
class Stored {
 public:
  Stored() = default;
  explicit Stored(PyObject* value) noexcept : bits_(reinterpret_cast<std::uintptr_t>(value)) {}
  explicit Stored(Box* box) noexcept : bits_(reinterpret_cast<std::uintptr_t>(box) | 1) {}

  [[nodiscard]] bool is_boxed() const noexcept { return (bits_ & 1) != 0; }
  [[nodiscard]] Box* box() const noexcept {
    return reinterpret_cast<Box*>(bits_ & ~std::uintptr_t{1});
  }
  [[nodiscard]] PyObject* value() const noexcept {
    return is_boxed() ? box()->value : reinterpret_cast<PyObject*>(bits_);
  }
  friend bool operator==(Stored a, Stored b) noexcept = default;

 private:
  std::uintptr_t bits_ = 0;
};

// Every tag of one cache.
class TagTable {
 public:
  TagTable() { reset(dead_); }
  TagTable(const TagTable&) = delete;
  TagTable& operator=(const TagTable&) = delete;

  // The time of invalidations; a load notes it when it begins.
  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }

  // False if one of the names was invalidated after `stamp`: the box may not be stored.
  [[nodiscard]] bool attach(Box& box, const std::vector<std::string>& names, std::uint64_t stamp);
  void detach(Box& box, bool loads_under_way) noexcept;
  // Whether one of the names was invalidated after `stamp`.
  [[nodiscard]] bool was_invalidated(const std::vector<std::string>& names,
                                     std::uint64_t stamp) const;

  // Kills the entries that carry the tag; how many did. A tag that nothing carries is remembered
  // only while loads are under way, which may be about to store it.
  std::size_t invalidate(const std::string& name, bool loads_under_way);

  // A box that an invalidation killed and that is still held; nullptr if there is none.
  [[nodiscard]] Box* first_dead() const noexcept {
    return dead_.next == &dead_ ? nullptr : dead_.next->box;
  }
  [[nodiscard]] bool has_dead() const noexcept { return dead_.next != &dead_; }

  // Forgets barriers of tags that nothing carries. REQUIRES: no load is under way.
  void prune();

 private:
  struct Held {
    Tag tag;
    TagLink list;  // a ring through the links of the tag's living entries
  };
  static void reset(TagLink& ring) noexcept { ring.previous = ring.next = &ring; }
  static void unlink(TagLink& link) noexcept {
    link.previous->next = link.next;
    link.next->previous = link.previous;
  }
  static void push(TagLink& ring, TagLink& link) noexcept {
    link.previous = &ring;
    link.next = ring.next;
    ring.next->previous = &link;
    ring.next = &link;
  }
  Held& hold(const std::string& name);

  std::unordered_map<std::string, std::unique_ptr<Held>> tags_;
  TagLink dead_;  // a ring through the links of entries that are dead by their tag
  std::uint64_t epoch_ = 1;
  bool has_unused_ = false;
};

}  // namespace mcp::python
