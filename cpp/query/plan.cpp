// plan.cpp: parses the rows of EXPLAIN QUERY PLAN.
#include "query/plan.h"

#include <algorithm>

namespace mcp::query {
namespace {

// Takes `prefix` off the front of `text`; false when it is not there.
bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// The name up to the next " USING ", " (" or the end; names may hold spaces.
std::string_view take_name(std::string_view& text) {
  std::size_t end = text.size();
  for (const std::string_view mark : {" USING ", " (", " VIRTUAL TABLE INDEX ", " LEFT-JOIN"}) {
    end = std::min(end, text.find(mark));
  }
  const std::string_view name = text.substr(0, end);
  text.remove_prefix(end);
  return name;
}

void parse_access(PlanStep& step, std::string_view rest) {
  take(rest, "TABLE ");  // before 3.36
  std::string_view name = take_name(rest);
  if (const std::size_t alias = name.find(" AS "); alias != std::string_view::npos) {
    name.remove_prefix(alias + 4);
  }
  take(name, "main.");  // as it stands in the statement
  step.source = name;
  if (!take(rest, " USING ")) return;
  step.automatic = take(rest, "AUTOMATIC ");
  take(rest, "PARTIAL ");
  step.covering = take(rest, "COVERING ");
  if (take(rest, "INDEX ") && !rest.starts_with('(')) step.index = take_name(rest);
}

}  // namespace

void parse_detail(PlanStep& step) {
  std::string_view rest = step.detail;
  if (take(rest, "SEARCH ")) {
    // Without an index or a key every row is looked at: for min() and max().
    const bool searches = rest.find(" USING ") != std::string_view::npos ||
                          rest.find(" VIRTUAL TABLE ") != std::string_view::npos;
    step.kind = searches ? StepKind::kSearch : StepKind::kScan;
    parse_access(step, rest);
  } else if (take(rest, "SCAN ")) {
    if (rest == "CONSTANT ROW" || rest.ends_with(" CONSTANT ROWS")) return;
    step.kind = StepKind::kScan;
    parse_access(step, rest);
  } else if (const std::size_t at = rest.find("USE TEMP B-TREE FOR "); at == 0) {
    step.kind = StepKind::kTempBTree;
    step.purpose = rest.substr(20);
  } else if (rest == "UNION USING TEMP B-TREE") {
    step.kind = StepKind::kTempBTree;
    step.purpose = "UNION";
  }
}

std::vector<PlanStep> explain(sqlite3* db, std::string_view sql) {
  const Statement statement = prepare(db, "EXPLAIN QUERY PLAN " + std::string(sql));
  return read_plan(statement.get());
}

std::vector<PlanStep> read_plan(sqlite3_stmt* statement) {
  std::vector<PlanStep> plan;
  while (step(statement)) {
    PlanStep node;
    node.id = sqlite3_column_int(statement, 0);
    node.parent = sqlite3_column_int(statement, 1);
    node.detail = column_text(statement, 3);
    parse_detail(node);
    plan.push_back(std::move(node));
  }
  return plan;
}

bool uses_index(const std::vector<PlanStep>& plan, std::string_view index) {
  return std::any_of(plan.begin(), plan.end(),
                     [index](const PlanStep& step) { return step.index == index; });
}

}  // namespace mcp::query
