// lexed.h: a statement as its tokens, with the numbers of its parameters.
//
// Time and memory are linear in the text. Views into the text: it must outlive them.
#pragma once

#include <string_view>
#include <vector>

#include "sqlite/tokenizer.h"

namespace mcp::query {

struct Lexed {
  std::vector<sqlite::Token> tokens;  // a keyword behind a dot is a name
  std::vector<int> numbers;           // of parameters, by token; 0 elsewhere
  int parameters = 0;                 // the highest number
};

[[nodiscard]] Lexed lexed_of(std::string_view sql);

}  // namespace mcp::query
