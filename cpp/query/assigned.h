// assigned.h: the parameters that a statement writes into columns, where what they hold decides
// what it does: a key that changes makes foreign keys look up their rows, and so does a row that is
// replaced.
#pragma once

#include <string>
#include <vector>

#include "query/lexed.h"
#include "query/schema.h"

namespace mcp::query {

struct AssignedParameter {
  int parameter = 0;
  std::string column;
};

struct Assigned {
  const Table* table = nullptr;
  std::vector<AssignedParameter> fresh;  // UPDATE ... SET of a column that must be unique
  std::vector<AssignedParameter> known;  // VALUES of an INSERT that meets rows that are there
};

// INSERT OR REPLACE, UPDATE OR REPLACE or REPLACE.
[[nodiscard]] bool is_replacing(const Lexed& lexed);

[[nodiscard]] Assigned assigned_parameters(const Lexed& lexed, const Schema& schema);

}  // namespace mcp::query
