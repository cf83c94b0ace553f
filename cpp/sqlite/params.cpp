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

// The index of a named parameter, whichever of its prefixes the statement uses; 0 if it has none.
int index_of(sqlite3_stmt* statement, std::string_view name) {
  std::string spelled;
  for (const char prefix : {':', '@', '$'}) {
    spelled.assign(1, prefix).append(name);
    const int index = sqlite3_bind_parameter_index(statement, spelled.c_str());
    if (index != 0) return index;
  }
  return 0;
}

Error wrong_count(int expected, int given) {
  return {ErrorKind::kQuery,
          "the statement takes " + std::to_string(expected) + " parameters, " +
              std::to_string(given) + " were given",
          SQLITE_RANGE};
}

}  // namespace

void Params::bind(sqlite3_stmt* statement) const {
  const int expected = sqlite3_bind_parameter_count(statement);
  if (!named_ && count_ != expected) throw wrong_count(expected, count_);
  Reader reader(bytes_.view());
  int bound = 0;
  for (int i = 1; i <= count_; ++i) {
    char tag = reader.value<char>();
    int index = i;
    if (tag == 'K') {
      index = index_of(statement, reader.bytes(reader.value<std::uint32_t>()));
      tag = reader.value<char>();
    }
    if (index == 0) {  // a mapping may hold more than the statement asks for
      switch (tag) {
        case 'I':
        case 'F':
          reader.bytes(sizeof(std::int64_t));
          break;
        case 'T':
        case 'B':
          reader.bytes(reader.value<std::uint64_t>());
          break;
        default:
          break;
      }
      continue;
    }
    const int code = bind_one(statement, index, tag, reader);
    if (code != SQLITE_OK) throw sqlite_error(sqlite3_db_handle(statement), code);
    ++bound;
  }
  if (bound < expected) throw wrong_count(expected, bound);
}

}  // namespace mcp::sqlite
