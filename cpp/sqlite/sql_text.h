// sql_text.h: what can be said of a statement from its text alone, before SQLite sees it.
//
// Safe from any thread: values and pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mcp::sqlite {

// The parameters that a statement asks for, numbered from 1 as SQLite numbers them.
struct Placeholders {
  struct Named {
    int number;
    std::string text;  // as written: ":name", "@name", "$name" or "?2"
  };

  int count = 0;             // the highest number
  std::vector<Named> named;  // by number; those of a bare "?" are not here
  bool empty = true;         // no statement: nothing but white space, comments and semicolons
  bool names_file = false;   // ATTACH and VACUUM take the name of a file
};

// Of the first statement in the text.
[[nodiscard]] Placeholders placeholders_of(std::string_view sql);

// SQL is cut at a NUL, and what is left means something else. Throws Error.
void check_sql(std::string_view sql);

// Throws Error when a statement follows the first one; `tail` is where that one ended.
void check_single(std::string_view sql, const char* tail);

}  // namespace mcp::sqlite
