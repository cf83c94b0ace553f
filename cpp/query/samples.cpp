// samples.cpp: picks rows, and the values of their columns.
#include "query/samples.h"

#include <map>
#include <set>

#include "query/assigned.h"
#include "query/issues.h"

namespace mcp::query {
namespace {

constexpr int kLimit = 100;
constexpr int kSampled_rows = 200;

struct Wanted {
  int parameter = 0;
  std::string column;
};
using WantedByTable = std::map<const Table*, std::vector<Wanted>>;

WantedByTable wanted_values(const Schema& schema, const Outline& outline) {
  WantedByTable wanted;
  for (std::size_t scope = 0; scope < outline.scopes.size(); ++scope) {
    for (const Comparison& comparison : outline.scopes[scope].comparisons) {
      const auto take = [&](const Operand& side, const Operand& value) {
        if (side.kind != OperandKind::kColumn || value.kind == OperandKind::kPattern) return;
        const ResolvedColumn column = resolve_column(outline, schema, scope, side.column);
        if (!column || column.table->kind != TableKind::kTable) return;
        for (const int parameter : value.parameters) {
          wanted[column.table].push_back({parameter, column.column->name});
        }
      };
      take(comparison.left, comparison.right);
      take(comparison.right, comparison.left);
    }
  }
  return wanted;
}

// The values of the `turn`-th of `turns` rows at even distances.
void add_row(sqlite3* db, const Table& table, const std::vector<Wanted>& wanted, int turn,
             int turns, ParameterSet& set) {
  std::string columns;
  std::string present;
  for (const Wanted& value : wanted) {
    const std::string name = as_identifier(value.column);
    columns += (columns.empty() ? "" : ", ") + name;
    present += (present.empty() ? "" : " AND ") + name + " IS NOT NULL";
  }
  const std::string name = "main." + as_identifier(table.name);
  std::string sql = "SELECT " + columns + " FROM " + name + " WHERE " + present;
  if (!table.without_rowid && table.find_column("rowid") == nullptr) {
    const auto first = static_cast<double>(query_int(db, "SELECT min(rowid) FROM " + name));
    const auto last = static_cast<double>(query_int(db, "SELECT max(rowid) FROM " + name));
    const double at = first + (last - first) * (2.0 * turn + 1) / (2.0 * turns);
    sql += " AND rowid >= " + std::to_string(static_cast<std::int64_t>(at)) + " LIMIT 1";
  } else {
    sql += " LIMIT 1 OFFSET " + std::to_string(turn);
  }
  const Statement row = prepare(db, sql);
  if (!step(row.get())) return;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    set.add(wanted[i].parameter,
            Value(sqlite3_value_dup(sqlite3_column_value(row.get(), static_cast<int>(i)))));
  }
}

// A value that no row has in the column, another one each turn.
void add_fresh(sqlite3* db, const Table& table, const AssignedParameter& wanted, int turn,
               ParameterSet& set) {
  const std::string highest = "max(" + as_identifier(wanted.column) + ")";
  const std::string more = std::to_string(turn + 1);
  const Statement value = prepare(db, "SELECT CASE typeof(" + highest + ") WHEN 'integer' THEN " +
                                          highest + " + " + more + " ELSE " + highest + " || '_" +
                                          more + "' END FROM main." + as_identifier(table.name));
  if (!step(value.get())) return;
  set.add(wanted.parameter, Value(sqlite3_value_dup(sqlite3_column_value(value.get(), 0))));
}

// What a value takes in a record.
std::string bytes_of(const std::string& column) {
  return "CASE typeof(" + column + ") WHEN 'null' THEN 0 WHEN 'integer' THEN 3 WHEN 'real' THEN 8" +
         " ELSE length(CAST(" + column + " AS BLOB)) END";
}

}  // namespace

std::vector<double> average_bytes(sqlite3* db, const Table& table) {
  std::string sums;
  std::string columns;
  for (const Column& column : table.columns) {
    const std::string name = as_identifier(column.name);
    sums += (sums.empty() ? "avg(" : ", avg(") + bytes_of(name) + ")";
    columns += (columns.empty() ? "" : ", ") + name;
  }
  const Statement averages =
      prepare(db, "SELECT " + sums + " FROM (SELECT " + columns + " FROM main." +
                      as_identifier(table.name) + " LIMIT " + std::to_string(kSampled_rows) + ")");
  std::vector<double> found(table.columns.size());
  if (!step(averages.get())) return found;
  for (std::size_t i = 0; i < found.size(); ++i) {
    found[i] = sqlite3_column_double(averages.get(), static_cast<int>(i));
  }
  return found;
}

void ParameterSet::bind(sqlite3_stmt* statement, const Outline& outline) const {
  const int count = sqlite3_bind_parameter_count(statement);
  for (int i = 1; i <= count; ++i) sqlite3_bind_int(statement, i, 1);
  for (const int number : outline.limit_parameters) sqlite3_bind_int(statement, number, kLimit);
  for (const int number : outline.offset_parameters) sqlite3_bind_int(statement, number, 0);
  for (const auto& [number, value] : values_) sqlite3_bind_value(statement, number, value.get());
  if (given_ != nullptr) given_->bind(statement);
}

std::vector<ParameterSet> sample_parameters(sqlite3* db, const Schema& schema,
                                            const Outline& outline, int count) {
  std::vector<ParameterSet> sets;
  WantedByTable wanted = wanted_values(schema, outline);
  std::set<int> compared;
  for (const auto& [table, values] : wanted) {
    for (const Wanted& value : values) compared.insert(value.parameter);
  }
  const Assigned assigned = assigned_parameters(lexed_of(outline.sql), schema);
  for (const AssignedParameter& one : assigned.known) {
    if (compared.insert(one.parameter).second) {
      wanted[assigned.table].push_back({one.parameter, one.column});
    }
  }
  const int turns = wanted.empty() ? 1 : count;
  for (int turn = 0; turn < turns; ++turn) {
    ParameterSet set;
    for (const auto& [table, values] : wanted) add_row(db, *table, values, turn, turns, set);
    for (const AssignedParameter& one : assigned.fresh) {
      if (compared.count(one.parameter) == 0) add_fresh(db, *assigned.table, one, turn, set);
    }
    sets.push_back(std::move(set));
  }
  return sets;
}

}  // namespace mcp::query
