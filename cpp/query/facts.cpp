// facts.cpp: scopes, names and keys.
#include "query/facts.h"

#include <algorithm>

namespace mcp::query {
namespace {

bool is_rowid_name(std::string_view name) {
  return same_name(name, "rowid") || same_name(name, "oid") || same_name(name, "_rowid_");
}

bool is_comparison(std::string_view op) {
  return op == "=" || op == "<>" || op == "<" || op == "<=" || op == ">" || op == ">=";
}

}  // namespace

bool is_aggregate_name(std::string_view name) {
  static constexpr std::string_view kNames[] = {"count",
                                                "sum",
                                                "avg",
                                                "min",
                                                "max",
                                                "total",
                                                "group_concat",
                                                "string_agg",
                                                "json_group_array",
                                                "json_group_object"};
  return std::any_of(std::begin(kNames), std::end(kNames),
                     [name](std::string_view one) { return same_name(one, name); });
}

bool is_literal(const Syntax& tree, int expr) {
  const Expr& one = tree.expr(expr);
  if (one.kind == ExprKind::kUnary && one.op == "-") {
    return tree.expr(one.kids[0]).kind == ExprKind::kNumber;
  }
  return one.kind == ExprKind::kNumber || one.kind == ExprKind::kText ||
         one.kind == ExprKind::kBlob || one.kind == ExprKind::kNull;
}

bool is_value(const Syntax& tree, int expr) {
  return is_literal(tree, expr) || tree.expr(expr).kind == ExprKind::kParameter;
}

Facts::Facts(const Syntax& tree, const Schema& schema) : tree_(tree), schema_(schema) {
  parents_.assign(tree.exprs.size(), -1);
  cores_.assign(tree.exprs.size(), -1);
  positive_.assign(tree.exprs.size(), false);
  for (std::size_t number = 0; number < tree.cores.size(); ++number) {
    const Core& core = tree.cores[number];
    const int own = static_cast<int>(number);
    for (const ResultColumn& result : core.results) walk(result.expr, own, -1, false);
    for (const SourceItem& source : core.sources) walk(source.on, own, -1, true);
    walk(core.where, own, -1, true);
    for (const int term : core.group_by) walk(term, own, -1, false);
    walk(core.having, own, -1, true);
  }
  for (const Select& select : tree.selects) {
    for (const OrderTerm& term : select.order) walk(term.expr, select.cores.back(), -1, false);
  }
}

void Facts::walk(int expr, int core, int parent, bool positive) {
  if (expr < 0) return;
  parents_[at(expr)] = parent;
  cores_[at(expr)] = core;
  positive_[at(expr)] = positive;
  const Expr& one = tree_.expr(expr);
  const bool through = one.kind == ExprKind::kParen ||
                       (one.kind == ExprKind::kBinary && (one.op == "AND" || one.op == "OR"));
  for (const int kid : one.kids) walk(kid, core, expr, positive && through);
}

const Table* Facts::table(const SourceItem& source) const {
  if (!source.known || source.table.empty()) return nullptr;
  const Table* found = schema_.find(source.table);
  return found != nullptr && found->kind == TableKind::kTable ? found : nullptr;
}

bool Facts::may_have(const SourceItem& source, std::string_view name) const {
  if (source.select < 0 || !source.known) {
    const Table* found = source.known ? schema_.find(source.table) : nullptr;
    return found == nullptr || found->find_column(name) != nullptr || is_rowid_name(name);
  }
  const Core& core = tree_.core_of(tree_.select(source.select).cores[0]);
  return core.values || std::any_of(core.results.begin(), core.results.end(), [&](const auto& one) {
           if (one.expr < 0 || same_name(one.alias, name)) return true;
           const Expr& expr = tree_.expr(tree_.bare(one.expr));
           return one.alias.empty() && expr.kind == ExprKind::kColumn &&
                  same_name(expr.column.name, name);
         });
}

// The number of the one source that has the column; -1: none. `certain` is false where another
// could be meant.
int Facts::matches(const Core& core, const ColumnName& name, bool& certain) const {
  int found = -1;
  for (std::size_t i = 0; i < core.sources.size(); ++i) {
    const SourceItem& source = core.sources[i];
    if (!name.qualifier.empty() && !same_name(source.alias, name.qualifier)) continue;
    const Table* own = table(source);
    if (own == nullptr) {
      if (may_have(source, name.name)) certain = false;
      continue;
    }
    const bool has =
        own->find_column(name.name) != nullptr || (is_rowid_name(name.name) && !own->without_rowid);
    if (!has) continue;
    if (found >= 0) certain = false;
    found = static_cast<int>(i);
  }
  return found;
}

ColumnFact Facts::column(int expr, int core) const {
  const int bare = tree_.bare(expr);
  if (bare < 0 || tree_.expr(bare).kind != ExprKind::kColumn) return {};
  const ColumnName& name = tree_.expr(bare).column;
  for (int number = core; number >= 0; number = tree_.core_of(number).parent) {
    const Core& scope = tree_.core_of(number);
    bool certain = true;
    const int found = matches(scope, name, certain);
    if (!certain) return {};
    if (found < 0) continue;
    const SourceItem& source = scope.sources[at(found)];
    ColumnFact fact{.table = table(source), .core = number, .source = found};
    fact.column = fact.table->find_column(name.name);
    const bool outer = source.join == JoinKind::kLeft ||
                       std::any_of(scope.sources.begin(), scope.sources.end(),
                                   [](const auto& one) { return one.join == JoinKind::kOther; });
    fact.not_null = !outer && (fact.is_rowid() || fact.column->not_null);
    return fact;
  }
  return {};
}

std::vector<int> Facts::conjuncts(int expr) const {
  if (expr < 0) return {};
  const Expr& one = tree_.expr(tree_.bare(expr));
  if (one.kind != ExprKind::kBinary || one.op != "AND") return {tree_.bare(expr)};
  std::vector<int> terms = conjuncts(one.kids[0]);
  for (const int term : conjuncts(one.kids[1])) terms.push_back(term);
  return terms;
}

std::vector<int> Facts::conditions(int core) const {
  std::vector<int> terms = conjuncts(tree_.core_of(core).where);
  for (const SourceItem& source : tree_.core_of(core).sources) {
    if (source.join == JoinKind::kLeft || source.join == JoinKind::kOther) continue;
    for (const int term : conjuncts(source.on)) terms.push_back(term);
  }
  return terms;
}

bool Facts::columns_below(int expr, std::vector<ColumnFact>& found) const {
  if (expr < 0) return true;
  const Expr& one = tree_.expr(expr);
  if (one.kind == ExprKind::kColumn) {
    found.push_back(column(expr, cores_[at(expr)]));
    return static_cast<bool>(found.back());
  }
  for (const int kid : one.kids) {
    if (!columns_below(kid, found)) return false;
  }
  if (one.select < 0) return true;
  // Every expression of every core inside the text of the subquery.
  const Select& select = tree_.select(one.select);
  for (std::size_t i = 0; i < tree_.exprs.size(); ++i) {
    const Expr& inner = tree_.exprs[i];
    if (inner.first < select.first || inner.last > select.last) continue;
    if (inner.kind != ExprKind::kColumn) continue;
    found.push_back(column(static_cast<int>(i), cores_[i]));
    if (!found.back()) return false;
  }
  return true;
}

bool Facts::has_call(int expr) const {
  if (expr < 0) return false;
  const Expr& one = tree_.expr(expr);
  if (one.kind == ExprKind::kCall || one.select >= 0) return true;
  return std::any_of(one.kids.begin(), one.kids.end(), [this](int kid) { return has_call(kid); });
}

bool Facts::has_select(int expr) const {
  if (expr < 0) return false;
  const Expr& one = tree_.expr(expr);
  if (one.select >= 0) return true;
  return std::any_of(one.kids.begin(), one.kids.end(), [this](int kid) { return has_select(kid); });
}

bool Facts::is_grouped(int core) const {
  const Core& own = tree_.core_of(core);
  if (!own.group_by.empty() || own.having >= 0 || own.windows || own.values) return true;
  for (std::size_t i = 0; i < tree_.exprs.size(); ++i) {
    const Expr& one = tree_.exprs[i];
    if (cores_[i] != core || one.kind != ExprKind::kCall) continue;
    const bool scalar =
        (same_name(one.op, "min") || same_name(one.op, "max")) && one.kids.size() > 1;
    if (one.special || (is_aggregate_name(one.op) && !scalar)) return true;
  }
  return false;
}

bool Facts::rejects_null(int core, const ColumnFact& wanted) const {
  const std::vector<int> terms = conditions(core);
  return std::any_of(terms.begin(), terms.end(), [&](int term) {
    const Expr& one = tree_.expr(term);
    const bool compares = one.kind == ExprKind::kBinary && is_comparison(one.op);
    const bool lists = (one.kind == ExprKind::kBetween || one.kind == ExprKind::kLike) ||
                       (one.kind == ExprKind::kIn && !one.negated);
    const bool denies = one.kind == ExprKind::kIs && one.negated &&
                        tree_.expr(tree_.bare(one.kids[1])).kind == ExprKind::kNull;
    if (!compares && !lists && !denies) return false;
    if (column(one.kids[0], core).same_column(wanted)) return true;
    return compares && column(one.kids[1], core).same_column(wanted);
  });
}

bool Facts::hold_a_key(const Table& table, const std::vector<ColumnFact>& columns) const {
  const auto has = [&columns](const Column* wanted) {
    return std::any_of(columns.begin(), columns.end(), [wanted](const ColumnFact& one) {
      return one.column == wanted && one.not_null;
    });
  };
  const bool by_rowid = std::any_of(columns.begin(), columns.end(), [](const ColumnFact& one) {
    return one.is_rowid() && one.not_null;
  });
  if (by_rowid) return true;
  return std::any_of(table.indexes.begin(), table.indexes.end(), [&](const Index& index) {
    return index.unique && !index.partial &&
           std::all_of(index.columns.begin(), index.columns.end(), [&](const IndexColumn& key) {
             const Column* column = key.name.empty() ? nullptr : table.find_column(key.name);
             // A key that compares otherwise than the column may hold apart what is equal here.
             return column != nullptr && has(column) && same_name(column->collation, key.collation);
           });
  });
}

// Its key is compared for equality with values, or with columns of sources that are pinned.
bool Facts::is_pinned_key(int core, int source, const std::vector<bool>& pinned, const Column* key,
                          std::string_view collation) const {
  const Core& own = tree_.core_of(core);
  const SourceItem& item = own.sources[at(source)];
  std::vector<int> terms = conjuncts(item.on);
  if (item.join != JoinKind::kLeft) terms = conditions(core);
  return std::any_of(terms.begin(), terms.end(), [&](int term) {
    const Expr& one = tree_.expr(term);
    if (one.kind != ExprKind::kBinary || one.op != "=") return false;
    for (const int side : {0, 1}) {
      const ColumnFact found = column(one.kids[at(side)], core);
      const bool is_key = found && found.core == core && found.source == source &&
                          (key == nullptr ? found.is_rowid() : found.column == key);
      if (!is_key) continue;
      const int other = tree_.bare(one.kids[at(1 - side)]);
      if (is_value(tree_, other)) return same_name(collation, found.collation());
      const ColumnFact against = column(other, core);
      if (!against) continue;
      const bool outside = against.core != core;
      const bool settled = outside || (against.source != source && pinned[at(against.source)]);
      const bool compares = is_numeric(found.affinity()) || !is_numeric(against.affinity());
      if (settled && compares && same_name(collation, found.collation()) &&
          same_name(collation, against.collation())) {
        return true;
      }
    }
    return false;
  });
}

bool Facts::is_pinned(int core, int source, const std::vector<bool>& pinned) const {
  const Table* own = table(tree_.core_of(core).sources[at(source)]);
  if (own == nullptr) return false;
  if (!own->without_rowid && is_pinned_key(core, source, pinned, nullptr, "BINARY")) return true;
  return std::any_of(own->indexes.begin(), own->indexes.end(), [&](const Index& index) {
    return index.unique && !index.partial && !index.columns.empty() &&
           std::all_of(index.columns.begin(), index.columns.end(), [&](const IndexColumn& key) {
             const Column* column = key.name.empty() ? nullptr : own->find_column(key.name);
             return column != nullptr && is_pinned_key(core, source, pinned, column, key.collation);
           });
  });
}

bool Facts::tell_rows_apart(int core, const std::vector<int>& exprs) const {
  const Core& own = tree_.core_of(core);
  if (own.sources.empty()) return false;
  for (const SourceItem& source : own.sources) {
    if (source.merged || source.join == JoinKind::kOther) return false;
  }
  std::vector<bool> pinned(own.sources.size(), false);
  for (std::size_t i = 0; i < pinned.size(); ++i) {
    std::vector<ColumnFact> columns;
    for (const int expr : exprs) {
      const ColumnFact fact = column(expr, core);
      if (fact && fact.core == core && at(fact.source) == i) columns.push_back(fact);
    }
    const Table* table_of = table(own.sources[i]);
    pinned[i] = table_of != nullptr && hold_a_key(*table_of, columns);
  }
  for (std::size_t round = 0; round < pinned.size(); ++round) {
    for (std::size_t i = 0; i < pinned.size(); ++i) {
      if (!pinned[i]) pinned[i] = is_pinned(core, static_cast<int>(i), pinned);
    }
  }
  return std::find(pinned.begin(), pinned.end(), false) == pinned.end();
}

}  // namespace mcp::query
