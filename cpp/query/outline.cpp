// outline.cpp: reads the parts of a SELECT from its tokens.
#include "query/outline.h"

#include <algorithm>
#include <array>
#include <utility>

#include "query/lexed.h"

namespace mcp::query {
namespace {

using sqlite::Token;
using sqlite::TokenKind;

constexpr std::size_t kNoMatch = static_cast<std::size_t>(-1);

enum class Clause { kNone, kResult, kFrom, kCondition, kLimit, kOffset, kElsewhere };

// What an opening parenthesis interrupts.
struct Frame {
  int scope = -1;
  Clause clause = Clause::kNone;
  bool source_due = false;
};

constexpr std::array<std::string_view, 9> kAggregates = {
    "count", "sum", "avg", "min", "max", "total", "group_concat", "string_agg", "json_group_array"};

bool is_aggregate(std::string_view name) {
  return std::any_of(kAggregates.begin(), kAggregates.end(), [name](std::string_view aggregate) {
    return name.size() == aggregate.size() &&
           std::equal(name.begin(), name.end(), aggregate.begin(),
                      [](char a, char b) { return (a | 0x20) == b; });
  });
}

class Reader {
 public:
  explicit Reader(std::string_view sql) {
    outline_.sql = sql;
    Lexed lexed = lexed_of(sql);
    tokens_ = std::move(lexed.tokens);
    numbers_ = std::move(lexed.numbers);
    outline_.parameters = lexed.parameters;
    match_parentheses();
  }

  Outline run() {
    for (at_ = 0; at_ < tokens_.size(); ++at_) read_token();
    if (!begins_a_query()) outline_.verb = Verb::kOther;
    outline_.tokens = std::move(tokens_);
    return std::move(outline_);
  }

 private:
  [[nodiscard]] const Token& token(std::size_t number) const {
    static const Token end;
    return number < tokens_.size() ? tokens_[number] : end;
  }
  [[nodiscard]] Scope& scope() { return outline_.scopes[static_cast<std::size_t>(frame_.scope)]; }

  [[nodiscard]] bool begins_a_query() const {
    for (const std::string_view word :
         {"SELECT", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE"}) {
      if (token(0).is(word)) return outline_.verb != Verb::kNone;
    }
    return false;
  }

  void match_parentheses() {
    matches_.assign(tokens_.size(), kNoMatch);
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (tokens_[i].is('(')) {
        open.push_back(i);
      } else if (tokens_[i].is(')') && !open.empty()) {
        matches_[i] = open.back();
        matches_[open.back()] = i;
        open.pop_back();
      }
    }
  }

  void open_scope(Verb verb) {
    Scope opened;
    opened.verb = verb;
    opened.verb_at = at_;
    if (!stack_.empty()) opened.parent = stack_.back().scope;
    if (stack_.empty() && outline_.verb == Verb::kNone) outline_.verb = verb;
    opened.in_exists = at_ >= 2 && token(at_ - 1).is('(') && token(at_ - 2).is("EXISTS");
    outline_.scopes.push_back(std::move(opened));
    frame_ = {static_cast<int>(outline_.scopes.size()) - 1, Clause::kElsewhere, false};
  }

  void read_token() {
    const Token& current = token(at_);
    if (current.is('(')) {
      if (frame_.clause == Clause::kFrom && frame_.source_due) {
        const bool derived =
            token(at_ + 1).is("SELECT") || token(at_ + 1).is("WITH") || token(at_ + 1).is("VALUES");
        if (derived) scope().derived = true;
        stack_.push_back(frame_);
        stack_.back().source_due = false;
      } else {
        stack_.push_back(frame_);
      }
      return;
    }
    if (current.is(')')) {
      if (stack_.empty()) return;
      frame_ = stack_.back();
      stack_.pop_back();
      return;
    }
    if (current.kind == TokenKind::kKeyword && read_clause(current)) return;
    if (frame_.scope < 0) return;
    switch (frame_.clause) {
      case Clause::kResult:
        read_result(current);
        break;
      case Clause::kFrom:
        read_source(current);
        break;
      case Clause::kCondition:
        read_condition(current);
        break;
      case Clause::kLimit:
      case Clause::kOffset:
        read_limit(current);
        break;
      default:
        break;
    }
  }

  // True when the keyword begins a clause or a scope.
  bool read_clause(const Token& current) {
    if (current.is("SELECT")) {
      open_scope(Verb::kSelect);
      frame_.clause = Clause::kResult;
      return true;
    }
    if (frame_.scope < 0 || frame_.clause == Clause::kNone) {
      if (current.is("UPDATE")) return begin_change(Verb::kUpdate, true);
      if (current.is("DELETE")) return begin_change(Verb::kDelete, false);
      if (current.is("INSERT") || current.is("REPLACE")) return begin_change(Verb::kInsert, false);
    }
    if (frame_.scope < 0) return false;
    if (current.is("FROM") && token(at_ - 1).is("DISTINCT")) return false;  // IS DISTINCT FROM
    if (current.is("FROM") || current.is("JOIN") || current.is("INTO")) {
      return begin(Clause::kFrom, true);
    }
    if (current.is("WHERE")) {
      scope().where = true;
      return begin(Clause::kCondition, false);
    }
    if (current.is("ON") || current.is("HAVING")) return begin(Clause::kCondition, false);
    if (current.is("GROUP")) {
      scope().group_by = true;
      scope().group_at = at_;
      return begin(Clause::kElsewhere, false);
    }
    if (current.is("ORDER")) {
      scope().order_by = true;
      scope().order_at = at_;
      return begin(Clause::kElsewhere, false);
    }
    if (current.is("LIMIT")) {
      scope().limit = true;
      return begin(Clause::kLimit, false);
    }
    if (current.is("OFFSET")) return begin(Clause::kOffset, false);
    if (current.is("DISTINCT") && token(at_ - 1).is("SELECT")) {
      scope().distinct = true;
      scope().distinct_at = at_;
      return true;
    }
    if (current.is("SET") || current.is("USING") || current.is("RETURNING") ||
        current.is("UNION") || current.is("EXCEPT") || current.is("INTERSECT") ||
        current.is("WINDOW") || current.is("VALUES")) {
      return begin(Clause::kElsewhere, false);
    }
    return false;
  }

  bool begin(Clause clause, bool source_due) {
    frame_.clause = clause;
    frame_.source_due = source_due;
    return true;
  }

  bool begin_change(Verb verb, bool table_follows) {
    open_scope(verb);
    if (table_follows) {  // UPDATE [OR FAIL] t
      if (token(at_ + 1).is("OR")) at_ += 2;
      return begin(Clause::kFrom, true);
    }
    return true;
  }

  void read_result(const Token& current) {
    if (current.is('*')) {
      const Token& before = token(at_ - 1);
      const bool begins = before.is("SELECT") || before.is("DISTINCT") || before.is("ALL") ||
                          before.is(',') || before.is('.');
      if (begins && !inside_call() && !scope().star) {
        scope().star = true;
        scope().star_at = at_;
      }
    } else if (current.is_name() && token(at_ + 1).is('(') && is_aggregate(current.text)) {
      scope().aggregate = true;
    }
  }

  // True between the parentheses of the result, as in count(*).
  [[nodiscard]] bool inside_call() const {
    return !stack_.empty() && stack_.back().scope == frame_.scope &&
           stack_.back().clause == Clause::kResult;
  }

  void read_source(const Token& current) {
    if (current.is(',')) {
      frame_.source_due = true;
      return;
    }
    if (!frame_.source_due || !current.is_name()) return;
    frame_.source_due = false;
    std::size_t last = at_;
    while (token(last + 1).is('.') && token(last + 2).is_name()) last += 2;
    Source source{sqlite::unquoted(token(last).text), {}, at_};
    std::size_t next = last + 1;
    const bool calls = token(next).is('(') && scope().verb != Verb::kInsert;  // as json_each(...)
    if (calls && matches_[next] == kNoMatch) return;
    if (calls) next = matches_[next] + 1;
    if (token(next).is("AS")) ++next;
    const bool named = token(next).is_name();
    source.alias = named ? sqlite::unquoted(token(next).text) : source.table;
    scope().sources.push_back(source);
    if (!calls) at_ = named ? next : last;
  }

  void read_limit(const Token& current) {
    if (current.is(',') && frame_.clause == Clause::kLimit) {
      // LIMIT offset, count
      std::swap(outline_.limit_parameters, outline_.offset_parameters);
    } else if (current.kind == TokenKind::kParameter) {
      auto& numbers =
          frame_.clause == Clause::kOffset ? outline_.offset_parameters : outline_.limit_parameters;
      numbers.push_back(numbers_[at_]);
    }
  }

  void read_condition(const Token& current) {
    std::string_view op;
    if (current.kind == TokenKind::kOperator) {
      if (current.text == "=" || current.text == "==") op = "=";
      if (current.text == "<>" || current.text == "!=") op = "<>";
      for (const std::string_view order : {"<", ">", "<=", ">="}) {
        if (current.text == order) op = order;
      }
    } else {
      for (const std::string_view word : {"LIKE", "GLOB", "IN", "IS", "BETWEEN"}) {
        if (current.is(word)) op = word;
      }
    }
    if (op.empty() || at_ == 0) return;
    Comparison comparison{
        .at = at_, .op = op, .negated = token(at_ - 1).is("NOT"), .left = {}, .right = {}};
    comparison.left = operand_before(at_ - (comparison.negated ? 2 : 1));
    comparison.right = operand_after(at_ + 1, op);
    scope().comparisons.push_back(std::move(comparison));
  }

  // True where an operand can begin behind this token.
  [[nodiscard]] static bool is_boundary_before(const Token& token) {
    return token.kind == TokenKind::kEnd || token.is('(') || token.is(',') || token.is("WHERE") ||
           token.is("AND") || token.is("OR") || token.is("ON") || token.is("NOT") ||
           token.is("HAVING") || token.is("WHEN") || token.is("BETWEEN") || token.is("CASE") ||
           token.is("THEN") || token.is("ELSE");
  }
  [[nodiscard]] static bool is_boundary_after(const Token& token) {
    if (token.kind == TokenKind::kEnd || token.is(')') || token.is(',') || token.is(';')) {
      return true;
    }
    return token.kind == TokenKind::kKeyword && !token.is("COLLATE");
  }

  // The name that ends at `last`: [schema.][table.]column.
  [[nodiscard]] ColumnName name_ending_at(std::size_t last, std::size_t& first) const {
    ColumnName name{{}, sqlite::unquoted(token(last).text)};
    first = last;
    while (first >= 2 && token(first - 1).is('.') && token(first - 2).is_name()) {
      if (first == last) name.qualifier = sqlite::unquoted(token(first - 2).text);
      first -= 2;
    }
    return name;
  }

  [[nodiscard]] Operand operand_before(std::size_t last) const {
    if (last >= tokens_.size()) return {};
    if (last >= 2 && token(last - 1).is("COLLATE")) last -= 2;
    std::size_t first = last;
    while (true) {
      if (token(first).is(')') && matches_[first] != kNoMatch) first = matches_[first];
      const bool calls = token(first).is('(') && first > 0 &&
                         (token(first - 1).is_name() || token(first - 1).is("CAST"));
      if (!calls && (first == 0 || is_boundary_before(token(first - 1)))) break;
      if (last - first > kLongestOperand) break;
      --first;
    }
    return operand_between(first, last);
  }

  [[nodiscard]] Operand operand_after(std::size_t first, std::string_view op) const {
    if (op == "IS" && token(first).is("NOT")) ++first;
    if (token(first).is('-') || token(first).is('+')) ++first;
    if (first >= tokens_.size()) return {};
    if (op == "IN") return list_at(first);
    if (op == "BETWEEN") return bounds_at(first);
    std::size_t last = first;
    while (true) {
      if (token(last).is('(') && matches_[last] != kNoMatch) last = matches_[last];
      const bool calls =
          token(last + 1).is('(') && (token(last).is_name() || token(last).is("CAST"));
      if (!calls && is_boundary_after(token(last + 1))) break;
      if (last - first > kLongestOperand) break;
      ++last;
    }
    return operand_between(first, last);
  }

  // The operand that stands in the tokens from `first` to `last`, both included.
  [[nodiscard]] Operand operand_between(std::size_t first, std::size_t last) const {
    Operand operand;
    operand.first = first;
    operand.last = last;
    if (last - first > kLongestOperand) return operand;
    if (first == last && !token(first).is_name()) {
      read_value(token(first), first, operand);
    } else if (is_name_chain(first, last)) {
      operand.kind = OperandKind::kColumn;
      operand.column = name_ending_at(last, first);
    } else if (token(first + 1).text == "||" && (token(first).kind == TokenKind::kString ||
                                                 token(first).kind == TokenKind::kParameter)) {
      operand.kind = OperandKind::kPattern;
      operand.text = token(first).text;
    } else {
      read_expression(first, last, operand);
    }
    return operand;
  }

  [[nodiscard]] bool is_name_chain(std::size_t first, std::size_t last) const {
    for (std::size_t i = first; i <= last; ++i) {
      const bool fits = (i - first) % 2 == 0 ? token(i).is_name() : token(i).is('.');
      if (!fits) return false;
    }
    return (last - first) % 2 == 0;
  }

  // A call or a calculation. It hides a column from its indexes when exactly one stands in it.
  void read_expression(std::size_t first, std::size_t last, Operand& operand) const {
    const bool call = token(first + 1).is('(') && matches_[first + 1] == last;
    const bool parenthesis = token(first).is('(') && matches_[first] == last;
    if (call) operand.function = token(first).text;
    std::size_t columns = 0;
    for (std::size_t i = first; i <= last; ++i) {
      if (token(i).is("SELECT") || token(i).is("CASE")) return;
      if (token(i).is("AS")) {
        ++i;  // CAST(x AS type)
      } else if (token(i).is_name() && !token(i + 1).is('(') && !token(i + 1).is('.')) {
        std::size_t begins = i;
        operand.column = name_ending_at(i, begins);
        ++columns;
      }
    }
    if (columns != 1) return;
    const bool bare = parenthesis && is_name_chain(first + 1, last - 1);
    operand.kind = bare ? OperandKind::kColumn : OperandKind::kExpression;
  }

  void read_value(const Token& value, std::size_t at, Operand& operand) const {
    operand.text = value.text;
    if (value.kind == TokenKind::kParameter) {
      operand.kind = OperandKind::kParameter;
      operand.parameters.push_back(numbers_[at]);
    } else if (value.kind == TokenKind::kString) {
      operand.kind = OperandKind::kText;
    } else if (value.kind == TokenKind::kNumber) {
      operand.kind = OperandKind::kNumber;
    }
  }

  // The list of IN when it holds nothing but literals and parameters.
  [[nodiscard]] Operand list_at(std::size_t open) const {
    Operand operand;
    operand.first = operand.last = open;
    if (!token(open).is('(') || matches_[open] == kNoMatch) return operand;
    operand.last = matches_[open];
    for (std::size_t i = open + 1; i < operand.last; ++i) {
      const Token& element = token(i);
      if (element.kind == TokenKind::kParameter) {
        operand.parameters.push_back(numbers_[i]);
      } else if (element.kind == TokenKind::kString || element.kind == TokenKind::kNumber) {
        operand.text = element.text;
      } else if (!element.is(',') && !element.is('-')) {
        operand.parameters.clear();
        return operand;
      }
    }
    operand.kind = OperandKind::kList;
    return operand;
  }

  // BETWEEN x AND y.
  [[nodiscard]] Operand bounds_at(std::size_t first) const {
    Operand operand;
    operand.first = operand.last = first;
    for (std::size_t i = first, bounds = 0; bounds < 2; ++bounds) {
      if (token(i).is('-')) ++i;
      const Token& bound = token(i);
      if (bound.kind == TokenKind::kParameter) {
        operand.parameters.push_back(numbers_[i]);
      } else if (bound.kind == TokenKind::kString || bound.kind == TokenKind::kNumber) {
        operand.text = bound.text;
      } else {
        return operand;
      }
      operand.last = i;
      i += 2;  // over AND
    }
    operand.kind = OperandKind::kList;
    return operand;
  }

  static constexpr std::size_t kLongestOperand = 64;  // tokens

  Outline outline_;
  std::vector<Token> tokens_;
  std::vector<std::size_t> matches_;  // the other parenthesis
  std::vector<int> numbers_;          // of parameters
  std::vector<Frame> stack_;
  Frame frame_;
  std::size_t at_ = 0;
};

}  // namespace

Outline outline_of(std::string_view sql) { return Reader(sql).run(); }

}  // namespace mcp::query
