// random_order.cpp: ORDER BY random(), which sorts every row to give a few: "random-order", once a
// statement at most.
#include <cstddef>
#include <utility>

#include "query/findings.h"

namespace mcp::query {
namespace {

// The token of random() in the terms of the ORDER BY at `at`; kNowhere when there is none.
std::size_t chance_in_order(const std::vector<sqlite::Token>& tokens, std::size_t at) {
  if (at + 1 >= tokens.size() || !tokens[at].is("ORDER") || !tokens[at + 1].is("BY")) {
    return kNowhere;
  }
  int depth = 0;
  for (std::size_t i = at + 2; i + 2 < tokens.size(); ++i) {
    if (tokens[i].is('(')) ++depth;
    if (tokens[i].is(')') && --depth < 0) return kNowhere;
    if (tokens[i].is("SELECT") || (depth == 0 && tokens[i].is("LIMIT"))) return kNowhere;
    if (tokens[i].is_name() && same_name(sqlite::unquoted(tokens[i].text), "random") &&
        tokens[i + 1].is('(') && tokens[i + 2].is(')')) {
      return i;
    }
  }
  return kNowhere;
}

}  // namespace

std::vector<Issue> find_random_order(const IssueInput& input) {
  for (std::size_t at = 0; at < input.outline.tokens.size(); ++at) {
    const std::size_t random = chance_in_order(input.outline.tokens, at);
    if (random == kNowhere) continue;
    // One table's name, where the statement reads one.
    const std::vector<Scope>& scopes = input.outline.scopes;
    const bool single = scopes.size() == 1 && scopes[0].sources.size() == 1 && !scopes[0].derived;
    const Table* table = single ? input.schema.find(scopes[0].sources[0].table) : nullptr;
    Issue issue{
        .code = "random-order",
        .severity = table != nullptr && is_tiny(*table) ? Severity::kInfo : Severity::kWarning,
        .message = "a number is drawn for every row, and all rows are sorted by it",
        .suggestion =
            "Draw the keys instead: WHERE rowid IN (...) with random numbers up to "
            "max(rowid), or keep a column of random numbers with an index on it.",
        .table = table == nullptr ? "" : table->name,
        .column = {}};
    set_place(issue, input.outline, at, random + 2);
    return {std::move(issue)};
  }
  return {};
}

}  // namespace mcp::query
