// hidden.cpp: spells out the statements of triggers and the look-ups of foreign keys.
#include "query/hidden.h"

#include <map>
#include <string_view>

#include "sqlite/tokenizer.h"

namespace mcp::query {
namespace {

using sqlite::Token;
using sqlite::TokenKind;

std::vector<Token> tokens_of(std::string_view sql) {
  std::vector<Token> tokens;
  sqlite::Tokenizer reader(sql);
  for (Token token = reader.next(); token.kind != TokenKind::kEnd; token = reader.next()) {
    tokens.push_back(token);
  }
  return tokens;
}

bool is_row(const Token& token) {
  return same_name(token.text, "new") || same_name(token.text, "old");
}

// The tokens from `first` to before `last`, with NEW.x and OLD.x as parameters.
std::string statement_of(const std::vector<Token>& tokens, std::size_t first, std::size_t last) {
  std::string sql;
  for (std::size_t i = first; i < last; ++i) {
    sql += sql.empty() ? "" : " ";
    if (is_row(tokens[i]) && i + 2 < last && tokens[i + 1].is('.')) {
      sql += '?';
      i += 2;
    } else {
      sql += tokens[i].text;
    }
  }
  return sql;
}

// CREATE TRIGGER ... [WHEN condition] BEGIN statement; ... END
void add_statements(std::string_view trigger, std::vector<std::string>& statements) {
  const std::vector<Token> tokens = tokens_of(trigger);
  std::size_t when = 0;
  std::size_t begin = 0;
  int cases = 0;
  for (std::size_t i = 0; i < tokens.size() && begin == 0; ++i) {
    if (tokens[i].is("WHEN") && cases == 0 && when == 0) when = i;
    if (tokens[i].is("CASE")) ++cases;
    if (tokens[i].is("END")) --cases;
    if (tokens[i].is("BEGIN")) begin = i;
  }
  if (begin == 0) return;
  if (when != 0) statements.push_back("SELECT " + statement_of(tokens, when + 1, begin));
  std::size_t first = begin + 1;
  for (std::size_t i = first; i < tokens.size(); ++i) {
    if (!tokens[i].is(';')) continue;
    statements.push_back(statement_of(tokens, first, i));
    first = i + 1;
  }
}

void add_triggers(sqlite3* source, const std::string& table, std::vector<std::string>& statements) {
  const Statement triggers =
      prepare(source,
              "SELECT sql FROM main.sqlite_schema WHERE type = 'trigger' AND "
              "tbl_name = ?1 COLLATE NOCASE ORDER BY rowid");
  bind_text(triggers.get(), 1, table);
  while (step(triggers.get())) add_statements(column_text(triggers.get(), 0), statements);
}

// The rows of each child table that name a row of the parent.
void add_children(sqlite3* source, const std::string& parent,
                  std::vector<std::string>& statements) {
  const Statement keys =
      prepare(source,
              "SELECT m.name, f.id, f.\"from\" FROM main.sqlite_schema AS m, "
              "pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table' AND f.\"table\" = ?1 "
              "COLLATE NOCASE ORDER BY m.name, f.id, f.seq");
  bind_text(keys.get(), 1, parent);
  std::map<std::pair<std::string, std::int64_t>, std::string> conditions;
  while (step(keys.get())) {
    std::string& condition =
        conditions[{column_text(keys.get(), 0), sqlite3_column_int64(keys.get(), 1)}];
    condition +=
        (condition.empty() ? "" : " AND ") + as_identifier(column_text(keys.get(), 2)) + " = ?";
  }
  for (const auto& [key, condition] : conditions) {
    statements.push_back("SELECT 1 FROM " + as_identifier(key.first) + " WHERE " + condition);
  }
}

}  // namespace

std::vector<std::string> hidden_statements(sqlite3* source, const Footprint& footprint) {
  std::vector<std::string> statements;
  for (const auto& [table, writes] : footprint.writes) {
    add_triggers(source, table, statements);
    if (writes.deletes || !writes.updated.empty()) add_children(source, table, statements);
  }
  return statements;
}

}  // namespace mcp::query
