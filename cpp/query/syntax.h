// syntax.h: a statement as a tree, for rules that must know what stands where: its SELECTs, their
// sources, and every expression with SQLite's precedence.
//
// SELECT, and the WHERE of UPDATE and DELETE. What it does not know is `readable == false`, and
// nobody draws conclusions from that. Nodes are numbers into vectors; -1 is none. Immutable once
// read. Views into the text: it must outlive the tree.
#pragma once

#include <string_view>
#include <vector>

#include "query/lexed.h"
#include "query/outline.h"

namespace mcp::query {

enum class ExprKind {
  kNull,
  kNumber,
  kText,
  kBlob,
  kConstant,  // CURRENT_DATE and the like
  kParameter,
  kColumn,
  kUnary,    // op: - + ~ NOT
  kBinary,   // op: arithmetic, comparisons, AND, OR
  kIs,       // also ISNULL, NOTNULL, IS DISTINCT FROM
  kLike,     // op: LIKE GLOB MATCH REGEXP; a third kid is ESCAPE's
  kBetween,  // three kids
  kIn,       // the first kid is the left side; then a list, or `select`
  kCall,     // op: the function's name
  kCast,     // op: the type
  kCollate,  // op: the collation
  kCase,
  kParen,
  kRow,
  kExists,
  kSubquery,
};

struct Expr {
  ExprKind kind = ExprKind::kNull;
  std::size_t first = 0, last = 0;  // tokens, both included
  std::string_view op = {};
  bool negated = false;  // NOT IN, NOT LIKE, NOT BETWEEN, IS NOT
  bool star = false;     // count(*)
  bool special = false;  // DISTINCT, FILTER, OVER or ORDER BY in a call
  bool quoted = false;   // of a column: in double quotes, which may be a string
  ColumnName column = {};
  int parameter = 0;
  std::vector<int> kids = {};
  int select = -1;
};

struct ResultColumn {
  int expr = -1;                // -1: a star
  std::string_view star_table;  // of t.*
  std::string_view alias;       // without quotes; empty when not written
  std::size_t first = 0, last = 0;
};

enum class JoinKind { kFirst, kComma, kInner, kCross, kLeft, kOther };

struct SourceItem {
  std::string_view table = {};  // empty for a subquery and for a function of rows
  std::string_view alias = {};
  int select = -1;
  bool known = true;  // false: a CTE, a function of rows, or of another database
  JoinKind join = JoinKind::kFirst;
  int on = -1;
  bool merged = false;    // USING or NATURAL
  bool hinted = false;    // INDEXED BY, NOT INDEXED
  std::size_t first = 0;  // tokens: of the name or parenthesis
  std::size_t last = 0;   // with its alias, without its ON
};

// One SELECT of a compound; or the outer UPDATE or DELETE.
struct Core {
  int parent = -1;  // the core around it
  int select = -1;
  std::size_t first = 0, last = 0;
  bool distinct = false;
  bool values = false;
  bool windows = false;
  std::vector<ResultColumn> results;
  std::vector<SourceItem> sources;
  std::size_t from_last = 0;  // with the last ON
  int where = -1;
  std::size_t where_at = kNowhere;
  std::vector<int> group_by;
  int having = -1;
};

struct OrderTerm {
  int expr = -1;
  bool descending = false;
  bool nulls = false;  // NULLS FIRST or LAST is written
};

struct Select {
  bool with = false;
  std::vector<int> cores;
  std::vector<OrderTerm> order;
  std::size_t order_at = kNowhere;
  int limit = -1, offset = -1;
  std::size_t limit_at = kNowhere;
  std::size_t first = 0, last = 0;
};

struct Syntax {
  bool readable = false;
  Verb verb = Verb::kNone;
  std::string_view sql;
  std::vector<sqlite::Token> tokens;
  std::vector<int> numbers;  // of parameters, by token; 0 elsewhere
  int parameters = 0;        // the highest number
  std::vector<Expr> exprs;
  std::vector<Core> cores;
  std::vector<Select> selects;
  int root = -1;  // the outer SELECT
  int core = -1;  // the outer UPDATE or DELETE, or the first of the outer SELECT

  [[nodiscard]] const Expr& expr(int number) const {
    return exprs[static_cast<std::size_t>(number)];
  }
  [[nodiscard]] const Core& core_of(int number) const {
    return cores[static_cast<std::size_t>(number)];
  }
  [[nodiscard]] const Select& select(int number) const {
    return selects[static_cast<std::size_t>(number)];
  }
  // The expression in its parentheses.
  [[nodiscard]] int bare(int number) const {
    while (number >= 0 && expr(number).kind == ExprKind::kParen) number = expr(number).kids[0];
    return number;
  }
};

[[nodiscard]] Syntax syntax_of(std::string_view sql);

}  // namespace mcp::query
