// displaced.h: what a call to the cache pushed out. The cache destroys no key and no value itself:
// the owner of the list does, after it has left whatever lock it held. Thread-compatible. The first
// few items need no allocation.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "cache/types.h"

namespace mcp::cache {

template <class Key, class Value>
class Displaced {
 public:
  struct Item {
    Key key;  // Key{} where the key stays in the cache: Cause::kReplaced
    Value value;
    Cause cause;
  };
  static_assert(std::is_nothrow_move_constructible_v<Key> &&
                    std::is_nothrow_move_constructible_v<Value>,
                "entries are moved when the cache grows");

  Displaced() = default;
  Displaced(const Displaced&) = delete;
  Displaced& operator=(const Displaced&) = delete;
  ~Displaced() {
    clear();
    release();
  }

  // Room for `more` items. On an exception nothing has changed.
  void reserve(std::size_t more) {
    if (size_ + more <= capacity_) return;
    std::size_t capacity = capacity_ * 2;
    while (capacity < size_ + more) capacity *= 2;
    auto* next = static_cast<Item*>(
        ::operator new (capacity * sizeof(Item), std::align_val_t{alignof(Item)}));
    for (std::size_t i = 0; i < size_; ++i) {
      new (next + i) Item(std::move(items_[i]));
      items_[i].~Item();
    }
    release();
    items_ = next;
    capacity_ = capacity;
  }

  // REQUIRES: reserved room.
  void push(Key&& key, Value&& value, Cause cause) noexcept {
    new (items_ + size_) Item{std::move(key), std::move(value), cause};
    ++size_;
  }

  // Destroys the items, keeps the room.
  void clear() noexcept {
    for (std::size_t i = 0; i < size_; ++i) items_[i].~Item();
    size_ = 0;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] Item& operator[](std::size_t i) noexcept { return items_[i]; }
  [[nodiscard]] Item* begin() noexcept { return items_; }
  [[nodiscard]] Item* end() noexcept { return items_ + size_; }

 private:
  static constexpr std::size_t kInline = 4;

  [[nodiscard]] Item* own() noexcept { return reinterpret_cast<Item*>(inline_); }
  void release() noexcept {
    if (items_ != own()) ::operator delete (items_, std::align_val_t{alignof(Item)});
  }

  alignas(Item) std::byte inline_[kInline * sizeof(Item)];
  Item* items_ = own();
  std::size_t size_ = 0;
  std::size_t capacity_ = kInline;
};

}  // namespace mcp::cache
