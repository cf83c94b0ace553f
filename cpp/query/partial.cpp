// partial.cpp: reads the constants that a statement asks for, and how rare they are.
#include "query/partial.h"

#include <algorithm>
#include <optional>

#include "query/facts.h"

namespace mcp::query {
namespace {

constexpr double kMostShare = 0.1;
constexpr int kLooked_at_rows = 20'000;
// A column of so few values says what state a row is in; another's constant is one of many.
constexpr std::int64_t kMostStates = 16;

class PartialFinder {
 public:
  PartialFinder(sqlite3* source, const Schema& schema, std::string_view sql,
                const std::vector<LookupRequest>& requests)
      : source_(source), requests_(requests), tree_(syntax_of(sql)), facts_(tree_, schema) {}

  std::vector<CandidateIndex> run() {
    if (!tree_.readable) return {};
    for (std::size_t core = 0; core < tree_.cores.size(); ++core) {
      for (const int term : facts_.conditions(static_cast<int>(core))) {
        consider(term, static_cast<int>(core));
      }
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] bool fits(const ColumnFact& fact, int literal) const {
    const ExprKind kind = tree_.expr(literal).kind;
    if (kind == ExprKind::kText) return fact.affinity() == Affinity::kText;
    return kind == ExprKind::kNumber && is_numeric(fact.affinity());
  }

  // "column = literal" or "column IS NULL"; empty for any other condition.
  [[nodiscard]] std::string predicate(const Expr& one, const ColumnFact& fact, int other) const {
    const std::string column = quoted_if_needed(fact.column->name);
    if (one.kind == ExprKind::kIs && !one.negated && tree_.expr(other).kind == ExprKind::kNull) {
      return column + " IS NULL";
    }
    if (one.kind != ExprKind::kBinary || one.op != "=" || !fits(fact, other)) return {};
    return column + " = " + std::string(tree_.tokens[tree_.expr(other).first].text);
  }

  void consider(int term, int core) {
    const Expr& one = tree_.expr(term);
    if (one.kids.size() != 2) return;
    for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
      const ColumnFact fact = facts_.column(one.kids[side], core);
      const int other = tree_.bare(one.kids[1 - side]);
      if (!fact || fact.core != core || fact.is_rowid() || is_tiny(*fact.table)) continue;
      const std::string where = predicate(one, fact, other);
      if (where.empty()) continue;
      const double share = share_of(*fact.table, where);
      const bool is_null = one.kind == ExprKind::kIs;
      if (share > kMostShare || (!is_null && !is_state(fact))) continue;
      for (const LookupRequest& request : requests_) {
        if (same_name(request.table, fact.table->name)) offer(request, fact, where, share);
      }
    }
  }

  // 1 where nothing is so: an index of no rows proves nothing.
  [[nodiscard]] double share_of(const Table& table, const std::string& where) const {
    const std::string sample = "(SELECT * FROM main." + as_identifier(table.name) + " LIMIT " +
                               std::to_string(kLooked_at_rows) + ")";
    const std::int64_t rows = query_int(source_, "SELECT count(*) FROM " + sample);
    const std::int64_t hits =
        query_int(source_, "SELECT count(*) FROM " + sample + " WHERE " + where);
    if (hits == 0) return 1;
    return static_cast<double>(hits + 1) / static_cast<double>(std::max<std::int64_t>(rows, 1));
  }

  [[nodiscard]] bool is_state(const ColumnFact& fact) const {
    const std::string name = as_identifier(fact.column->name);
    return query_int(source_, "SELECT count(*) FROM (SELECT DISTINCT " + name + " FROM (SELECT " +
                                  name + " FROM main." + as_identifier(fact.table->name) +
                                  " LIMIT " + std::to_string(kLooked_at_rows) + ") LIMIT " +
                                  std::to_string(kMostStates + 1) + ")") <= kMostStates;
  }

  void offer(const LookupRequest& request, const ColumnFact& fact, const std::string& where,
             double share) {
    const int own = fact.table->column_number(fact.column->name);
    std::vector<RequestedColumn> key;
    const auto take = [&](const std::vector<RequestedColumn>& columns, std::size_t most) {
      for (const RequestedColumn& column : columns) {
        const bool known = std::any_of(key.begin(), key.end(), [&column](const auto& other) {
          return other.column == column.column;
        });
        const bool is_rowid = fact.table->rowid_alias() ==
                              &fact.table->columns[static_cast<std::size_t>(column.column)];
        if (column.column != own && !known && !is_rowid && most > 0) key.push_back(column), --most;
      }
    };
    take(request.equal, request.equal.size());
    if (!request.order.empty())
      take(request.order, request.order.size());
    else
      take(request.range, 1);
    if (key.empty()) key.push_back({own, fact.column->collation, false});
    CandidateIndex index{.name = {}, .table = fact.table->name, .columns = {}};
    for (const RequestedColumn& column : key) {
      const Column& of = fact.table->columns[static_cast<std::size_t>(column.column)];
      const bool same = same_name(of.collation, column.collation);
      index.columns.push_back({.name = of.name, .collation = same ? "" : column.collation});
    }
    index.where = where;
    index.where_column = fact.column->name;
    index.share = std::min(share, 1.0);
    found_.push_back(std::move(index));
  }

  sqlite3* source_;
  const std::vector<LookupRequest>& requests_;
  const Syntax tree_;
  const Facts facts_;
  std::vector<CandidateIndex> found_;
};

}  // namespace

std::vector<CandidateIndex> partial_candidates(sqlite3* source, const Schema& schema,
                                               std::string_view sql,
                                               const std::vector<LookupRequest>& requests) {
  return PartialFinder(source, schema, sql, requests).run();
}

}  // namespace mcp::query
