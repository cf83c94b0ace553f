// rewrite.h: other ways to write a statement that give the same rows. Each rule is proved from the
// text and the schema; what is not proved is not offered, and nothing is applied.
//
//   or-to-in            a = 1 OR a = 2 OR a = 3  ->  a IN (1, 2, 3)
//   redundant-distinct  DISTINCT over a whole key that is NOT NULL is dropped
//   count-to-exists     (SELECT count(*) FROM ...) > 0  ->  EXISTS (SELECT 1 FROM ...)
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "query/outline.h"
#include "query/schema.h"

namespace mcp::query {

struct Rewrite {
  const char* rule;
  std::string sql;
  std::string reason;
  std::size_t begin = 0;  // bytes that it replaces
  std::size_t end = 0;
};

// REQUIRES: `outline` is of `sql`, and SQLite has accepted it.
[[nodiscard]] std::vector<Rewrite> find_rewrites(std::string_view sql, const Outline& outline,
                                                 const Schema& schema);

}  // namespace mcp::query
