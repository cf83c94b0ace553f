// rewrite_conditions.cpp: OR to IN, counts to EXISTS, and comparisons by another type or collation.
#include <algorithm>
#include <charconv>
#include <optional>

#include "query/rewriter.h"

namespace mcp::query {
namespace {

struct Terms {
  Rewriter& on;

  void chain_of(int expr, std::vector<int>& terms) const {
    const Expr& one = on.bare(expr);
    if (one.kind != ExprKind::kBinary || one.op != "OR") {
      terms.push_back(on.tree.bare(expr));
      return;
    }
    for (const int kid : one.kids) chain_of(kid, terms);
  }

  // Not below another OR, parentheses looked through.
  [[nodiscard]] bool is_outermost(int expr) const {
    int parent = on.facts.parent(expr);
    while (parent >= 0 && on.expr(parent).kind == ExprKind::kParen) {
      parent = on.facts.parent(parent);
    }
    return parent < 0 || on.expr(parent).op != "OR" || on.expr(parent).kind != ExprKind::kBinary;
  }

  // a = 1 OR a = 2 OR a = 3, as a whole.
  void or_to_in() const {
    std::vector<Edit> edits;
    for (std::size_t i = 0; i < on.tree.exprs.size(); ++i) {
      const Expr& one = on.tree.exprs[i];
      const int number = static_cast<int>(i);
      if (one.kind != ExprKind::kBinary || one.op != "OR" || !is_outermost(number)) continue;
      std::vector<int> terms;
      chain_of(number, terms);
      std::string list;
      const Expr* column = nullptr;
      const bool fits = std::all_of(terms.begin(), terms.end(), [&](int term) {
        const Expr& equal = on.expr(term);
        if (equal.kind != ExprKind::kBinary || equal.op != "=") return false;
        const Expr& left = on.expr(equal.kids[0]);
        if (left.kind != ExprKind::kColumn || !is_value(on.tree, equal.kids[1])) return false;
        list += (list.empty() ? "" : ", ") + on.text(equal.kids[1]);
        if (column == nullptr) column = &left;
        return same_name(column->column.name, left.column.name) &&
               same_name(column->column.qualifier, left.column.qualifier);
      });
      if (!fits || column == nullptr) continue;
      edits.push_back(
          {one.first, one.last, on.text(column->first, column->last) + " IN (" + list + ")"});
    }
    on.offer("or-to-in", std::move(edits), "IN compares with each value as = does, NULL included");
  }

  // --- counts ---

  // (SELECT count(*) FROM ...) that has one row at any rate, and counts rows.
  [[nodiscard]] bool counts_rows(const Expr& one) const {
    if (one.kind != ExprKind::kSubquery) return false;
    const Select& select = on.tree.select(one.select);
    if (select.cores.size() != 1 || select.with || select.limit >= 0) return false;
    const Core& core = on.tree.core_of(select.cores[0]);
    if (core.results.size() != 1 || core.sources.empty() || core.distinct || core.windows ||
        !core.group_by.empty() || core.having >= 0 || core.results[0].expr < 0 ||
        !select.order.empty()) {
      return false;
    }
    const Expr& call = on.expr(core.results[0].expr);
    if (call.kind != ExprKind::kCall || !same_name(call.op, "count") || call.special) return false;
    if (call.star) return true;
    if (call.kids.size() != 1) return false;
    const ExprKind counted = on.bare(call.kids[0]).kind;
    return counted == ExprKind::kNumber || counted == ExprKind::kText ||
           on.facts.column(call.kids[0], select.cores[0]).not_null;
  }

  [[nodiscard]] std::optional<long> number_of(int expr) const {
    const Expr& one = on.bare(expr);
    const std::string_view text = on.token(one.first).text;
    long value = 0;
    if (one.kind != ExprKind::kNumber) return std::nullopt;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
    return value;
  }

  // 1: there is a row; 0: there is none; empty: something else.
  static std::optional<bool> asks_for(std::string_view op, long bound) {
    if ((op == ">" && bound == 0) || (op == ">=" && bound == 1) || (op == "<>" && bound == 0)) {
      return true;
    }
    if ((op == "=" && bound == 0) || (op == "<" && bound == 1) || (op == "<=" && bound == 0)) {
      return false;
    }
    return std::nullopt;
  }

  static std::string_view mirrored(std::string_view op) {
    if (op == "<") return ">";
    if (op == "<=") return ">=";
    if (op == ">") return "<";
    return op == ">=" ? "<=" : op;
  }

  void count_to_exists() const {
    std::vector<Edit> edits;
    for (std::size_t i = 0; i < on.tree.exprs.size(); ++i) {
      const Expr& one = on.tree.exprs[i];
      if (one.kind != ExprKind::kBinary || one.kids.size() != 2) continue;
      for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
        const Expr& counted = on.expr(one.kids[side]);
        const std::optional<long> bound = number_of(one.kids[1 - side]);
        if (!bound.has_value() || !counts_rows(counted)) continue;
        const std::optional<bool> any = asks_for(side == 0 ? one.op : mirrored(one.op), *bound);
        if (!any.has_value()) continue;
        const Select& select = on.tree.select(counted.select);
        const Core& core = on.tree.core_of(select.cores[0]);
        std::string exists =
            "EXISTS (SELECT 1 " + on.text(core.results[0].last + 1, select.last) + ")";
        if (!*any) exists = "NOT " + exists;
        if (!*any && !is_loose(static_cast<int>(i))) exists = "(" + exists + ")";
        edits.push_back({one.first, one.last, std::move(exists)});
        break;
      }
    }
    const bool nested = overlap(edits);
    if (nested) edits.resize(1);
    on.offer("count-to-exists", std::move(edits),
             "EXISTS stops at the first row; counting reads them all");
  }

  static bool overlap(std::vector<Edit>& edits) {
    std::sort(edits.begin(), edits.end(),
              [](const Edit& a, const Edit& b) { return a.first < b.first; });
    for (std::size_t i = 1; i < edits.size(); ++i) {
      if (edits[i].first <= edits[i - 1].last) return true;
    }
    return false;
  }

  // NOT binds as it would in parentheses here.
  [[nodiscard]] bool is_loose(int expr) const {
    const int parent = on.facts.parent(expr);
    if (parent < 0) return true;
    const Expr& one = on.expr(parent);
    return one.kind == ExprKind::kParen || one.op == "AND" || one.op == "OR" || one.op == "NOT";
  }

  // --- types ---

  // 0, 7, -12: a number and its digits are the same text.
  static bool is_canonical(std::string_view digits) {
    if (digits.starts_with('-')) digits.remove_prefix(1), digits = digits == "0" ? "" : digits;
    if (digits.empty() || digits.size() > 18 || (digits[0] == '0' && digits.size() > 1)) {
      return false;
    }
    return std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  // The literal as the column's type has it; empty: it is so already, or cannot be.
  [[nodiscard]] std::string retyped(int value, Affinity affinity) const {
    const Expr& one = on.expr(value);
    const std::string written = on.text(value);
    if (affinity == Affinity::kText && is_literal(on.tree, value) && is_canonical(written) &&
        (one.kind == ExprKind::kNumber || one.kind == ExprKind::kUnary)) {
      return "'" + written + "'";
    }
    const std::string_view inner = sqlite::unquoted(written);
    if (is_numeric(affinity) && one.kind == ExprKind::kText && is_canonical(inner)) {
      return std::string(inner);
    }
    return {};
  }

  void literal_type() const {
    std::vector<Edit> edits;
    for (const Expr& one : on.tree.exprs) {
      const bool compares = (one.kind == ExprKind::kBinary &&
                             (one.op == "=" || one.op == "<>" || one.op.starts_with('<') ||
                              one.op.starts_with('>')) &&
                             one.op != "<<" && one.op != ">>") ||
                            (one.kind == ExprKind::kIn && one.select < 0);
      if (!compares) continue;
      for (std::size_t i = 1; i < one.kids.size(); ++i) retype(one.kids[0], one.kids[i], edits);
      if (one.kind == ExprKind::kBinary) retype(one.kids[1], one.kids[0], edits);
    }
    on.offer("literal-type", std::move(edits),
             "SQLite converts the value to the column's type before it compares");
  }

  void retype(int column, int value, std::vector<Edit>& edits) const {
    const ColumnFact fact = on.facts.column(column, on.facts.core(column));
    if (!fact || on.expr(column).kind != ExprKind::kColumn) return;
    std::string text = retyped(value, fact.affinity());
    if (text.empty()) return;
    edits.push_back({on.expr(value).first, on.expr(value).last, std::move(text)});
  }

  // text = number, both columns: as numbers, for every row. Where all of the text is numbers in
  // their one form and all of the numbers are integers, it can be compared as text.
  void cast_other_side() const {
    for (const Expr& one : on.tree.exprs) {
      if (one.kind != ExprKind::kBinary || one.op != "=") continue;
      const int core = on.facts.core(one.kids[0]);
      const ColumnFact left = on.facts.column(one.kids[0], core);
      const ColumnFact right = on.facts.column(one.kids[1], core);
      if (!left || !right || left.same_source(right)) continue;
      if (is_numeric(left.affinity()) == is_numeric(right.affinity())) continue;
      const bool left_is_text = !is_numeric(left.affinity());
      const ColumnFact& text = left_is_text ? left : right;
      const ColumnFact& number = left_is_text ? right : left;
      if (text.affinity() != Affinity::kText || !text.is_binary() || !on.leads_an_index(text)) {
        continue;
      }
      const std::string t = as_identifier(text.column->name);
      const std::string n = number.column == nullptr ? "rowid" : as_identifier(number.column->name);
      if (!on.no_row(*text.table, t + " IS NOT CAST(CAST(" + t + " AS INTEGER) AS TEXT)") ||
          !on.no_row(*number.table, "typeof(" + n + ") NOT IN ('integer', 'null')")) {
        continue;
      }
      const Expr& cast = on.expr(one.kids[left_is_text ? 1 : 0]);
      on.offer("cast-other-side",
               {{cast.first, cast.last, "CAST(" + on.text(cast.first, cast.last) + " AS TEXT)"}},
               "every " + text.table->name + "." + text.column->name +
                   " is the digits of an integer now; compared as text, its index can be used",
               kOnData);
    }
  }

  // a = 'x' COLLATE BINARY, where the index on a is in an order in which more is equal.
  void collation_narrow() const {
    for (const Expr& one : on.tree.exprs) {
      if (one.kind != ExprKind::kBinary || one.op != "=") continue;
      for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
        const Expr& left = on.bare(one.kids[side]);
        const Expr& right = on.bare(one.kids[1 - side]);
        const bool on_column = left.kind == ExprKind::kCollate;
        const Expr& collate = on_column ? left : right;
        if (collate.kind != ExprKind::kCollate || !same_name(collate.op, "BINARY")) continue;
        const int column = on_column ? left.kids[0] : one.kids[side];
        const int value = on_column ? one.kids[1 - side] : right.kids[0];
        const ColumnFact fact = on.facts.column(column, on.facts.core(column));
        const bool coarser =
            fact && (same_name(fact.collation(), "NOCASE") || same_name(fact.collation(), "RTRIM"));
        if (!coarser || !is_value(on.tree, value) || !on.leads_an_index(fact)) continue;
        const std::string whole = on.text(one.first, one.last);
        on.offer("collation-narrow",
                 {{one.first, one.last,
                   "(" + whole + " AND " + on.text(column) + " = " + on.text(value) + ")"}},
                 "what is equal by BINARY is equal by " + std::string(fact.collation()) +
                     ", in whose order the index on " + fact.column->name + " is");
        break;
      }
    }
  }
};

}  // namespace

void rewrite_conditions(Rewriter& rewriter) {
  const Terms terms{rewriter};
  terms.or_to_in();
  terms.count_to_exists();
  terms.literal_type();
  terms.cast_other_side();
  terms.collation_narrow();
}

}  // namespace mcp::query
