// box.cpp: the objects of an entry and its tags, and how they are let go.
#include "bindings/cache/box.h"

#include <algorithm>
#include <utility>

namespace mcp::python {

TagTable::Held& TagTable::hold(const std::string& name) {
  std::unique_ptr<Held>& held = tags_[name];
  if (held == nullptr) {
    held = std::make_unique<Held>();
    held->tag.name = name;
    reset(held->list);
  }
  return *held;
}

bool TagTable::was_invalidated(const std::vector<std::string>& names, std::uint64_t stamp) const {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    const auto known = tags_.find(name);
    return known != tags_.end() && known->second->tag.barrier > stamp;
  });
}

bool TagTable::attach(Box& box, const std::vector<std::string>& names, std::uint64_t stamp) {
  box.stamp = stamp;
  if (was_invalidated(names, stamp)) return false;
  box.tags.resize(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    Held& held = hold(names[i]);
    box.tags[i].tag = &held.tag;
    box.tags[i].box = &box;
    push(held.list, box.tags[i]);
    if (!box.is_failure) ++held.tag.live;
    ++held.tag.links;
  }
  return true;
}

void TagTable::detach(Box& box, bool loads_under_way) noexcept {
  for (TagLink& link : box.tags) {
    unlink(link);
    Tag& tag = *link.tag;
    if (!box.is_failure && tag.barrier <= box.stamp) --tag.live;
    if (--tag.links > 0) continue;
    if (loads_under_way && tag.barrier != 0) {
      has_unused_ = true;
    } else {
      tags_.erase(tags_.find(tag.name));
    }
  }
  box.tags.clear();
}

std::size_t TagTable::invalidate(const std::string& name, bool loads_under_way) {
  const std::uint64_t now = ++epoch_;
  const auto known = tags_.find(name);
  if (known == tags_.end() && !loads_under_way) return 0;
  Held& held = known == tags_.end() ? hold(name) : *known->second;
  if (held.tag.links == 0) has_unused_ = true;
  held.tag.barrier = now;
  if (held.list.next != &held.list) {
    // The whole ring moves to the front of the dead.
    held.list.next->previous = &dead_;
    held.list.previous->next = dead_.next;
    dead_.next->previous = held.list.previous;
    dead_.next = held.list.next;
    reset(held.list);
  }
  return std::exchange(held.tag.live, 0);
}

void TagTable::prune() {
  if (!std::exchange(has_unused_, false)) return;
  std::erase_if(tags_, [](const auto& item) { return item.second->tag.links == 0; });
}

}  // namespace mcp::python
