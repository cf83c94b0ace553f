// Finds ORDER BY random() in the tokens of a statement.
#include "query/random_order.h"

#include <cstddef>

namespace mcp::query {
namespace {

// Whether the tokens from `at` on are ORDER BY random().
bool orders_by_chance(const std::vector<sqlite::Token>& tokens, std::size_t at) {
  return at + 4 < tokens.size() && tokens[at].is("ORDER") && tokens[at + 1].is("BY") &&
         tokens[at + 2].is_name() && same_name(sqlite::unquoted(tokens[at + 2].text), "random") &&
         tokens[at + 3].is('(') && tokens[at + 4].is(')');
}

}  // namespace

std::vector<Issue> find_random_order(const IssueInput& input) {
  for (std::size_t at = 0; at < input.outline.tokens.size(); ++at) {
    if (!orders_by_chance(input.outline.tokens, at)) continue;
    // One table's name, where the statement reads one.
    const std::vector<Scope>& scopes = input.outline.scopes;
    const bool single = scopes.size() == 1 && scopes[0].sources.size() == 1 && !scopes[0].derived;
    const Table* table = single ? input.schema.find(scopes[0].sources[0].table) : nullptr;
    return {{.code = "random-order",
             .severity = table != nullptr && is_tiny(*table) ? Severity::kInfo : Severity::kWarning,
             .message = "a number is drawn for every row, and all rows are sorted by it",
             .suggestion = "Draw the keys instead: WHERE rowid IN (...) with random numbers up to "
                           "max(rowid), or keep a column of random numbers with an index on it.",
             .table = table == nullptr ? "" : table->name,
             .column = {}}};
  }
  return {};
}

}  // namespace mcp::query
