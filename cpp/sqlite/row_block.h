// row_block.h: result rows in native form, filled by whichever thread steps the statement and read
// by whoever turns them into objects later.
//
// One byte of type and eight bytes of value a cell; texts and blobs lie in one run of bytes, each
// behind its length. Cells lie row by row, because that is how they are read. Whether a text is
// ASCII is found out here, off the reader's thread. Thread-compatible; movable.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "sqlite/byte_buffer.h"

struct sqlite3_stmt;

namespace mcp::sqlite {

enum class CellType : char { kNull, kInt, kDouble, kAscii, kText, kBlob };

class RowBlock {
 public:
  explicit RowBlock(int columns = 0) noexcept : columns_(columns) {}

  // Appends the current row of `statement`. Throws std::bad_alloc.
  void append_row(sqlite3_stmt* statement);

  [[nodiscard]] int columns() const noexcept { return columns_; }
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  // The memory that its contents fill.
  [[nodiscard]] std::size_t bytes() const noexcept {
    return types_.size() + words_.size() + payload_.size();
  }

  // Cells are numbered row by row: cell = row * columns() + column.
  [[nodiscard]] CellType type(std::size_t cell) const noexcept {
    return static_cast<CellType>(types_.data()[cell]);
  }
  [[nodiscard]] std::int64_t integer(std::size_t cell) const noexcept {
    std::int64_t value;
    std::memcpy(&value, words_.data() + cell * sizeof value, sizeof value);
    return value;
  }
  [[nodiscard]] double real(std::size_t cell) const noexcept {
    return std::bit_cast<double>(integer(cell));
  }
  [[nodiscard]] std::string_view bytes(std::size_t cell) const noexcept {
    const char* place = payload_.data() + integer(cell);
    std::uint64_t size;
    std::memcpy(&size, place, sizeof size);
    return {place + sizeof size, size};
  }

 private:
  std::int64_t append_payload(const void* data, std::size_t size);

  int columns_;
  std::size_t rows_ = 0;
  ByteBuffer types_;
  ByteBuffer words_;
  ByteBuffer payload_;
};

// True when no byte has its high bit set.
[[nodiscard]] bool is_ascii(std::string_view bytes) noexcept;

}  // namespace mcp::sqlite
