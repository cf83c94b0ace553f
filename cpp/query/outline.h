// outline.h: the parts of a statement that its plan does not show: what is selected, from where,
// and what is compared with what. Read from the tokens, so it also takes what SQLite refuses; what
// it cannot make out it calls kOther, and nobody draws conclusions from that.
//
// Time and memory are linear in the text. Views into the text: it must outlive the outline.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "sqlite/tokenizer.h"

namespace mcp::query {

enum class Verb { kNone, kSelect, kInsert, kUpdate, kDelete, kOther };

struct ColumnName {
  std::string_view qualifier;  // table or alias; empty when not written. Without quotes.
  std::string_view name;
};

enum class OperandKind {
  kOther,
  kColumn,
  kParameter,
  kText,
  kNumber,
  kPattern,     // text joined with ||, for LIKE
  kList,        // of IN: only literals and parameters
  kExpression,  // a call or arithmetic over one column: `column` is that column
};

struct Operand {
  OperandKind kind = OperandKind::kOther;
  ColumnName column;
  std::string_view function;        // of kExpression; empty for arithmetic
  std::string_view text;            // of a literal, as written; of kPattern its first piece
  std::vector<int> parameters;      // their numbers, as SQLite counts them
  std::size_t first = 0, last = 0;  // tokens, both included
};

// The number of no token.
inline constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

struct Comparison {
  std::size_t at = kNowhere;  // the token of the operator
  std::string_view op;        // in capitals: = < > <= >= <> LIKE GLOB IN IS BETWEEN
  bool negated = false;
  Operand left;
  Operand right;
};

struct Source {
  std::string_view table;
  std::string_view alias;  // the table's name when there is none
  std::size_t at = kNowhere;
};

// One SELECT, or the outer UPDATE, DELETE or INSERT.
struct Scope {
  Verb verb = Verb::kNone;
  int parent = -1;
  // Tokens: of the verb, the first *, DISTINCT, ORDER and GROUP.
  std::size_t verb_at = kNowhere, star_at = kNowhere, distinct_at = kNowhere;
  std::size_t order_at = kNowhere, group_at = kNowhere;
  bool star = false;       // * or t.* in the result, not count(*)
  bool in_exists = false;  // EXISTS (SELECT ...): its columns are not read
  bool where = false;
  bool limit = false;
  bool group_by = false;
  bool order_by = false;
  bool distinct = false;
  bool aggregate = false;
  bool derived = false;  // a source is a subquery
  std::vector<Source> sources;
  std::vector<Comparison> comparisons;  // of WHERE, ON and HAVING
};

struct Outline {
  Verb verb = Verb::kNone;
  std::vector<sqlite::Token> tokens;
  std::vector<Scope> scopes;          // the outermost first
  std::vector<int> limit_parameters;  // of LIMIT
  std::vector<int> offset_parameters;
  int parameters = 0;  // the highest number
  std::string_view sql;
};

[[nodiscard]] Outline outline_of(std::string_view sql);

}  // namespace mcp::query
