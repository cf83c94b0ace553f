// rewrite_subqueries.cpp: subqueries that SQLite runs for every row, and NOT IN.
#include <algorithm>
#include <optional>

#include "query/rewriter.h"

namespace mcp::query {
namespace {

// One comparison for equality of a column inside with a column outside.
struct Link {
  int term = -1;
  int inner_expr = -1, outer_expr = -1;
  ColumnFact inner, outer;
};

struct Subqueries {
  Rewriter& on;

  // The only core of a plain SELECT: no compound, grouping, LIMIT or CTE; -1 else.
  [[nodiscard]] int plain_core(int number) const {
    const Select& select = on.tree.select(number);
    if (select.cores.size() != 1 || select.with || select.limit >= 0) return -1;
    const Core& core = on.tree.core_of(select.cores[0]);
    if (!core.group_by.empty() || core.having >= 0 || core.windows || core.sources.empty() ||
        core.values) {
      return -1;
    }
    const bool plain = std::all_of(core.sources.begin(), core.sources.end(), [&](const auto& one) {
      return on.facts.table(one) != nullptr && !one.merged && one.join != JoinKind::kOther;
    });
    return plain ? select.cores[0] : -1;
  }

  [[nodiscard]] std::string from_of(int core) const {
    const Core& own = on.tree.core_of(core);
    return on.text(own.sources.front().first, own.from_last);
  }

  // The names of a source of `outer` mean the same inside `inner`.
  [[nodiscard]] bool can_be_named(const ColumnFact& outer, int inner) const {
    const auto source_of = [&](const ColumnFact& fact) -> const SourceItem& {
      return on.tree.core_of(fact.core).sources[static_cast<std::size_t>(fact.source)];
    };
    const std::string_view name = source_of(outer).alias;
    for (int core = inner; core >= 0 && core != outer.core; core = on.tree.core_of(core).parent) {
      const auto& sources = on.tree.core_of(core).sources;
      if (std::any_of(sources.begin(), sources.end(),
                      [name](const auto& one) { return same_name(one.alias, name); })) {
        return false;
      }
    }
    const auto& beside = on.tree.core_of(outer.core).sources;
    return std::count_if(beside.begin(), beside.end(),
                         [name](const auto& one) { return same_name(one.alias, name); }) == 1;
  }

  // A single table without an alias, whose name stands before no dot inside.
  [[nodiscard]] bool can_be_renamed(int inner) const {
    const Core& core = on.tree.core_of(inner);
    if (core.sources.size() != 1 || core.sources[0].hinted ||
        core.sources[0].first != core.sources[0].last) {
      return false;
    }
    for (std::size_t i = core.first; i <= core.last; ++i) {
      if (on.token(i + 1).is('.')) return false;
    }
    return on.facts.conjuncts(core.where).empty() || !on.facts.has_select(core.where);
  }

  // The edit of an expression into NOT EXISTS (...), in parentheses where NOT would reach further.
  [[nodiscard]] Edit negation(int number, const std::string& exists) const {
    const Expr& one = on.expr(number);
    const int parent = on.facts.parent(number);
    const bool loose = parent < 0 || on.expr(parent).kind == ExprKind::kParen ||
                       on.expr(parent).op == "AND" || on.expr(parent).op == "OR";
    return {one.first, one.last, loose ? "NOT " + exists : "(NOT " + exists + ")"};
  }

  // --- NOT IN ---

  void not_in() const {
    for (std::size_t i = 0; i < on.tree.exprs.size(); ++i) {
      const Expr& one = on.tree.exprs[i];
      if (one.kind != ExprKind::kIn || !one.negated || one.select < 0) continue;
      const int inner = plain_core(one.select);
      if (inner < 0 || on.facts.is_grouped(inner)) continue;
      const Core& core = on.tree.core_of(inner);
      if (core.results.size() != 1 || core.results[0].expr < 0) continue;
      const int outer = on.facts.core(static_cast<int>(i));
      const ColumnFact x = on.facts.column(one.kids[0], outer);
      const ColumnFact y = on.facts.column(core.results[0].expr, inner);
      if (!x || !y || y.core != inner || y.column == nullptr) continue;
      if (!compare_alike(x, y)) continue;
      not_in_to_not_exists(static_cast<int>(i), inner, x, y);
    }
  }

  [[nodiscard]] static bool compare_alike(const ColumnFact& x, const ColumnFact& y) {
    const bool numbers = is_numeric(x.affinity()) && is_numeric(y.affinity());
    return same_name(x.collation(), y.collation()) && (numbers || x.affinity() == y.affinity());
  }

  void not_in_to_not_exists(int number, int inner, const ColumnFact& x, const ColumnFact& y) const {
    const bool proved = (x.not_null || on.facts.rejects_null(x.core, x)) &&
                        (y.not_null || on.facts.rejects_null(inner, y));
    if (!proved && !has_no_null(x, x.core)) return;
    if (!proved && !has_no_null(y, inner)) return;
    const bool indexed = on.leads_an_index(y);
    if (proved && !indexed) return;  // NOT IN reads it once
    const Core& core = on.tree.core_of(inner);
    std::string from = from_of(inner);
    if (!can_be_named(x, inner)) {
      if (!can_be_renamed(inner)) return;
      from += " AS " + on.unused_name("inner_" + std::string(core.sources[0].table));
    }
    std::string exists = "EXISTS (SELECT 1 FROM " + from + " WHERE ";
    for (const int term : on.facts.conjuncts(core.where)) exists += on.term(term) + " AND ";
    exists += on.qualified(x) + " = " + on.text(core.results[0].expr) + ")";
    std::string reason = proved ? "neither side can be NULL"
                                : "there is no NULL in " + y.table->name + "." + y.column->name +
                                      " now; the first one would make NOT IN true for no row";
    if (!indexed) reason += "; wants an index on " + y.table->name + "(" + y.column->name + ")";
    on.offer("not-in-to-not-exists", {negation(number, exists)}, std::move(reason),
             proved ? kProved : kOnData);
  }

  [[nodiscard]] bool has_no_null(const ColumnFact& fact, int core) const {
    if (fact.not_null || on.facts.rejects_null(core, fact)) return true;
    const SourceItem& source =
        on.tree.core_of(fact.core).sources[static_cast<std::size_t>(fact.source)];
    if (source.join == JoinKind::kLeft || fact.column == nullptr) return false;
    return on.no_row(*fact.table, as_identifier(fact.column->name) + " IS NULL");
  }

  // --- correlated ---

  // The one condition that ties the subquery to the rows around it; all others are its own.
  [[nodiscard]] std::optional<Link> only_link(int inner) const {
    std::optional<Link> link;
    for (const SourceItem& source : on.tree.core_of(inner).sources) {
      for (const int term : on.facts.conjuncts(source.on)) {
        if (!is_own(term, inner)) return std::nullopt;
      }
    }
    for (const int term : on.facts.conjuncts(on.tree.core_of(inner).where)) {
      if (is_own(term, inner)) continue;
      const Expr& one = on.expr(term);
      if (link.has_value() || one.kind != ExprKind::kBinary || one.op != "=") return std::nullopt;
      for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
        const ColumnFact in = on.facts.column(one.kids[side], inner);
        const ColumnFact out = on.facts.column(one.kids[1 - side], inner);
        if (!in || !out || in.core != inner || out.core != on.tree.core_of(inner).parent) continue;
        link = Link{term, one.kids[side], one.kids[1 - side], in, out};
      }
      if (!link.has_value()) return std::nullopt;
    }
    return link;
  }

  // It names nothing around the subquery.
  [[nodiscard]] bool is_own(int term, int inner) const {
    std::vector<ColumnFact> columns;
    if (on.facts.has_select(term) || !on.facts.columns_below(term, columns)) return false;
    return std::all_of(columns.begin(), columns.end(),
                       [inner](const ColumnFact& one) { return one.core == inner; });
  }

  [[nodiscard]] std::string other_terms(int inner, const Link& link) const {
    std::string written;
    for (const int term : on.facts.conjuncts(on.tree.core_of(inner).where)) {
      if (term != link.term) written += (written.empty() ? "" : " AND ") + on.term(term);
    }
    return written;
  }

  void exists_to_in() const {
    for (std::size_t i = 0; i < on.tree.exprs.size(); ++i) {
      const Expr& one = on.tree.exprs[i];
      if (one.kind != ExprKind::kExists) continue;
      const int number = static_cast<int>(i);
      const int inner = plain_core(one.select);
      if (inner < 0 || on.facts.is_grouped(inner) || !on.is_read_again(inner)) continue;
      const std::optional<Link> link = only_link(inner);
      if (!link.has_value() || !compare_alike(link->inner, link->outer)) continue;
      const int parent = on.facts.parent(number);
      const bool denied =
          parent >= 0 && on.expr(parent).op == "NOT" && on.expr(parent).kind == ExprKind::kUnary;
      if (denied ? !link->outer.not_null : !on.facts.is_positive(number)) continue;
      std::string where = other_terms(inner, *link);
      const bool nullable = !link->inner.not_null && !on.facts.rejects_null(inner, link->inner);
      if (denied && !link->inner.not_null) {
        where += (where.empty() ? "" : " AND ") + on.text(link->inner_expr) + " IS NOT NULL";
      }
      std::string in = on.text(link->outer_expr) + (denied ? " NOT IN (SELECT " : " IN (SELECT ");
      in += on.text(link->inner_expr) + " FROM " + from_of(inner);
      in += where.empty() ? ")" : " WHERE " + where + ")";
      if (denied) in = "(" + in + ")";
      const Expr& place = denied ? on.expr(parent) : one;
      on.offer("exists-to-in", {{place.first, place.last, std::move(in)}},
               "the list is made once, not for every row" +
                   std::string(denied && nullable ? "; NULL is left out of it" : ""));
    }
  }

  // --- aggregates ---

  struct Grouped {
    const Expr* call = nullptr;
    const char* equivalence = kProved;
    std::string if_none = {};  // what it is without a row; empty: NULL
  };

  // An aggregate whose value does not depend on the order of the rows.
  [[nodiscard]] std::optional<Grouped> aggregate_of(int inner) const {
    const Core& core = on.tree.core_of(inner);
    if (core.results.size() != 1 || core.results[0].expr < 0 || core.distinct) return std::nullopt;
    Grouped made{.call = &on.bare(core.results[0].expr)};
    const Expr& call = *made.call;
    if (call.kind != ExprKind::kCall || call.special) return std::nullopt;
    const bool counts = same_name(call.op, "count");
    if (counts) made.if_none = "0";
    if (counts && call.star) return made;
    if (call.kids.size() != 1) return std::nullopt;
    const ColumnFact value = on.facts.column(call.kids[0], inner);
    if (!value || value.core != inner) return std::nullopt;
    if (counts) return made;
    const bool typed = is_numeric(value.affinity()) || value.affinity() == Affinity::kText;
    if (same_name(call.op, "min") || same_name(call.op, "max")) {
      // Where two that are equal look different, either could be it.
      if (!typed || !value.is_binary() || value.affinity() == Affinity::kReal) return std::nullopt;
      return made;
    }
    const bool adds =
        same_name(call.op, "sum") || same_name(call.op, "total") || same_name(call.op, "avg");
    if (!adds || value.affinity() != Affinity::kInteger || value.column == nullptr) {
      return std::nullopt;
    }
    // Sums of integers that fit a double are exact in any order.
    const std::string name = as_identifier(value.column->name);
    if (!on.no_row(*value.table, "typeof(" + name + ") NOT IN ('integer', 'null') OR " + name +
                                     " NOT BETWEEN -1000000000 AND 1000000000")) {
      return std::nullopt;
    }
    made.equivalence = kOnData;
    if (same_name(call.op, "total")) made.if_none = "0.0";
    return made;
  }

  // The core around can take one more source without losing or doubling a row or a name.
  [[nodiscard]] bool takes_a_join(int outer) const {
    const Core& core = on.tree.core_of(outer);
    if (core.select < 0 || core.select != on.tree.root || core.sources.empty() ||
        on.facts.is_grouped(outer))
      return false;
    const Select& select = on.tree.select(core.select);
    if (select.cores.size() != 1 || select.limit >= 0) return false;
    const bool stars = std::any_of(core.results.begin(), core.results.end(), [](const auto& one) {
      return one.expr < 0 && one.star_table.empty();
    });
    return !stars && std::all_of(core.sources.begin(), core.sources.end(), [](const auto& one) {
      return !one.merged && one.join != JoinKind::kOther;
    });
  }

  [[nodiscard]] bool stands_in_on(int number, int outer) const {
    const Expr& one = on.expr(number);
    const Core& core = on.tree.core_of(outer);
    return one.first >= core.sources.front().first && one.last <= core.from_last;
  }

  void correlated_to_join() const {
    for (std::size_t i = 0; i < on.tree.exprs.size(); ++i) {
      const Expr& one = on.tree.exprs[i];
      if (one.kind != ExprKind::kSubquery) continue;
      const int number = static_cast<int>(i);
      const int outer = on.facts.core(number);
      const int inner = plain_core(one.select);
      if (inner < 0 || outer < 0 || !on.is_read_again(inner)) continue;
      if (!takes_a_join(outer) || stands_in_on(number, outer)) continue;
      const std::optional<Link> link = only_link(inner);
      if (!link.has_value() || !groups_alike(*link)) continue;
      const std::optional<Grouped> grouped = aggregate_of(inner);
      if (grouped.has_value()) join_instead(number, outer, inner, *link, *grouped);
    }
  }

  // What is equal to one value outside is one group inside.
  [[nodiscard]] static bool groups_alike(const Link& link) {
    const bool numbers = is_numeric(link.inner.affinity()) && is_numeric(link.outer.affinity());
    const bool texts =
        link.inner.affinity() == Affinity::kText && link.outer.affinity() == Affinity::kText;
    return (numbers || texts) && link.inner.is_binary() && link.outer.is_binary();
  }

  void join_instead(int number, int outer, int inner, const Link& link,
                    const Grouped& grouped) const {
    const std::string name = on.unused_name("grouped");
    const std::string key = on.unused_name("group_key");
    const std::string value = on.unused_name("group_value");
    const std::string where = other_terms(inner, link);
    std::string join = " LEFT JOIN (SELECT " + on.text(link.inner_expr) + " AS " + key + ", " +
                       on.text(grouped.call->first, grouped.call->last) + " AS " + value +
                       " FROM " + from_of(inner);
    if (!where.empty()) join += " WHERE " + where;
    join += " GROUP BY " + on.text(link.inner_expr) + ") AS " + name + " ON " + name + "." + key +
            " = " + on.text(link.outer_expr);
    std::string instead = name + "." + value;
    if (!grouped.if_none.empty()) {
      instead = "coalesce(" + instead + ", " + grouped.if_none + ")";
    } else if (on.facts.parent(number) >= 0) {
      instead = "(+" + instead + ")";  // a value, not a column: it has no affinity
    }
    const Expr& place = on.expr(number);
    const Core& core = on.tree.core_of(outer);
    on.offer("correlated-to-join",
             {{place.first, place.last, std::move(instead)},
              {core.from_last + 1, core.from_last, std::move(join)}},
             link.inner.table->name + " is read and grouped once, not for every row" +
                 std::string(std::string_view(grouped.equivalence) == kProved
                                 ? ""
                                 : "; the sums are of small integers now, exact in any order"),
             grouped.equivalence);
  }
};

}  // namespace

void rewrite_subqueries(Rewriter& rewriter) {
  const Subqueries subqueries{rewriter};
  subqueries.not_in();
  subqueries.exists_to_in();
  subqueries.correlated_to_join();
}

}  // namespace mcp::query
