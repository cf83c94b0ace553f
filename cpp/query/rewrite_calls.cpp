// rewrite_calls.cpp: a function or a calculation over a column becomes a condition on the column
// itself, which an index can answer.
#include <algorithm>
#include <charconv>
#include <optional>

#include "query/rewriter.h"

namespace mcp::query {
namespace {

constexpr long kLargest = 1L << 31;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// What a comparison of an expression over one column with a literal says.
struct Compared {
  int whole = -1;  // the comparison
  std::string_view op = {};
  int call = -1;       // the side with the column
  int value = -1;      // the other side: a literal
  int upper = -1;      // of BETWEEN
  bool exact = false;  // must be NULL where it was NULL: not a plain condition
};

struct Calls {
  Rewriter& on;

  static std::string_view mirrored(std::string_view op) {
    if (op == "<") return ">";
    if (op == "<=") return ">=";
    if (op == ">") return "<";
    return op == ">=" ? "<=" : op;
  }

  void run() const {
    for (std::size_t i = 0; i < on.tree.exprs.size(); ++i) {
      const Expr& one = on.tree.exprs[i];
      const int number = static_cast<int>(i);
      Compared compared{.whole = number, .exact = !on.facts.is_positive(number)};
      if (one.kind == ExprKind::kLike && one.op == "LIKE" && !one.negated && one.kids.size() == 2) {
        like_prefix(one);
      } else if (one.kind == ExprKind::kBetween && !one.negated) {
        compared.op = "BETWEEN";
        compared.call = on.tree.bare(one.kids[0]);
        compared.value = one.kids[1];
        compared.upper = one.kids[2];
        if (is_literal(on.tree, compared.value) && is_literal(on.tree, compared.upper)) {
          rewrite(compared);
        }
      } else if (one.kind == ExprKind::kBinary &&
                 (one.op == "=" || one.op == "<" || one.op == "<=" || one.op == ">" ||
                  one.op == ">=")) {
        for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
          if (one.op == "=") day_of_parameter(number, one.kids[side], one.kids[1 - side]);
          if (!is_literal(on.tree, on.tree.bare(one.kids[1 - side]))) continue;
          compared.op = side == 0 ? one.op : mirrored(one.op);
          compared.call = on.tree.bare(one.kids[side]);
          compared.value = on.tree.bare(one.kids[1 - side]);
          rewrite(compared);
          break;
        }
      }
    }
  }

  // The plan looks the expression up in an index of its own.
  [[nodiscard]] bool is_indexed(const Compared& compared) const {
    std::vector<ColumnFact> columns;
    if (!on.facts.columns_below(compared.call, columns) || columns.empty()) return false;
    const Table* table = columns.front().table;
    return std::any_of(table->indexes.begin(), table->indexes.end(), [this](const Index& index) {
      return !index.columns.empty() && index.columns.front().name.empty() &&
             std::any_of(on.input.plan.begin(), on.input.plan.end(), [&index](const auto& step) {
               return step.kind == StepKind::kSearch && step.index == index.name;
             });
    });
  }

  void rewrite(const Compared& compared) const {
    const Expr& call = on.expr(compared.call);
    if (is_indexed(compared)) return;
    if (call.kind == ExprKind::kCall && !call.special && !call.star) {
      if (same_name(call.op, "substr") || same_name(call.op, "substring")) prefix(compared);
      if (same_name(call.op, "lower") || same_name(call.op, "upper")) folded(compared);
      if (same_name(call.op, "coalesce") || same_name(call.op, "ifnull")) coalesced(compared);
      if (same_name(call.op, "date")) day(compared);
      if (same_name(call.op, "strftime")) formatted(compared);
    } else if (call.kind == ExprKind::kBinary && (call.op == "+" || call.op == "-")) {
      sum(compared);
    } else if (call.kind == ExprKind::kBinary && call.op == "||") {
      joined(compared);
    } else if (call.kind == ExprKind::kCast) {
      cast(compared);
    }
  }

  [[nodiscard]] ColumnFact column(int expr) const {
    return on.facts.column(expr, on.facts.core(expr));
  }
  [[nodiscard]] std::string literal(int expr) const {  // of a text; empty for any other
    const Expr& one = on.bare(expr);
    if (one.kind != ExprKind::kText) return {};
    const std::string_view inner = sqlite::unquoted(on.token(one.first).text);
    return inner.find('\'') == std::string_view::npos ? std::string(inner) : std::string();
  }
  [[nodiscard]] std::optional<long> integer(int expr) const {
    const Expr& one = on.bare(expr);
    if (one.kind != ExprKind::kNumber && one.kind != ExprKind::kUnary) return std::nullopt;
    std::string text = on.text(on.tree.bare(expr));
    text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
    long value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool small = value > -kLargest && value < kLargest;
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || !small) {
      return std::nullopt;
    }
    return value;
  }

  void offer(const char* rule, int whole, std::string text, std::string reason,
             const char* equivalence) const {
    const Expr& one = on.expr(whole);
    on.offer(rule, {{one.first, one.last, std::move(text)}}, std::move(reason), equivalence);
  }

  // `left` >= 'low' AND `left` < 'high', in parentheses.
  static std::string range(const std::string& left, const std::string& low,
                           const std::string& high) {
    return "(" + left + " >= " + as_literal(low) + " AND " + left + " < " + as_literal(high) + ")";
  }

  // The text behind all that begin with `prefix`: its last byte is one more. Empty for no ASCII.
  static std::string behind(std::string prefix) {
    const bool plain = !prefix.empty() && std::all_of(prefix.begin(), prefix.end(),
                                                      [](char c) { return c >= ' ' && c < '~'; });
    if (!plain) return {};
    ++prefix.back();
    return prefix;
  }

  [[nodiscard]] bool compares_as_text(const ColumnFact& fact) const {
    return fact && fact.affinity() == Affinity::kText && fact.is_binary() &&
           on.input.schema.is_utf8();
  }
  static std::string place(const ColumnFact& fact) {
    return fact.table->name + "." + fact.column->name;
  }

  // Whether the column holds no blob: "proved" by STRICT, on the data, or (null) not known.
  [[nodiscard]] const char* has_no_blob(const ColumnFact& fact) const {
    if (fact.table->strict) return kProved;
    const bool none =
        on.no_row(*fact.table, "typeof(" + as_identifier(fact.column->name) + ") = 'blob'");
    return none ? kOnData : nullptr;
  }
  static std::string no_blob(const ColumnFact& fact, const char* equivalence) {
    return place(fact) + (std::string_view(equivalence) == kProved ? " is TEXT of a STRICT table"
                                                                   : " holds no BLOB now");
  }

  // substr(a, 1, 3) = 'abc'
  void prefix(const Compared& compared) const {
    const Expr& call = on.expr(compared.call);
    if (compared.op != "=" || call.kids.size() != 3 || integer(call.kids[1]) != 1) return;
    const ColumnFact fact = column(call.kids[0]);
    const std::string text = literal(compared.value);
    const std::string high = behind(text);
    if (!compares_as_text(fact) || high.empty() ||
        integer(call.kids[2]) != static_cast<long>(text.size())) {
      return;
    }
    offer("function-to-range", compared.whole, range(on.text(call.kids[0]), text, high),
          place(fact) + " is TEXT in BINARY order: what begins with the text is one range",
          kProved);
  }

  // a LIKE '2024-%': no letter, so that case does not matter.
  void like_prefix(const Expr& one) const {
    const ColumnFact fact = column(one.kids[0]);
    std::string text = literal(one.kids[1]);
    if (!compares_as_text(fact) || text.size() < 2 || text.back() != '%') return;
    text.pop_back();
    const std::string high = behind(text);
    const bool plain = std::none_of(text.begin(), text.end(), [](char c) {
      return c == '%' || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    });
    if (high.empty() || !plain) return;
    const char* equivalence = has_no_blob(fact);
    if (equivalence == nullptr) return;
    on.offer("function-to-range", {{one.first, one.last, range(on.text(one.kids[0]), text, high)}},
             "the prefix has no letter, and " + no_blob(fact, equivalence) + ": LIKE is one range",
             equivalence);
  }

  // lower(a) = 'abc'
  void folded(const Compared& compared) const {
    const Expr& call = on.expr(compared.call);
    if (compared.op != "=" || call.kids.size() != 1) return;
    const ColumnFact fact = column(call.kids[0]);
    const std::string text = literal(compared.value);
    const bool down = same_name(call.op, "lower");
    const bool folds = std::none_of(text.begin(), text.end(), [down](char c) {
      return down ? c >= 'A' && c <= 'Z' : c >= 'a' && c <= 'z';
    });
    if (!fact || fact.affinity() != Affinity::kText || text.empty() || !folds) return;
    const char* equivalence = has_no_blob(fact);
    if (equivalence == nullptr) return;
    offer("lower-to-nocase", compared.whole,
          on.text(call.kids[0]) + " = " + as_literal(text) + " COLLATE NOCASE",
          "SQLite's own " + lower(call.op) + "() and NOCASE fold the same letters, and " +
              no_blob(fact, equivalence) + "; an index with COLLATE NOCASE answers it",
          equivalence);
  }

  [[nodiscard]] bool same_class(const ColumnFact& fact, int value) const {
    const ExprKind kind = on.expr(value).kind;
    const bool number = kind == ExprKind::kNumber || kind == ExprKind::kUnary;
    if (is_numeric(fact.affinity())) return number;
    return fact.affinity() == Affinity::kText && kind == ExprKind::kText && fact.is_binary();
  }

  // coalesce(a, k) = v
  void coalesced(const Compared& compared) const {
    const Expr& call = on.expr(compared.call);
    if (compared.op != "=" || call.kids.size() != 2) return;
    const ColumnFact fact = column(call.kids[0]);
    const int otherwise = on.tree.bare(call.kids[1]);
    if (!fact || !is_literal(on.tree, otherwise) || !same_class(fact, compared.value)) return;
    const std::string equal = on.text(call.kids[0]) + " = " + on.text(compared.value);
    if (fact.not_null) {
      offer("coalesce-to-bare", compared.whole, equal, place(fact) + " is NOT NULL", kProved);
      return;
    }
    const bool same = on.text(otherwise) == on.text(compared.value);
    if (same) {
      offer("coalesce-to-bare", compared.whole,
            "(" + equal + " OR " + on.text(call.kids[0]) + " IS NULL)",
            "NULL counts as the value that it is compared with", kProved);
      return;
    }
    const bool texts = on.expr(otherwise).kind == ExprKind::kText;
    const bool apart = texts ? literal(otherwise) != literal(compared.value)
                             : integer(otherwise).has_value() &&
                                   integer(compared.value).has_value() &&
                                   integer(otherwise) != integer(compared.value);
    if (!apart || compared.exact || !same_class(fact, otherwise)) return;
    offer("coalesce-to-bare", compared.whole, equal,
          "NULL counts as another value than the one that it is compared with", kProved);
  }

  // --- integers ---

  // Whether the column holds nothing but integers and NULL.
  [[nodiscard]] const char* has_integers(const ColumnFact& fact) const {
    if (!fact) return nullptr;
    const bool declared = fact.affinity() == Affinity::kInteger;
    if (fact.is_rowid() || (fact.table->strict && declared)) return kProved;
    if (!declared) return nullptr;
    const bool all = on.no_row(
        *fact.table, "typeof(" + as_identifier(fact.column->name) + ") NOT IN ('integer', 'null')");
    return all ? kOnData : nullptr;
  }
  static std::string integers(const ColumnFact& fact, const char* equivalence) {
    const std::string name = fact.column == nullptr ? "rowid" : fact.column->name;
    return fact.table->name + "." + name +
           (std::string_view(equivalence) == kProved ? " is always an integer"
                                                     : " holds only integers now");
  }

  void bare_integer(const Compared& compared, int term, long moved) const {
    const std::optional<long> low = integer(compared.value);
    const std::optional<long> high =
        compared.upper < 0 ? std::optional<long>(0) : integer(compared.upper);
    if (!low.has_value() || !high.has_value()) return;
    const ColumnFact fact = column(term);
    const char* equivalence = has_integers(fact);
    if (equivalence == nullptr) return;
    std::string text =
        on.text(term) + " " + std::string(compared.op) + " " + std::to_string(*low - moved);
    if (compared.upper >= 0) text += " AND " + std::to_string(*high - moved);
    offer("arithmetic-to-bare", compared.whole, std::move(text), integers(fact, equivalence),
          equivalence);
  }

  // a + 1 > 5, 1 + a > 5, a - 1 > 5
  void sum(const Compared& compared) const {
    const Expr& call = on.expr(compared.call);
    const std::optional<long> right = integer(call.kids[1]);
    const std::optional<long> left = integer(call.kids[0]);
    if (right.has_value()) {
      bare_integer(compared, call.kids[0], call.op == "+" ? *right : -*right);
    } else if (left.has_value() && call.op == "+") {
      bare_integer(compared, call.kids[1], *left);
    }
  }

  void cast(const Compared& compared) const {
    const Expr& call = on.expr(compared.call);
    const Affinity to = affinity_of(call.op);
    if (to == Affinity::kInteger) bare_integer(compared, call.kids[0], 0);
    if (to == Affinity::kText) bare_text(compared, call.kids[0]);
  }

  // a || '' = 'x'
  void joined(const Compared& compared) const {
    const Expr& call = on.expr(compared.call);
    const Expr& right = on.bare(call.kids[1]);
    if (right.kind == ExprKind::kText && on.token(right.first).text == "''") {
      bare_text(compared, call.kids[0]);
    }
  }

  void bare_text(const Compared& compared, int term) const {
    const ColumnFact fact = column(term);
    const std::string text = literal(compared.value);
    if (!fact || fact.affinity() != Affinity::kText || !fact.is_binary() || compared.upper >= 0 ||
        on.expr(compared.value).kind != ExprKind::kText || text.empty()) {
      return;
    }
    const char* equivalence = has_no_blob(fact);
    if (equivalence == nullptr) return;
    offer("arithmetic-to-bare", compared.whole,
          on.text(term) + " " + std::string(compared.op) + " " + as_literal(text),
          no_blob(fact, equivalence), equivalence);
  }

  // --- dates ---

  // YYYY-MM-DD of a day that there is; nothing else.
  static bool is_day(std::string_view text) {
    if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
    for (const std::size_t i : {0, 1, 2, 3, 5, 6, 8, 9}) {
      if (!is_digit(text[i])) return false;
    }
    const int month = number(text, 5, 2);
    const int day = number(text, 8, 2);
    return month >= 1 && month <= 12 && day >= 1 && day <= days_of(number(text, 0, 4), month);
  }
  static int number(std::string_view text, std::size_t from, std::size_t count) {
    int value = 0;
    std::from_chars(text.data() + from, text.data() + from + count, value);
    return value;
  }
  static int days_of(int year, int month) {
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2) return leap ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
  }
  // The day after the whole year, month or day that `text` names; empty behind the last.
  static std::string next(std::string_view text) {
    int year = number(text, 0, 4);
    int month = text.size() > 4 ? number(text, 5, 2) : 12;
    int day = text.size() > 7 ? number(text, 8, 2) : days_of(year, month);
    if (++day > days_of(year, month)) day = 1, ++month;
    if (month > 12) month = 1, ++year;
    if (year > 9999) return {};
    const auto two = [](int value) { return (value < 10 ? "0" : "") + std::to_string(value); };
    std::string digits = std::to_string(year);
    digits.insert(0, 4 - digits.size(), '0');
    return digits + "-" + two(month) + "-" + two(day);
  }

  // Every value is text that begins with its date, of a day that there is (without a modifier,
  // date() takes the 30th of February as it stands): then the text is in the order of its dates.
  [[nodiscard]] bool begins_with_dates(const ColumnFact& fact) const {
    if (!fact || fact.column == nullptr || !fact.is_binary() || !on.input.schema.is_utf8() ||
        (is_numeric(fact.affinity()) && fact.affinity() != Affinity::kNumeric)) {
      return false;
    }
    const std::string name = as_identifier(fact.column->name);
    return on.no_row(*fact.table, name + " IS NOT NULL AND (typeof(" + name +
                                      ") <> 'text' OR date(" + name +
                                      ", '+0 days') IS NOT substr(" + name + ", 1, 10))");
  }

  void day(const Compared& compared) const {
    const Expr& call = on.expr(compared.call);
    if (call.kids.size() != 1) return;
    dates(compared, call.kids[0], 10);
  }

  // date(a) = ?, for whatever is bound: what is no day equals none.
  // Not where it must be NULL where it was: what is no day makes the one false, the other NULL.
  void day_of_parameter(int whole, int side, int other) const {
    if (!on.facts.is_positive(whole)) return;
    const Expr& call = on.bare(side);
    if (call.kind != ExprKind::kCall || !same_name(call.op, "date") || call.kids.size() != 1 ||
        call.special || on.bare(other).kind != ExprKind::kParameter) {
      return;
    }
    const ColumnFact fact = column(call.kids[0]);
    if (!begins_with_dates(fact)) return;
    const std::string left = on.text(call.kids[0]);
    const std::string value = on.text(on.tree.bare(other));
    offer("function-to-range", whole,
          "(" + left + " >= " + value + " AND " + left + " < " + value + " || '~' AND date(" +
              value + ") = " + value + ")",
          "every " + place(fact) +
              " is text that begins with its date now; '~' is behind all "
              "that follows a date",
          kOnData);
  }

  // strftime('%Y', a) = '2024'
  void formatted(const Compared& compared) const {
    const Expr& call = on.expr(compared.call);
    if (call.kids.size() != 2) return;
    const std::string format = literal(call.kids[0]);
    const std::size_t size = format == "%Y"         ? 4
                             : format == "%Y-%m"    ? 7
                             : format == "%Y-%m-%d" ? 10
                                                    : 0;
    if (size != 0) dates(compared, call.kids[1], size);
  }

  void dates(const Compared& compared, int term, std::size_t size) const {
    const std::string low = literal(compared.value);
    const std::string high = compared.upper < 0 ? low : literal(compared.upper);
    const std::string rest = std::string("-01-01").substr(size == 7 ? 3 : 0, 10 - size);
    if (low.size() != size || high.size() != size || !is_day(low + rest) || !is_day(high + rest)) {
      return;
    }
    const std::string first = low + rest;
    const std::string after = next(high);
    const ColumnFact fact = column(term);
    if (after.empty() || !begins_with_dates(fact)) return;
    const std::string left = on.text(term);
    std::string text;
    if (compared.op == "=" || compared.op == "BETWEEN") text = range(left, first, after);
    if (compared.op == ">=") text = left + " >= " + as_literal(first);
    if (compared.op == "<") text = left + " < " + as_literal(first);
    if (compared.op == ">") text = left + " >= " + as_literal(after);
    if (compared.op == "<=") text = left + " < " + as_literal(after);
    offer("function-to-range", compared.whole, std::move(text),
          "every " + place(fact) + " is text that begins with its date now", kOnData);
  }
};

}  // namespace

void rewrite_calls(Rewriter& rewriter) { Calls{rewriter}.run(); }

}  // namespace mcp::query
