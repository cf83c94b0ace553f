// expressions.cpp: reads the expressions that a statement compares, and makes candidates of them.
#include "query/expressions.h"

#include "query/issues.h"
#include "query/outline.h"

namespace mcp::query {
namespace {

// The text of the operand without the qualifiers of its column; empty where it holds a value that
// is not known yet, or is a string or number of its own.
std::string expression_text(const Outline& outline, const Operand& operand) {
  std::string text;
  std::string_view before;
  for (std::size_t i = operand.first; i <= operand.last; ++i) {
    const sqlite::Token& token = outline.tokens[i];
    if (token.kind == sqlite::TokenKind::kParameter) return {};
    if (i < operand.last && outline.tokens[i + 1].is('.')) {
      ++i;  // the table's name and the dot
      continue;
    }
    const bool tight = text.empty() || before == "(" || token.text == "(" || token.text == ")" ||
                       token.text == ",";
    const bool spaced = before == ",";
    if (!tight || spaced) text += ' ';
    text += token.text;
    before = token.text;
  }
  return text;
}

}  // namespace

std::vector<CandidateIndex> expression_candidates(const Schema& schema, std::string_view sql) {
  std::vector<CandidateIndex> candidates;
  const Outline outline = outline_of(sql);
  for (std::size_t scope = 0; scope < outline.scopes.size(); ++scope) {
    for (const Comparison& comparison : outline.scopes[scope].comparisons) {
      if (comparison.negated || comparison.op == "<>" || comparison.op == "LIKE" ||
          comparison.op == "GLOB") {
        continue;
      }
      for (const Operand* operand : {&comparison.left, &comparison.right}) {
        if (operand->kind != OperandKind::kExpression) continue;
        const ResolvedColumn column = resolve_column(outline, schema, scope, operand->column);
        if (!column || column.table->kind != TableKind::kTable) continue;
        std::string text = expression_text(outline, *operand);
        if (text.empty()) continue;
        CandidateIndex index{.name = {}, .table = column.table->name, .columns = {}};
        index.columns.push_back(
            {.name = {}, .collation = {}, .descending = false, .expression = std::move(text)});
        candidates.push_back(std::move(index));
      }
    }
  }
  return candidates;
}

}  // namespace mcp::query
