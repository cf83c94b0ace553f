// syntax.cpp: a recursive descent over the tokens: statements, SELECTs and their sources.
#include "query/syntax.h"

#include <algorithm>

#include "query/expression_parser.h"
#include "query/handle.h"

namespace mcp::query {
namespace {

class StatementParser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Syntax run() {
    try {
      read_statement();
      while (at().is(';')) ++at_;
      tree_.readable = at_ == tree_.tokens.size();
    } catch (const Unreadable&) {
      tree_.readable = false;
    }
    for (Core& core : tree_.cores) {
      for (SourceItem& source : core.sources) {
        if (is_cte(source.table)) source.known = false;
      }
    }
    return std::move(tree_);
  }

 private:
  [[nodiscard]] bool is_cte(std::string_view name) const {
    return std::any_of(ctes_.begin(), ctes_.end(),
                       [name](std::string_view cte) { return same_name(cte, name); });
  }
  // --- statements ---

  void read_statement() {
    if (at().is("WITH") || at().is("SELECT") || at().is("VALUES")) {
      tree_.verb = Verb::kSelect;
      tree_.root = read_select();
      tree_.core = tree_.select(tree_.root).cores[0];
    } else if (at().is("DELETE") || at().is("UPDATE")) {
      read_change();
    } else {
      throw Unreadable();
    }
  }

  // DELETE FROM t [WHERE ...], UPDATE t SET a = ... [WHERE ...]; no more than that.
  void read_change() {
    tree_.verb = at().is("DELETE") ? Verb::kDelete : Verb::kUpdate;
    tree_.core = new_core(-1);
    const std::size_t first = at_++;
    if (tree_.verb == Verb::kDelete) need("FROM");
    SourceItem target = read_table(JoinKind::kFirst);
    core(tree_.core).sources.push_back(target);
    const int outer = core_;
    core_ = tree_.core;
    if (tree_.verb == Verb::kUpdate) {
      need("SET");
      do {
        need_name();
        if (at().text != "=") throw Unreadable();
        ++at_;
        read_expr();
      } while (take(','));
    }
    core(tree_.core).from_last = at_ - 1;
    read_where(tree_.core);
    core(tree_.core).first = first;
    core(tree_.core).last = at_ - 1;
    core_ = outer;
  }

  int new_core(int in_select) {
    Core made;
    made.parent = core_;
    made.select = in_select;
    made.first = at_;
    tree_.cores.push_back(std::move(made));
    return static_cast<int>(tree_.cores.size()) - 1;
  }

  void read_with() {
    if (take("RECURSIVE")) throw Unreadable();
    do {
      ctes_.push_back(need_name());
      if (take('(')) {
        do need_name();
        while (take(','));
        need(')');
      }
      need("AS");
      if (take("NOT"))
        need("MATERIALIZED");
      else
        take("MATERIALIZED");
      need('(');
      read_select();
      need(')');
    } while (take(','));
  }

  int read_select() override {
    if (++depth_ > kDeepest) throw Unreadable();
    tree_.selects.emplace_back();
    const int number = static_cast<int>(tree_.selects.size()) - 1;
    select(number).first = at_;
    if (take("WITH")) {
      select(number).with = true;
      read_with();
    }
    const int outer = core_;
    int last = -1;
    do {
      if (last >= 0) take("ALL");
      core_ = outer;
      last = new_core(number);
      select(number).cores.push_back(last);
      core_ = last;
      read_core(last);
    } while (take("UNION") || take("EXCEPT") || take("INTERSECT"));
    read_tail(number);  // names of the last core; of a compound nobody asks
    core_ = outer;
    select(number).last = at_ - 1;
    --depth_;
    return number;
  }

  void read_tail(int number) {
    select(number).order_at = at().is("ORDER") ? at_ : kNowhere;
    if (take("ORDER")) {
      need("BY");
      do {
        OrderTerm term{.expr = read_expr()};
        if (take("DESC"))
          term.descending = true;
        else
          take("ASC");
        if (take("NULLS")) {
          term.nulls = true;
          if (!take("FIRST")) need("LAST");
        }
        select(number).order.push_back(term);
      } while (take(','));
    }
    select(number).limit_at = at().is("LIMIT") ? at_ : kNowhere;
    if (take("LIMIT")) {
      const int limit = read_expr();
      select(number).limit = limit;
      if (take("OFFSET")) {
        const int offset = read_expr();
        select(number).offset = offset;
      } else if (take(',')) {
        const int second = read_expr();
        select(number).offset = limit;
        select(number).limit = second;
      }
    }
  }

  void read_core(int number) {
    if (take("VALUES")) {
      core(number).values = true;
      do {
        need('(');
        do read_expr();
        while (take(','));
        need(')');
      } while (take(','));
      core(number).last = at_ - 1;
      return;
    }
    need("SELECT");
    if (take("DISTINCT"))
      core(number).distinct = true;
    else
      take("ALL");
    do read_result(number);
    while (take(','));
    if (take("FROM")) read_from(number);
    core(number).from_last = at_ - 1;
    read_where(number);
    if (take("GROUP")) {
      need("BY");
      do {
        const int term = read_expr();
        core(number).group_by.push_back(term);
      } while (take(','));
    }
    if (take("HAVING")) {
      const int having = read_expr();
      core(number).having = having;
    }
    if (at().is("WINDOW")) throw Unreadable();
    core(number).last = at_ - 1;
  }

  void read_where(int number) {
    if (!at().is("WHERE")) return;
    core(number).where_at = at_++;
    const int where = read_expr();
    core(number).where = where;
  }

  void read_result(int number) {
    ResultColumn result;
    result.first = at_;
    if (take('*')) {
    } else if (is_name(at_) && token(at_ + 1).is('.') && token(at_ + 2).is('*')) {
      result.star_table = sqlite::unquoted(at().text);
      at_ += 3;
    } else {
      result.expr = read_expr();
      if (take("AS")) {
        if (at().kind != TokenKind::kString && !is_name(at_)) throw Unreadable();
        result.alias = sqlite::unquoted(token(at_++).text);
      } else if (at().is_name() || at().kind == TokenKind::kString) {
        result.alias = sqlite::unquoted(token(at_++).text);
      }
    }
    result.last = at_ - 1;
    core(number).results.push_back(result);
  }

  void read_from(int number) {
    JoinKind join = JoinKind::kFirst;
    bool natural = false;
    while (true) {
      SourceItem source = read_source(join);
      source.merged = natural;
      if (join != JoinKind::kFirst && take("ON"))
        source.on = read_expr();
      else if (join != JoinKind::kFirst && take("USING")) {
        source.merged = true;
        need('(');
        do need_name();
        while (take(','));
        need(')');
      }
      core(number).sources.push_back(source);
      natural = take("NATURAL");
      if (take(','))
        join = JoinKind::kComma;
      else if (take("JOIN"))
        join = JoinKind::kInner;
      else if (take("INNER"))
        join = JoinKind::kInner, need("JOIN");
      else if (take("CROSS"))
        join = JoinKind::kCross, need("JOIN");
      else if (take("LEFT"))
        join = JoinKind::kLeft, take("OUTER"), need("JOIN");
      else if (take("RIGHT") || take("FULL"))
        join = JoinKind::kOther, take("OUTER"), need("JOIN");
      else
        break;
    }
  }

  SourceItem read_source(JoinKind join) {
    if (!at().is('(')) return read_table(join);
    SourceItem source{.join = join, .first = at_++};
    if (!at().is("SELECT") && !at().is("WITH") && !at().is("VALUES")) throw Unreadable();
    const int around = core_;
    core_ = core(around).parent;  // a subquery in FROM does not see its neighbours
    source.select = read_select();
    core_ = around;
    need(')');
    read_alias(source);
    source.last = at_ - 1;
    return source;
  }

  SourceItem read_table(JoinKind join) {
    SourceItem source{.join = join, .first = at_};
    source.table = need_name();
    if (take('.')) {
      source.known = same_name(source.table, "main");
      source.table = need_name();
    }
    if (take('(')) {
      source.known = false;
      source.table = {};
      if (!at().is(')')) {
        do read_expr();
        while (take(','));
      }
      need(')');
    }
    source.alias = source.table;
    read_alias(source);
    if (take("INDEXED"))
      source.hinted = true, need("BY"), need_name();
    else if (at().is("NOT") && token(at_ + 1).is("INDEXED"))
      source.hinted = true, at_ += 2;
    source.last = at_ - 1;
    return source;
  }

  void read_alias(SourceItem& source) {
    if (take("AS"))
      source.alias = need_name();
    else if (at().is_name())
      source.alias = sqlite::unquoted(token(at_++).text);
  }

  std::vector<std::string_view> ctes_;
};

}  // namespace

Syntax syntax_of(std::string_view sql) { return StatementParser(sql).run(); }

}  // namespace mcp::query
