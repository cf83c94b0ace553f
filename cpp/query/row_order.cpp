// row_order.cpp: one function for each way to depend on it.
#include "query/row_order.h"

#include <algorithm>
#include <charconv>

namespace mcp::query {
namespace {

bool is_list_aggregate(std::string_view name) {
  return same_name(name, "group_concat") || same_name(name, "string_agg") ||
         same_name(name, "json_group_array") || same_name(name, "json_group_object");
}

class OrderCheck {
 public:
  OrderCheck(const Syntax& tree, const Facts& facts) : tree_(tree), facts_(facts) {}

  [[nodiscard]] bool run() const {
    for (const Expr& one : tree_.exprs) {
      if (one.kind == ExprKind::kCall && is_list_aggregate(one.op)) return true;
      if (mixes_collations(one)) return true;
      if (picks_a_spelling(one)) return true;
      if (one.kind == ExprKind::kSubquery && !has_one_row(tree_.select(one.select))) return true;
    }
    for (std::size_t i = 0; i < tree_.selects.size(); ++i) {
      if (cuts(tree_.selects[i]) && !is_in_exists(static_cast<int>(i))) return true;
      if (merges(tree_.selects[i])) return true;
    }
    for (std::size_t i = 0; i < tree_.cores.size(); ++i) {
      if (tree_.cores[i].windows || shows_any_row(static_cast<int>(i))) return true;
    }
    return false;
  }

 private:
  // Two columns of different collations: which of them decides is not the same in every plan.
  [[nodiscard]] bool mixes_collations(const Expr& one) const {
    if (one.kind != ExprKind::kBinary || one.kids.size() != 2) return false;
    const ColumnFact left = facts_.column(one.kids[0], facts_.core(one.kids[0]));
    const ColumnFact right = facts_.column(one.kids[1], facts_.core(one.kids[1]));
    return left && right && !same_name(left.collation(), right.collation());
  }

  // min() and max() of what compares equal without looking so.
  [[nodiscard]] bool picks_a_spelling(const Expr& one) const {
    return one.kind == ExprKind::kCall && one.kids.size() == 1 &&
           (same_name(one.op, "min") || same_name(one.op, "max")) &&
           !looks_equal(one.kids[0], facts_.core(one.kids[0]));
  }

  [[nodiscard]] bool is_in_exists(int select) const {
    return std::any_of(tree_.exprs.begin(), tree_.exprs.end(), [select](const Expr& one) {
      return one.kind == ExprKind::kExists && one.select == select;
    });
  }

  // Aggregates without GROUP BY, or a lookup by a whole key.
  [[nodiscard]] bool has_one_row(const Select& select) const {
    if (select.cores.size() != 1) return false;
    const int core = select.cores[0];
    const Core& own = tree_.core_of(core);
    if (own.sources.empty() || (own.group_by.empty() && facts_.is_grouped(core))) return true;
    return facts_.tell_rows_apart(core, {});
  }

  [[nodiscard]] bool cuts(const Select& select) const {
    if (select.limit < 0 || has_one_row(select)) return false;
    const int core = select.cores[0];
    return select.cores.size() != 1 || facts_.is_grouped(core) ||
           !facts_.tell_rows_apart(core, ordered_by(tree_, select, tree_.core_of(core)));
  }

  // Two values that are equal here look the same.
  [[nodiscard]] bool looks_equal(int expr, int core) const {
    const Expr& one = tree_.expr(tree_.bare(expr));
    if (one.kind == ExprKind::kCollate) return same_name(one.op, "BINARY");
    if (one.kind != ExprKind::kColumn) return true;
    const ColumnFact fact = facts_.column(expr, core);
    return fact && fact.is_binary() && fact.affinity() != Affinity::kBlob;
  }

  // DISTINCT, GROUP BY or a compound shows one of several spellings.
  [[nodiscard]] bool merges(const Select& select) const {
    for (const int core : select.cores) {
      const Core& own = tree_.core_of(core);
      const auto unclear = [&](int expr) { return !looks_equal(expr, core); };
      if (std::any_of(own.group_by.begin(), own.group_by.end(), unclear)) return true;
      if (!own.distinct && select.cores.size() == 1) continue;
      for (const ResultColumn& result : own.results) {
        if (result.expr < 0 ? !own.sources.empty() : unclear(result.expr)) return true;
      }
    }
    return false;
  }

  // A grouped core names a column, outside of its aggregates, that it does not group by.
  [[nodiscard]] bool shows_any_row(int core) const {
    if (!facts_.is_grouped(core)) return false;
    const Core& own = tree_.core_of(core);
    for (const ResultColumn& result : own.results) {
      if (result.expr < 0 || !is_settled(result.expr, core)) return true;
    }
    return own.having >= 0 && !is_settled(own.having, core);
  }

  [[nodiscard]] bool is_settled(int expr, int core) const {
    const Expr& one = tree_.expr(expr);
    if (one.kind == ExprKind::kCall && is_aggregate_name(one.op)) return true;
    if (one.select >= 0) return true;
    if (one.kind == ExprKind::kColumn) {
      const ColumnFact fact = facts_.column(expr, core);
      const auto& terms = tree_.core_of(core).group_by;
      return fact && std::any_of(terms.begin(), terms.end(), [&](int term) {
               return facts_.column(term, core).same_column(fact);
             });
    }
    const auto& terms = tree_.core_of(core).group_by;
    if (std::find(terms.begin(), terms.end(), expr) != terms.end()) return true;
    return std::all_of(one.kids.begin(), one.kids.end(),
                       [&](int kid) { return is_settled(kid, core); });
  }

  const Syntax& tree_;
  const Facts& facts_;
};

// A subquery of an UPDATE or DELETE sees what was changed so far, or not: as SQLite runs it once,
// for every row, or before the first is changed.
bool reads_what_it_writes(const Syntax& tree, const Facts& facts) {
  if ((tree.verb != Verb::kUpdate && tree.verb != Verb::kDelete) || tree.core < 0) return false;
  const Core& outer = tree.core_of(tree.core);
  const Table* written = outer.sources.empty() ? nullptr : facts.table(outer.sources.front());
  return std::any_of(tree.cores.begin(), tree.cores.end(), [&](const Core& core) {
    return &core != &outer &&
           std::any_of(core.sources.begin(), core.sources.end(), [&](const SourceItem& source) {
             const Table* read = facts.table(source);
             return source.select < 0 && (read == nullptr || read == written);
           });
  });
}

}  // namespace

int meant_by(const Syntax& tree, const Core& core, int term) {
  const Expr& one = tree.expr(tree.bare(term));
  if (one.kind == ExprKind::kNumber) {
    const std::string_view text = tree.tokens[one.first].text;
    std::size_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number >= 1 && number <= core.results.size() ? core.results[number - 1].expr : -1;
  }
  if (one.kind == ExprKind::kColumn && one.column.qualifier.empty()) {
    for (const ResultColumn& result : core.results) {
      if (!result.alias.empty() && same_name(result.alias, one.column.name)) return result.expr;
    }
  }
  return term;
}

std::vector<int> ordered_by(const Syntax& tree, const Select& select, const Core& core) {
  std::vector<int> exprs;
  for (const OrderTerm& term : select.order) {
    const int expr = meant_by(tree, core, term.expr);
    if (expr >= 0) exprs.push_back(expr);
  }
  return exprs;
}

bool depends_on_row_order(const Syntax& tree, const Facts& facts) {
  return reads_what_it_writes(tree, facts) || OrderCheck(tree, facts).run();
}

}  // namespace mcp::query
