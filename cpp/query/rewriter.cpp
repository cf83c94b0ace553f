// rewriter.cpp: edits, checks of the data, and the check of what is offered.
#include "query/rewriter.h"

#include <algorithm>

#include "base/error.h"
#include "query/row_order.h"

namespace mcp::query {
namespace {

using sqlite::TokenKind;

constexpr int kMostSteps = 10'000'000;
constexpr int kStepsBetween = 10'000;
constexpr std::size_t kMostRewrites = 16;  // each is compiled

// A name that SQLite gives a column by itself is the text of an expression, and may change.
bool is_plain(std::string_view name) {
  return name.find_first_of("( +-*/|<>=") == std::string_view::npos;
}

// A table that is read as a whole for every row around a subquery.
bool is_repeated_scan(const std::vector<PlanStep>& plan, const PlanStep& step) {
  if (step.kind != StepKind::kScan && !step.automatic) return false;
  for (int parent = step.parent; parent != 0;) {
    const auto around = std::find_if(plan.begin(), plan.end(),
                                     [parent](const PlanStep& one) { return one.id == parent; });
    if (around == plan.end()) return false;
    if (around->detail.starts_with("CORRELATED")) return true;
    parent = around->parent;
  }
  return false;
}

class StepLimit {
 public:
  explicit StepLimit(sqlite3* db) : db_(db) {
    sqlite3_progress_handler(db, kStepsBetween, &StepLimit::on_progress, this);
  }
  StepLimit(const StepLimit&) = delete;
  StepLimit& operator=(const StepLimit&) = delete;
  ~StepLimit() { sqlite3_progress_handler(db_, 0, nullptr, nullptr); }

 private:
  static int on_progress(void* self) {
    return ++static_cast<StepLimit*>(self)->calls_ > kMostSteps / kStepsBetween ? 1 : 0;
  }
  sqlite3* db_;
  int calls_ = 0;
};

}  // namespace

std::string as_literal(std::string_view text) {
  std::string literal = "'";
  for (const char c : text) literal += c == '\'' ? std::string("''") : std::string(1, c);
  return literal += '\'';
}

Rewriter::Rewriter(const RewriteInput& from)
    : input(from), tree(syntax_of(from.sql)), facts(tree, from.schema) {
  moves_ = std::any_of(tree.tokens.begin(), tree.tokens.end(), [](const sqlite::Token& one) {
    return one.kind == TokenKind::kParameter && one.text == "?";
  });
}

const sqlite::Token& Rewriter::token(std::size_t number) const {
  static const sqlite::Token end;
  return number < tree.tokens.size() ? tree.tokens[number] : end;
}

std::string Rewriter::text(std::size_t first, std::size_t last) const {
  std::string written;
  const char* at = token(first).text.data();
  for (std::size_t i = first; i <= last; ++i) {
    const std::string_view one = token(i).text;
    written.append(at, static_cast<std::size_t>(one.data() - at));
    written += one;
    if (one == "?" && token(i).kind == TokenKind::kParameter) {
      written += std::to_string(tree.numbers[i]);
    }
    at = one.data() + one.size();
  }
  return written;
}

std::string Rewriter::text(int number) const { return text(expr(number).first, expr(number).last); }

std::string Rewriter::term(int number) const {
  const Expr& one = expr(number);
  const bool loose = one.kind == ExprKind::kBinary && one.op == "OR";
  return loose ? "(" + text(number) + ")" : text(number);
}

std::string Rewriter::name_of(const ColumnFact& fact) const {
  return fact.column == nullptr ? "rowid" : quoted_if_needed(fact.column->name);
}

std::string Rewriter::qualified(const ColumnFact& fact) const {
  const SourceItem& source = tree.core_of(fact.core).sources[static_cast<std::size_t>(fact.source)];
  return quoted_if_needed(source.alias) + "." + name_of(fact);
}

// Numbers that only say what the order says are left out again.
std::string Rewriter::without_numbers(std::string sql) const {
  const Lexed lexed = lexed_of(sql);
  std::string plain;
  const char* at = sql.data();
  int next = 0;
  for (std::size_t i = 0; i < lexed.tokens.size(); ++i) {
    const std::string_view one = lexed.tokens[i].text;
    if (lexed.tokens[i].kind != TokenKind::kParameter) continue;
    if (one[0] != '?' || one.size() < 2 || lexed.numbers[i] != ++next) return sql;
    plain.append(at, static_cast<std::size_t>(one.data() + 1 - at));
    at = one.data() + one.size();
  }
  if (next != tree.parameters) return sql;
  return plain.append(at, static_cast<std::size_t>(sql.data() + sql.size() - at));
}

std::string Rewriter::edited(std::vector<Edit>& edits) const {
  std::sort(edits.begin(), edits.end(),
            [](const Edit& a, const Edit& b) { return a.first < b.first; });
  const bool renumber = moves_ && std::any_of(edits.begin(), edits.end(), [](const Edit& edit) {
                          return edit.text.find('?') != std::string::npos;
                        });
  std::string sql;
  std::size_t at = 0;
  const char* written = tree.sql.data();
  const auto copy = [&](std::size_t until) {  // the tokens before `until`
    for (; at < until; ++at) {
      const std::string_view one = token(at).text;
      sql.append(written, static_cast<std::size_t>(one.data() + one.size() - written));
      written = one.data() + one.size();
      if (renumber && one == "?" && token(at).kind == TokenKind::kParameter) {
        sql += std::to_string(tree.numbers[at]);
      }
    }
  };
  for (const Edit& edit : edits) {
    copy(edit.first);
    if (edit.last < edit.first) {  // behind the token before
      sql += edit.text;
      continue;
    }
    const char* begin = edit.first < tree.tokens.size() ? token(edit.first).text.data()
                                                        : tree.sql.data() + tree.sql.size();
    sql.append(written, static_cast<std::size_t>(begin - written));
    written = begin;
    sql += edit.text;
    const std::string_view last = token(edit.last).text;
    written = last.data() + last.size();
    at = edit.last + 1;
  }
  copy(tree.tokens.size());
  sql.append(written, static_cast<std::size_t>(tree.sql.data() + tree.sql.size() - written));
  return renumber ? without_numbers(std::move(sql)) : sql;
}

bool Rewriter::compiles_alike(const std::string& sql, const char* equivalence) const {
  try {
    const Statement before = prepare(input.db, tree.sql);
    const Statement after = prepare(input.db, sql);
    const int columns = sqlite3_column_count(before.get());
    if (columns != sqlite3_column_count(after.get())) return false;
    const bool same = equivalence != kDifferent;
    if (same &&
        sqlite3_bind_parameter_count(before.get()) != sqlite3_bind_parameter_count(after.get())) {
      return false;
    }
    for (int i = 0; i < columns; ++i) {
      const std::string_view name = sqlite3_column_name(before.get(), i);
      if (is_plain(name) && name != sqlite3_column_name(after.get(), i)) return false;
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

void Rewriter::offer(const char* rule, std::vector<Edit> edits, std::string reason,
                     const char* equivalence,
                     std::vector<std::pair<std::string, std::string>> parameters) {
  if (edits.empty() || found.size() >= kMostRewrites) return;
  std::sort(edits.begin(), edits.end(),
            [](const Edit& a, const Edit& b) { return a.first < b.first; });
  const std::size_t last = std::max(edits.back().first, edits.back().last);
  const std::string_view end = token(std::min(last, tree.tokens.size() - 1)).text;
  const auto begin_at = static_cast<std::size_t>(
      token(std::min(edits.front().first, tree.tokens.size() - 1)).text.data() - tree.sql.data());
  const auto end_at = static_cast<std::size_t>(end.data() + end.size() - tree.sql.data());
  // One proposal for a place: that of the rule that came first.
  const auto offset_of = [this](std::size_t number) {
    return static_cast<std::size_t>(token(number).text.data() - tree.sql.data());
  };
  const bool covered = std::any_of(found.begin(), found.end(), [&](const Rewrite& other) {
    return std::any_of(edits.begin(), edits.end(), [&](const Edit& edit) {
      return edit.first <= edit.last && other.begin <= offset_of(edit.first) &&
             offset_of(edit.last) + token(edit.last).text.size() <= other.end;
    });
  });
  if (covered) return;
  Rewrite made{.rule = rule, .sql = edited(edits), .reason = std::move(reason)};
  made.equivalence = equivalence;
  made.parameters = std::move(parameters);
  if (!compiles_alike(made.sql, equivalence)) return;
  made.begin = begin_at;
  made.end = end_at;
  found.push_back(std::move(made));
}

bool Rewriter::no_row(const Table& table, const std::string& condition) {
  if (!input.may_read) return false;
  try {
    const StepLimit limit(input.db);
    const Statement query = prepare(input.db, "SELECT 1 FROM main." + as_identifier(table.name) +
                                                  " WHERE " + condition + " LIMIT 1");
    return !step(query.get());
  } catch (const Error&) {
    return false;
  }
}

bool Rewriter::is_read_again(int core) const {
  const auto& sources = tree.core_of(core).sources;
  return std::any_of(input.plan.begin(), input.plan.end(), [&](const PlanStep& step) {
    return is_repeated_scan(input.plan, step) &&
           std::any_of(sources.begin(), sources.end(), [&](const SourceItem& source) {
             return same_name(source.alias, step.source);
           });
  });
}

bool Rewriter::reads_again(const std::string& sql) const {
  try {
    const std::vector<PlanStep> plan = explain(input.db, sql);
    return std::any_of(plan.begin(), plan.end(), [&](const PlanStep& step) {
      return is_repeated_scan(plan, step) && !is_small(step.source);
    });
  } catch (const Error&) {
    return true;
  }
}

// A small table, a row of constants, or what a subquery has made.
bool Rewriter::is_small(std::string_view name) const {
  for (const Core& core : tree.cores) {
    for (const SourceItem& source : core.sources) {
      const Table* table = facts.table(source);
      if (table != nullptr && same_name(source.alias, name)) return is_tiny(*table);
    }
  }
  return true;
}

bool Rewriter::is_searched(const std::string& sql) const {
  try {
    const std::vector<PlanStep> plan = explain(input.db, sql);
    return std::none_of(plan.begin(), plan.end(), [this](const PlanStep& step) {
      return step.automatic || (step.kind == StepKind::kScan && !is_small(step.source));
    });
  } catch (const Error&) {
    return false;
  }
}

bool Rewriter::leads_an_index(const ColumnFact& fact) const {
  if (fact.is_rowid()) return true;
  return std::any_of(fact.table->indexes.begin(), fact.table->indexes.end(), [&](const Index& one) {
    return !one.partial && !one.columns.empty() &&
           same_name(one.columns[0].name, fact.column->name) &&
           same_name(one.columns[0].collation, fact.column->collation);
  });
}

std::string Rewriter::unused_name(std::string_view base) const {
  const auto used = [this](std::string_view name) {
    return std::any_of(tree.tokens.begin(), tree.tokens.end(), [name](const auto& one) {
      return same_name(sqlite::unquoted(one.text), name);
    });
  };
  std::string name(base);
  for (int number = 2; used(name); ++number) name = std::string(base) + std::to_string(number);
  return name;
}

namespace {

// Triggers and actions of foreign keys change other tables between the rows of a write, and a
// subquery may read those.
bool writes_elsewhere(const Rewriter& rewriter) {
  const Syntax& tree = rewriter.tree;
  if ((tree.verb != Verb::kUpdate && tree.verb != Verb::kDelete) || tree.cores.size() < 2) {
    return false;
  }
  const std::vector<SourceItem>& sources = tree.core_of(tree.core).sources;
  const Table* written = sources.empty() ? nullptr : rewriter.facts.table(sources.front());
  if (written == nullptr) return true;
  try {
    const Statement others = prepare(
        rewriter.input.db,
        "SELECT 1 FROM main.sqlite_schema AS s WHERE s.type = 'trigger' AND s.tbl_name = ?1 "
        "COLLATE NOCASE UNION ALL SELECT 1 FROM main.sqlite_schema AS s, "
        "pragma_foreign_key_list(s.name) AS f WHERE s.type = 'table' AND f.\"table\" = ?1 "
        "COLLATE NOCASE AND (f.on_delete NOT IN ('NO ACTION', 'RESTRICT') OR f.on_update "
        "NOT IN ('NO ACTION', 'RESTRICT'))");
    bind_text(others.get(), 1, written->name);
    return step(others.get());
  } catch (const Error&) {
    return true;
  }
}

}  // namespace

std::vector<Rewrite> find_rewrites(const RewriteInput& input) {
  Rewriter rewriter(input);
  if (!rewriter.tree.readable) return {};
  // What differs from call to call must be called as often as before.
  for (const Expr& one : rewriter.tree.exprs) {
    if (one.kind == ExprKind::kCall &&
        (same_name(one.op, "random") || same_name(one.op, "randomblob"))) {
      return {};
    }
  }
  if (!depends_on_row_order(rewriter.tree, rewriter.facts) && !writes_elsewhere(rewriter)) {
    rewrite_conditions(rewriter);
    rewrite_calls(rewriter);
    rewrite_subqueries(rewriter);
    rewrite_shapes(rewriter);
  }
  rewrite_whole(rewriter);
  return std::move(rewriter.found);
}

}  // namespace mcp::query
