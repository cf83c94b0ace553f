// rewrite_shapes.cpp: DISTINCT, OR over columns, paging, and the star.
#include <algorithm>
#include <charconv>
#include <optional>

#include "query/rewriter.h"
#include "query/row_order.h"

namespace mcp::query {
namespace {

constexpr long kDeepPage = 100;
constexpr std::size_t kMostNamed = 40;
constexpr std::size_t kMostArms = 5;

struct Shapes {
  Rewriter& on;

  [[nodiscard]] const Core& core_of(int number) const { return on.tree.core_of(number); }

  [[nodiscard]] std::vector<int> results_of(const Core& core) const {
    std::vector<int> exprs;
    for (const ResultColumn& one : core.results) {
      if (one.expr >= 0) exprs.push_back(one.expr);
    }
    return exprs;
  }

  [[nodiscard]] int meant(const Core& core, int term) const {
    return meant_by(on.tree, core, term);
  }

  // --- DISTINCT ---

  void distinct() const {
    for (std::size_t i = 0; i < on.tree.cores.size(); ++i) {
      const Core& core = on.tree.cores[i];
      const int number = static_cast<int>(i);
      if (!core.distinct || core.sources.empty() || on.facts.is_grouped(number)) continue;
      if (core.select != on.tree.root) continue;
      const Select& select = on.tree.select(core.select);
      if (on.facts.tell_rows_apart(number, results_of(core))) {
        on.offer("redundant-distinct", {{core.first, core.first + 1, "SELECT"}},
                 "the columns hold a key of " + key_tables(core) + ": no two rows are equal");
      } else if (select.cores.size() == 1) {
        distinct_to_exists(number);
      }
    }
  }

  [[nodiscard]] std::string key_tables(const Core& core) const {
    std::string names;
    for (const SourceItem& source : core.sources) {
      names += (names.empty() ? "" : " and ") + std::string(source.table);
    }
    return names;
  }

  // The one source of all plain result columns, which hold a key of it; -1: none.
  [[nodiscard]] int kept_source(int number) const {
    const Core& core = core_of(number);
    std::vector<ColumnFact> columns;
    for (const ResultColumn& result : core.results) {
      if (result.expr < 0) return -1;
      columns.push_back(on.facts.column(result.expr, number));
      if (!columns.back() || columns.back().core != number ||
          !columns.back().same_source(columns.front())) {
        return -1;
      }
    }
    return on.facts.hold_a_key(*columns.front().table, columns) ? columns.front().source : -1;
  }

  [[nodiscard]] bool is_about(int term, int number, int source) const {
    std::vector<ColumnFact> columns;
    if (on.facts.has_select(term) || !on.facts.columns_below(term, columns)) return false;
    return !columns.empty() && std::all_of(columns.begin(), columns.end(), [&](const auto& one) {
      return one.core == number && one.source == source;
    });
  }

  void distinct_to_exists(int number) const {
    const Core& core = core_of(number);
    const Select& select = on.tree.select(core.select);
    const int kept = core.sources.size() > 1 ? kept_source(number) : -1;
    if (kept < 0 || select.limit >= 0) return;
    std::string others;
    for (std::size_t i = 0; i < core.sources.size(); ++i) {
      const SourceItem& source = core.sources[i];
      if (source.merged || source.join == JoinKind::kLeft || source.join == JoinKind::kOther)
        return;
      if (on.facts.table(source) == nullptr) return;
      if (static_cast<int>(i) == kept) continue;
      others += (others.empty() ? "" : ", ") + on.text(source.first, source.last);
    }
    for (const OrderTerm& term : select.order) {
      if (!is_about(meant(core, term.expr), number, kept)) return;
    }
    std::string own;
    std::string inner;
    for (const int term : on.facts.conditions(number)) {
      std::vector<ColumnFact> columns;
      if (!on.facts.columns_below(term, columns)) return;
      if (is_about(term, number, kept))
        own += on.term(term) + " AND ";
      else
        inner += (inner.empty() ? "" : " AND ") + on.term(term);
    }
    const SourceItem& source = core.sources[static_cast<std::size_t>(kept)];
    const std::string sql =
        "SELECT " + on.text(core.results.front().first, core.results.back().last) + " FROM " +
        on.text(source.first, source.last) + " WHERE " + own + "EXISTS (SELECT 1 FROM " + others +
        (inner.empty() ? "" : " WHERE " + inner) + ")";
    if (on.reads_again(on.preview({{core.first, core.last, sql}}))) return;
    on.offer("distinct-to-exists", {{core.first, core.last, sql}},
             "the columns hold a key of " + std::string(source.table) +
                 ": its rows are not multiplied, sorted and thrown away");
  }

  // --- OR ---

  void or_chain(int expr, std::vector<int>& arms) const {
    const Expr& one = on.bare(expr);
    if (one.kind == ExprKind::kBinary && one.op == "OR") {
      for (const int kid : one.kids) or_chain(kid, arms);
    } else {
      arms.push_back(on.tree.bare(expr));
    }
  }

  void or_to_union() const {
    if (on.tree.root < 0) return;
    const Select& select = on.tree.select(on.tree.root);
    const int number = select.cores[0];
    const Core& core = core_of(number);
    if (select.with || select.cores.size() != 1 || core.distinct || core.sources.empty() ||
        on.facts.is_grouped(number) || !orders_by_results(select, core)) {
      return;
    }
    for (const int term : on.facts.conjuncts(core.where)) {
      std::vector<int> arms;
      or_chain(term, arms);
      if (arms.size() < 2 || arms.size() > kMostArms || on.facts.has_call(term)) continue;
      std::vector<ColumnFact> columns;
      if (!on.facts.columns_below(term, columns) || !over_several(columns)) continue;
      const std::string sql = arms_of(core, term, arms);
      const Edit edit{core.first, core.last, sql};
      if (!on.is_searched(on.preview({edit})) || on.is_searched(std::string(on.tree.sql))) continue;
      on.offer("or-to-union", {edit},
               "each arm can use an index of its own; no row is in two of them");
      return;
    }
  }

  static bool over_several(const std::vector<ColumnFact>& columns) {
    return std::any_of(columns.begin(), columns.end(), [&columns](const ColumnFact& one) {
      return !one.same_column(columns.front());
    });
  }

  // Of a compound, ORDER BY knows the results only.
  [[nodiscard]] bool orders_by_results(const Select& select, const Core& core) const {
    return std::all_of(select.order.begin(), select.order.end(), [&](const OrderTerm& term) {
      const int expr = meant(core, term.expr);
      if (expr < 0) return false;
      const std::vector<int> results = results_of(core);
      const ColumnFact fact = on.facts.column(expr, on.tree.select(on.tree.root).cores[0]);
      return fact && std::any_of(results.begin(), results.end(), [&](int result) {
               return on.facts.column(result, fact.core).same_column(fact);
             });
    });
  }

  [[nodiscard]] std::string arms_of(const Core& core, int term,
                                    const std::vector<int>& arms) const {
    std::string rest;
    for (const int other : on.facts.conjuncts(core.where)) {
      if (other != term) rest += " AND " + on.term(other);
    }
    const std::string head = on.text(core.first, core.where_at) + " ";
    std::string sql;
    for (std::size_t i = 0; i < arms.size(); ++i) {
      sql += (i == 0 ? "" : " UNION ALL ") + head + on.term(arms[i]) + rest;
      for (std::size_t before = 0; before < i; ++before) {
        sql += " AND (" + on.text(arms[before]) + ") IS NOT TRUE";
      }
    }
    return sql;
  }

  // --- paging ---

  [[nodiscard]] bool is_deep(const Select& select) const {
    if (select.offset < 0) return false;
    const Expr& offset = on.bare(select.offset);
    if (offset.kind == ExprKind::kParameter) return true;
    const std::string_view text = on.token(offset.first).text;
    long rows = 0;
    std::from_chars(text.data(), text.data() + text.size(), rows);
    return offset.kind == ExprKind::kNumber && rows >= kDeepPage;
  }

  struct PageKey {
    ColumnFact fact;
    std::string text;
    bool descending = false;
    std::string parameter = {};
  };

  void offset_to_keyset() const {
    if (on.tree.root < 0) return;
    const Select& select = on.tree.select(on.tree.root);
    const int number = select.cores[0];
    const Core& core = core_of(number);
    if (select.cores.size() != 1 || core.distinct || select.order.empty() || !is_deep(select) ||
        on.facts.is_grouped(number)) {
      return;
    }
    std::vector<PageKey> keys;
    for (const OrderTerm& term : select.order) {
      const int expr = meant(core, term.expr);
      if (expr < 0 || term.nulls) return;
      const ColumnFact fact = on.facts.column(expr, number);
      if (!fact || fact.core != number) return;
      keys.push_back({fact, on.text(on.tree.bare(expr)), term.descending});
    }
    if (!on.facts.tell_rows_apart(number, ordered_by(on.tree, select, core)) &&
        !add_rowid(number, keys))
      return;
    name_parameters(select, keys);
    page_by(select, core, keys);
  }

  // The rowid of a single table tells rows apart that ORDER BY does not.
  [[nodiscard]] bool add_rowid(int number, std::vector<PageKey>& keys) const {
    const Core& core = core_of(number);
    const Table* table = on.facts.table(core.sources.front());
    if (core.sources.size() != 1 || table == nullptr || table->without_rowid) return false;
    const Column* alias = table->rowid_alias();
    if (alias == nullptr && table->find_column("rowid") != nullptr) return false;
    ColumnFact fact{.table = table, .column = alias, .core = number, .source = 0};
    fact.not_null = true;
    std::string text = on.name_of(fact);
    keys.push_back({fact, std::move(text), keys.back().descending});
    return true;
  }

  void name_parameters(const Select& select, std::vector<PageKey>& keys) const {
    bool numbered = false;
    for (const sqlite::Token& one : on.tree.tokens) {
      numbered = numbered || (one.kind == sqlite::TokenKind::kParameter && one.text[0] == '?');
    }
    // OFFSET's own number is free again where it is the last one.
    int next = on.tree.parameters;
    const Expr& offset = on.bare(select.offset);
    if (offset.kind == ExprKind::kParameter && offset.parameter == next) --next;
    for (PageKey& key : keys) {
      if (numbered) {
        key.parameter = "?" + std::to_string(++next);
        continue;
      }
      std::string name = "last_";
      for (const char c :
           std::string(key.fact.column == nullptr ? "rowid" : key.fact.column->name)) {
        const bool plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        name += plain ? c : '_';
      }
      key.parameter = ":" + on.unused_name(name);
    }
  }

  // (a, b) > (:a, :b); or a > :a OR a = :a AND b < :b where the directions differ.
  static std::string behind(const std::vector<PageKey>& keys) {
    const bool one_way = std::all_of(keys.begin(), keys.end(), [&keys](const PageKey& key) {
      return key.descending == keys[0].descending;
    });
    const auto op = [](const PageKey& key) { return key.descending ? " < " : " > "; };
    if (one_way) {
      std::string left;
      std::string right;
      for (const PageKey& key : keys) {
        left += (left.empty() ? "" : ", ") + key.text;
        right += (right.empty() ? "" : ", ") + key.parameter;
      }
      if (keys.size() == 1) return left + op(keys[0]) + right;
      return "(" + left + ")" + op(keys[0]) + "(" + right + ")";
    }
    std::string arms;
    std::string equal;
    for (const PageKey& key : keys) {
      arms +=
          (arms.empty() ? "" : " OR ") + ("(" + equal + key.text) + op(key) + key.parameter + ")";
      equal += key.text + " = " + key.parameter + " AND ";
    }
    return "(" + arms + ")";
  }

  void page_by(const Select& select, const Core& core, const std::vector<PageKey>& keys) const {
    std::vector<Edit> edits;
    const std::string condition = behind(keys);
    if (core.where >= 0) {
      const Expr& where = on.expr(core.where);
      edits.push_back({where.first, where.last, on.term(core.where) + " AND " + condition});
    } else {
      edits.push_back({core.from_last + 1, core.from_last, " WHERE " + condition});
    }
    std::string tail;
    for (std::size_t i = select.order.size(); i < keys.size(); ++i) {
      tail += ", " + keys[i].text + (keys[i].descending ? " DESC" : "");
    }
    if (!tail.empty()) edits.push_back({select.limit_at, select.limit_at - 1, tail});
    edits.push_back({select.limit_at, select.last, "LIMIT " + on.text(select.limit)});
    std::vector<std::pair<std::string, std::string>> parameters;
    std::string nullable;
    for (const PageKey& key : keys) {
      parameters.emplace_back(key.parameter, key.text);
      if (!key.fact.not_null) nullable += (nullable.empty() ? "" : ", ") + key.text;
    }
    on.offer(
        "offset-to-keyset", std::move(edits),
        "not the same statement: it reads the page behind the row whose values are bound, "
        "and skips nothing" +
            (nullable.empty() ? ""
                              : "; rows whose " + nullable + " is NULL need a page of their own"),
        kDifferent, std::move(parameters));
  }

  // --- the star ---

  void star_to_columns() const {
    if (on.tree.root < 0) return;
    std::vector<Edit> edits;
    for (const int number : on.tree.select(on.tree.root).cores) {
      const Core& core = core_of(number);
      for (const ResultColumn& result : core.results) {
        if (result.expr >= 0) continue;
        std::string columns = columns_of(core, result.star_table);
        if (columns.empty()) return;
        edits.push_back({result.first, result.last, std::move(columns)});
      }
    }
    on.offer("star-to-columns", std::move(edits),
             "the columns as they are now; leave out what is not read, and an index may hold the "
             "rest");
  }

  [[nodiscard]] std::string columns_of(const Core& core, std::string_view of) const {
    std::string columns;
    std::size_t count = 0;
    for (const SourceItem& source : core.sources) {
      if (!of.empty() && !same_name(source.alias, of)) continue;
      const Table* table = source.known ? on.input.schema.find(source.table) : nullptr;
      if (source.merged || table == nullptr || source.select >= 0 ||
          (table->kind != TableKind::kTable && table->kind != TableKind::kView)) {
        return {};
      }
      for (const Column& column : table->columns) {
        const bool alone = core.sources.size() == 1;
        columns += (columns.empty() ? "" : ", ") +
                   (alone ? "" : quoted_if_needed(source.alias) + ".") +
                   quoted_if_needed(column.name);
        if (++count > kMostNamed) return {};
      }
    }
    return columns;
  }
};

}  // namespace

void rewrite_shapes(Rewriter& rewriter) {
  const Shapes shapes{rewriter};
  shapes.distinct();
  shapes.or_to_union();
}

void rewrite_whole(Rewriter& rewriter) {
  const Shapes shapes{rewriter};
  shapes.offset_to_keyset();
  shapes.star_to_columns();
}

}  // namespace mcp::query
