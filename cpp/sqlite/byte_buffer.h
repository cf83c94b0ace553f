// byte_buffer.h: bytes that grow, the first 112 of them in place. Unlike std::vector it does not
// clear what it is about to overwrite. Thread-compatible; movable.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <type_traits>

namespace mcp::sqlite {

class ByteBuffer {
 public:
  ByteBuffer() = default;
  ~ByteBuffer() { std::free(heap_); }
  ByteBuffer(const ByteBuffer& other) { append(other.view()); }
  ByteBuffer(ByteBuffer&& other) noexcept { take(other); }
  ByteBuffer& operator=(const ByteBuffer&) = delete;
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    if (this != &other) {
      std::free(heap_);
      take(other);
    }
    return *this;
  }

  // Room for `count` bytes at the end, which are the caller's to fill. Throws std::bad_alloc.
  char* extend(std::size_t count) {
    if (capacity_ - size_ < count) grow(count);
    char* place = data() + size_;
    size_ += count;
    return place;
  }
  void append(std::string_view bytes) {
    if (!bytes.empty()) std::memcpy(extend(bytes.size()), bytes.data(), bytes.size());
  }
  template <class T>
  void append_value(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::memcpy(extend(sizeof value), &value, sizeof value);
  }

  [[nodiscard]] const char* data() const noexcept { return heap_ != nullptr ? heap_ : inline_; }
  [[nodiscard]] char* data() noexcept { return heap_ != nullptr ? heap_ : inline_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::string_view view() const noexcept { return {data(), size_}; }
  void clear() noexcept { size_ = 0; }

 private:
  static constexpr std::size_t kInline_bytes = 112;

  void grow(std::size_t count) {
    std::size_t wanted = capacity_ * 2;
    if (wanted < size_ + count) wanted = size_ + count;
    char* bigger = static_cast<char*>(std::realloc(heap_, wanted));
    if (bigger == nullptr) throw std::bad_alloc();
    if (heap_ == nullptr) std::memcpy(bigger, inline_, size_);
    heap_ = bigger;
    capacity_ = wanted;
  }
  void take(ByteBuffer& other) noexcept {
    heap_ = other.heap_;
    size_ = other.size_;
    capacity_ = other.capacity_;
    if (heap_ == nullptr) std::memcpy(inline_, other.inline_, size_);
    other.heap_ = nullptr;
    other.size_ = 0;
    other.capacity_ = kInline_bytes;
  }

  char* heap_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = kInline_bytes;
  char inline_[kInline_bytes];
};

}  // namespace mcp::sqlite
