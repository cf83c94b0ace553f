// row_block.cpp: copies columns into a block.
#include "sqlite/row_block.h"

#include <sqlite3.h>

#include <new>

namespace mcp::sqlite {

bool is_ascii(std::string_view bytes) noexcept {
  constexpr std::uint64_t kHigh = 0x8080808080808080u;
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t seen = 0;
  for (; left >= sizeof seen; left -= sizeof seen, at += sizeof seen) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    seen |= word;
  }
  std::uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, at, left);
  return ((seen | tail) & kHigh) == 0;
}

std::int64_t RowBlock::append_payload(const void* data, std::size_t size) {
  const auto offset = static_cast<std::int64_t>(payload_.size());
  payload_.append_value(static_cast<std::uint64_t>(size));
  payload_.append({static_cast<const char*>(data), size});
  return offset;
}

// The functions for columns look for the row and take the connection's mutex in each call. Those
// for values do neither, and are safe where one thread at a time uses the connection, as here.
void RowBlock::append_row(sqlite3_stmt* statement) {
  char* types = types_.extend(static_cast<std::size_t>(columns_));
  char* words = words_.extend(static_cast<std::size_t>(columns_) * sizeof(std::int64_t));
  for (int column = 0; column < columns_; ++column) {
    sqlite3_value* value = sqlite3_column_value(statement, column);
    CellType type = CellType::kNull;
    std::int64_t word = 0;
    switch (sqlite3_value_type(value)) {
      case SQLITE_INTEGER:
        type = CellType::kInt;
        word = sqlite3_value_int64(value);
        break;
      case SQLITE_FLOAT:
        type = CellType::kDouble;
        word = std::bit_cast<std::int64_t>(sqlite3_value_double(value));
        break;
      case SQLITE_TEXT: {
        const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
        if (text == nullptr) throw std::bad_alloc();
        const auto size = static_cast<std::size_t>(sqlite3_value_bytes(value));
        type = is_ascii({text, size}) ? CellType::kAscii : CellType::kText;
        word = append_payload(text, size);
        break;
      }
      case SQLITE_BLOB: {
        const void* blob = sqlite3_value_blob(value);
        const auto size = static_cast<std::size_t>(sqlite3_value_bytes(value));
        if (blob == nullptr && size > 0) throw std::bad_alloc();
        type = CellType::kBlob;
        word = append_payload(blob, size);
        break;
      }
      default:
        break;
    }
    types[column] = static_cast<char>(type);
    std::memcpy(words + static_cast<std::size_t>(column) * sizeof word, &word, sizeof word);
  }
  ++rows_;
}

}  // namespace mcp::sqlite
