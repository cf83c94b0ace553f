// assigned.cpp: reads SET and the first row of VALUES of the outermost statement.
#include "query/assigned.h"

#include <algorithm>
#include <optional>

namespace mcp::query {
namespace {

using sqlite::Token;

class AssignmentReader {
 public:
  AssignmentReader(const Lexed& lexed, const Schema& schema)
      : tokens_(lexed.tokens), numbers_(lexed.numbers), schema_(schema) {}

  Assigned run() {
    const std::optional<std::size_t> verb = find_at_top({"UPDATE", "INSERT", "REPLACE"}, 0);
    if (!verb.has_value()) return {};
    const bool update = tokens_[*verb].is("UPDATE");
    std::size_t at = *verb + 1;
    if (is(at, "OR")) at += 2;
    if (is(at, "INTO")) ++at;
    if (is(at + 1, ".")) at += 2;
    if (at >= tokens_.size()) return {};
    assigned_.table = schema_.find(sqlite::unquoted(tokens_[at].text));
    if (assigned_.table == nullptr || assigned_.table->kind != TableKind::kTable) return {};
    if (update) {
      read_set(at + 1);
    } else {
      read_values(at + 1);
    }
    return std::move(assigned_);
  }

 private:
  [[nodiscard]] bool is(std::size_t at, std::string_view word) const {
    if (at >= tokens_.size()) return false;
    return word.size() == 1 ? tokens_[at].is(word[0]) : tokens_[at].is(word);
  }

  [[nodiscard]] std::optional<std::size_t> find_at_top(
      std::initializer_list<std::string_view> words, std::size_t from) const {
    int depth = 0;
    for (std::size_t i = from; i < tokens_.size(); ++i) {
      if (is(i, "(")) ++depth;
      if (is(i, ")")) --depth;
      if (depth != 0) continue;
      if (std::any_of(words.begin(), words.end(), [&](auto word) { return is(i, word); })) return i;
    }
    return std::nullopt;
  }

  [[nodiscard]] bool is_key(std::string_view name) const {
    const Column* alias = assigned_.table->rowid_alias();
    if (alias != nullptr && same_name(alias->name, name)) return true;
    const auto has = [name](const Index& index) {
      return index.unique && std::any_of(index.columns.begin(), index.columns.end(),
                                         [name](const IndexColumn& column) {
                                           return same_name(column.name, name);
                                         });
    };
    return std::any_of(assigned_.table->indexes.begin(), assigned_.table->indexes.end(), has);
  }

  // SET column = ?, where nothing else belongs to the value.
  void read_set(std::size_t from) {
    const std::optional<std::size_t> set = find_at_top({"SET"}, from);
    if (!set.has_value()) return;
    for (std::size_t i = *set + 1; i + 2 < tokens_.size() + 1; ++i) {
      if (!is(i - 1, "SET") && !is(i - 1, ",")) continue;
      const bool ends = i + 3 >= tokens_.size() || is(i + 3, ",") || is(i + 3, ";") ||
                        is(i + 3, "WHERE") || is(i + 3, "FROM") || is(i + 3, "RETURNING");
      if (i + 2 >= tokens_.size() || !is(i + 1, "=") || numbers_[i + 2] == 0 || !ends) continue;
      const std::string_view name = sqlite::unquoted(tokens_[i].text);
      if (is_key(name)) assigned_.fresh.push_back({numbers_[i + 2], std::string(name)});
    }
  }

  // (column, ...) VALUES (?, ...)
  void read_values(std::size_t from) {
    const std::optional<std::size_t> values = find_at_top({"VALUES"}, from);
    if (!values.has_value()) return;
    std::vector<std::string> names;
    for (std::size_t i = from; i < *values; ++i) {
      if (is(i, "(") || is(i, ",")) names.emplace_back(sqlite::unquoted(tokens_[i + 1].text));
    }
    if (names.empty()) {
      for (const Column& column : assigned_.table->columns) {
        if (!column.generated) names.push_back(column.name);
      }
    }
    std::size_t column = 0;
    int depth = 0;
    for (std::size_t i = *values + 1; i < tokens_.size() && column < names.size(); ++i) {
      if (is(i, "(")) ++depth;
      if (is(i, ")") && --depth == 0) return;
      if (depth == 1 && is(i, ",")) ++column;
      const bool alone = (is(i - 1, "(") || is(i - 1, ",")) && (is(i + 1, ",") || is(i + 1, ")"));
      if (depth != 1 || numbers_[i] == 0 || !alone || column >= names.size()) continue;
      if (assigned_.table->find_column(names[column]) == nullptr) continue;
      assigned_.known.push_back({numbers_[i], names[column]});
    }
  }

  const std::vector<Token>& tokens_;
  const std::vector<int>& numbers_;
  const Schema& schema_;
  Assigned assigned_;
};

bool has_conflict_clause(const Lexed& lexed) {
  for (std::size_t i = 1; i < lexed.tokens.size(); ++i) {
    if (lexed.tokens[i - 1].is("ON") && lexed.tokens[i].is("CONFLICT")) return true;
  }
  return false;
}

}  // namespace

bool is_replacing(const Lexed& lexed) {
  const std::vector<Token>& tokens = lexed.tokens;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    if (!tokens[i].is("REPLACE")) continue;
    if (tokens[i + 1].is("INTO")) return true;
    const bool update = i >= 2 && tokens[i - 1].is("OR") && tokens[i - 2].is("UPDATE");
    if (update) return true;
  }
  return false;
}

Assigned assigned_parameters(const Lexed& lexed, const Schema& schema) {
  Assigned assigned = AssignmentReader(lexed, schema).run();
  // Without a conflict the row is new, and any value will do.
  if (!is_replacing(lexed) && !has_conflict_clause(lexed)) assigned.known.clear();
  return assigned;
}

}  // namespace mcp::query
