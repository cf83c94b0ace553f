// slab.h: one growing array of raw, cache-line aligned elements, addressed by number.
//
// Large slabs live in pages of their own: they grow by moving page tables where the element allows
// it (kRelocatable), never hold two copies then, and untouched capacity costs no memory.
// Thread-compatible. The slab runs no constructor or destructor: the owner does, and may destroy
// the slab only when no element lives. resize() may move elements: references die, numbers stay.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace mcp::cache {

// A block of bytes aligned to a cache line; move-only.
class PageBlock {
 public:
  PageBlock() = default;
  explicit PageBlock(std::size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    if (is_mapped()) {
      data_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (data_ == MAP_FAILED) throw std::bad_alloc();
    } else {
      data_ = ::operator new (bytes_, std::align_val_t{kLine});
    }
  }
  PageBlock(PageBlock&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  PageBlock& operator=(PageBlock&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PageBlock() {
    if (data_ == nullptr) return;
    if (is_mapped()) {
      ::munmap(data_, bytes_);
    } else {
      ::operator delete (data_, std::align_val_t{kLine});
    }
  }

  // Keeps the first min(old, new) bytes, bit for bit. On an exception nothing has changed.
  void resize(std::size_t bytes) {
    if (is_mapped() && bytes >= kMapped) {
      void* moved = ::mremap(data_, bytes_, bytes, MREMAP_MAYMOVE);
      if (moved == MAP_FAILED) throw std::bad_alloc();
      data_ = moved;
      bytes_ = bytes;
      return;
    }
    PageBlock next(bytes);
    if (const std::size_t kept = std::min(bytes_, bytes); kept != 0) {
      std::memcpy(next.data_, data_, kept);
    }
    *this = std::move(next);
  }

  [[nodiscard]] void* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_; }

 private:
  static constexpr std::size_t kLine = 64;
  static constexpr std::size_t kMapped = 256 << 10;
  [[nodiscard]] bool is_mapped() const noexcept { return bytes_ >= kMapped; }

  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

template <class T, bool kRelocatable>
class Slab {
 public:
  static_assert(alignof(T) <= 64);

  [[nodiscard]] T& operator[](std::uint32_t i) noexcept { return data_[i]; }
  [[nodiscard]] const T& operator[](std::uint32_t i) const noexcept { return data_[i]; }
  [[nodiscard]] std::size_t capacity() const noexcept { return block_.size() / sizeof(T); }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return block_.size(); }

  // Keeps the elements below `used`; each is moved by `move(T* to, T& from)` unless kRelocatable.
  // REQUIRES: used <= capacity. On an exception nothing has changed.
  template <class Move>
  void resize(std::size_t capacity, std::size_t used, Move&& move) {
    if constexpr (kRelocatable) {
      block_.resize(capacity * sizeof(T));
    } else {
      PageBlock next(capacity * sizeof(T));
      T* to = static_cast<T*>(next.data());
      for (std::size_t i = 0; i < used; ++i) move(to + i, data_[i]);
      block_ = std::move(next);
    }
    data_ = static_cast<T*>(block_.data());
  }

 private:
  PageBlock block_;
  T* data_ = nullptr;
};

}  // namespace mcp::cache
