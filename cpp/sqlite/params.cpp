// params.cpp: packs values, and binds them.
#include "sqlite/params.h"

#include <sqlite3.h>

#include <string>

#include "sqlite/sqlite_error.h"

namespace mcp::sqlite {
namespace {

// Reads a pack from its start.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : next_(bytes.data()) {}
  template <class T>
  T value() {
    T out;
    std::memcpy(&out, next_, sizeof out);
    next_ += sizeof out;
    return out;
  }
  std::string_view bytes(std::size_t size) {
    const std::string_view out(next_, size);
    next_ += size;
    return out;
  }

 private:
  const char* next_;
};

int bind_one(sqlite3_stmt* statement, int index, char tag, Reader& reader) {
  switch (tag) {
    case 'I':
      return sqlite3_bind_int64(statement, index, reader.value<std::int64_t>());
    case 'F':
      return sqlite3_bind_double(statement, index, reader.value<double>());
    case 'T': {
      const std::string_view text = reader.bytes(reader.value<std::uint64_t>());
      return sqlite3_bind_text64(statement, index, text.data(), text.size(), SQLITE_STATIC,
                                 SQLITE_UTF8);
    }
    case 'B': {
      const std::string_view blob = reader.bytes(reader.value<std::uint64_t>());
      if (blob.empty()) return sqlite3_bind_zeroblob(statement, index, 0);
      return sqlite3_bind_blob64(statement, index, blob.data(), blob.size(), SQLITE_STATIC);
    }
    default:
      return sqlite3_bind_null(statement, index);
  }
}

// Passes by a value.
void skip_one(char tag, Reader& reader) {
  if (tag == 'I' || tag == 'F') {
    reader.bytes(sizeof(std::int64_t));
  } else if (tag == 'T' || tag == 'B') {
    reader.bytes(reader.value<std::uint64_t>());
  }
}

void bind_packed(sqlite3_stmt* statement, std::string_view packed, int count) {
  const int expected = sqlite3_bind_parameter_count(statement);
  if (count != expected) throw wrong_count(expected, static_cast<std::size_t>(count));
  Reader reader(packed);
  for (int index = 1; index <= count; ++index) {
    const char tag = reader.value<char>();
    const int code = bind_one(statement, index, tag, reader);
    if (code != SQLITE_OK) throw sqlite_error(sqlite3_db_handle(statement), code);
  }
}

}  // namespace

Error wrong_count(int expected, std::size_t given) {
  return {ErrorKind::kQuery,
          "wrong number of parameters: the statement takes " + std::to_string(expected) + ", " +
              std::to_string(given) + (given == 1 ? " was given" : " were given"),
          SQLITE_RANGE};
}

std::string Params::types() const {
  std::string types;
  Reader reader(bytes());
  for (int i = 0; i < count_; ++i) {
    types.push_back(reader.value<char>());
    skip_one(types.back(), reader);
  }
  return types;
}

void Params::bind(sqlite3_stmt* statement) const { bind_packed(statement, bytes_.view(), count_); }

void Params::return_from(sqlite3_context* context) const {
  Reader reader(bytes());
  switch (reader.value<char>()) {
    case 'I':
      return sqlite3_result_int64(context, reader.value<std::int64_t>());
    case 'F':
      return sqlite3_result_double(context, reader.value<double>());
    case 'T': {
      const std::string_view text = reader.bytes(reader.value<std::uint64_t>());
      return sqlite3_result_text64(context, text.data(), text.size(), SQLITE_TRANSIENT,
                                   SQLITE_UTF8);
    }
    case 'B': {
      const std::string_view blob = reader.bytes(reader.value<std::uint64_t>());
      return sqlite3_result_blob64(context, blob.data(), blob.size(), SQLITE_TRANSIENT);
    }
    default:
      return sqlite3_result_null(context);
  }
}

void ParamRows::end_row() {
  rows_.push_back({begin_, packed_.count_});
  begin_ = packed_.bytes_.size();
  packed_.count_ = 0;
}

void ParamRows::bind(sqlite3_stmt* statement, std::size_t row) const {
  const Row& at = rows_[row];
  bind_packed(statement, packed_.bytes().substr(at.begin), at.count);
}

}  // namespace mcp::sqlite
