// params.h: the bindings of one statement, packed into one run of bytes.
//
// The packed form is also the key of the result cache: equal bytes mean equal types and values
// (1, 1.0 and '1' differ). They are in the order of the statement's numbers: names are looked up
// before (sql_text.h). Thread-compatible. Small packs need no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "sqlite/byte_buffer.h"

struct sqlite3_context;
struct sqlite3_stmt;

namespace mcp::sqlite {

class Params {
 public:
  void add_null() { tag('N'); }
  void add_int(std::int64_t value) {
    tag('I');
    bytes_.append_value(value);
  }
  void add_double(double value) {
    tag('F');
    bytes_.append_value(value);
  }
  void add_text(std::string_view utf8) { add_bytes('T', utf8); }
  void add_blob(std::string_view bytes) { add_bytes('B', bytes); }
  [[nodiscard]] std::string_view bytes() const noexcept { return bytes_.view(); }
  [[nodiscard]] int count() const noexcept { return count_; }
  // One letter a value: N, I, F, T or B.
  [[nodiscard]] std::string types() const;

  // Binds everything. Texts and blobs are not copied: this object outlives the execution.
  // Throws Error when the number does not fit the statement.
  void bind(sqlite3_stmt* statement) const;
  // Gives the one value as what a user function returns. REQUIRES: count() == 1.
  void return_from(sqlite3_context* context) const;

 private:
  friend class ParamRows;

  void tag(char type) {
    bytes_.append_value(type);
    ++count_;
  }
  void add_bytes(char type, std::string_view bytes) {
    tag(type);
    bytes_.append_value(static_cast<std::uint64_t>(bytes.size()));
    bytes_.append(bytes);
  }

  ByteBuffer bytes_;
  int count_ = 0;
};

// For a statement that takes another number of parameters.
[[nodiscard]] Error wrong_count(int expected, std::size_t given);

// The bindings of many executions of one statement, one behind the other in one run of bytes.
class ParamRows {
 public:
  // What is added to it belongs to the next execution, which end_row() completes.
  [[nodiscard]] Params& row() noexcept { return packed_; }
  void end_row();

  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  // As Params::bind(), for execution number `row`, from 0.
  void bind(sqlite3_stmt* statement, std::size_t row) const;

 private:
  struct Row {
    std::size_t begin;
    int count;
  };

  Params packed_;
  std::size_t begin_ = 0;  // of the row that is being added
  std::vector<Row> rows_;
};

}  // namespace mcp::sqlite
