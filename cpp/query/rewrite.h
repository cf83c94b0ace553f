// rewrite.h: other ways to write a statement. Nothing is applied.
//
// `equivalence` says how far each is the same statement:
//   "proved"     the same rows whatever the data: from the text and the schema (NOT NULL, UNIQUE,
//                keys, STRICT, affinity, collation)
//   "data"       the same rows on the data as they are: a condition that the schema does not force
//                was checked on every row
//   "different"  not the same rows and not meant to be: a proposal to change what is asked
// Order is kept where ORDER BY decides it. What is neither proved nor checked is not offered, nor
// what SQLite does not compile to the same columns.
//
//   or-to-in               a = 1 OR a = 2  ->  a IN (1, 2)
//   or-to-union            an OR over several columns  ->  a UNION ALL of disjoint arms
//   redundant-distinct     DISTINCT over rows that a key tells apart is dropped
//   distinct-to-exists     DISTINCT over a join that multiplies  ->  EXISTS
//   count-to-exists        (SELECT count(*) ...) > 0  ->  EXISTS, = 0  ->  NOT EXISTS
//   not-in-to-not-exists   x NOT IN (SELECT y ...), where neither is NULL
//   exists-to-in           a correlated EXISTS that reads a table again and again  ->  IN
//   correlated-to-join     a correlated aggregate that does so  ->  LEFT JOIN of one GROUP BY
//   function-to-range      substr(a, 1, 2) = 'xy', date(a) = ..., a LIKE '20%'  ->  a range of a
//   lower-to-nocase        lower(a) = 'x'  ->  a = 'x' COLLATE NOCASE
//   arithmetic-to-bare     a + 1 > 5, CAST(a AS ...) = 5, a || '' = 'x'  ->  the bare column
//   coalesce-to-bare       coalesce(a, 0) = 0  ->  a = 0 OR a IS NULL
//   literal-type           a number compared with text, or text with a number  ->  the column's
//   type cast-other-side        text = number, of two columns  ->  the index of the text can be
//   used collation-narrow       a = 'x' COLLATE BINARY with an index in another collation  ->  both
//   offset-to-keyset       OFFSET  ->  the last row of the page before ("different")
//   star-to-columns        SELECT *  ->  the columns by name
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "query/outline.h"
#include "query/plan.h"
#include "query/schema.h"

namespace mcp::query {

inline constexpr const char* kProved = "proved";
inline constexpr const char* kOnData = "data";
inline constexpr const char* kDifferent = "different";

struct Rewrite {
  const char* rule;
  std::string sql;
  std::string reason;
  const char* equivalence = kProved;
  std::size_t begin = 0;  // bytes that it replaces
  std::size_t end = 0;
  // Of parameters that it adds: the name, and the column whose value is bound.
  std::vector<std::pair<std::string, std::string>> parameters = {};
};

struct RewriteInput {
  std::string_view sql;
  const Schema& schema;
  const std::vector<PlanStep>& plan;
  sqlite3* db;
  bool may_read;  // false: conditions are not checked on the data
};

// REQUIRES: SQLite has accepted `sql` on `db`. Reading the data ends at a bound of work.
[[nodiscard]] std::vector<Rewrite> find_rewrites(const RewriteInput& input);

}  // namespace mcp::query
