// issues.h: what is likely to make a statement slow or wrong, each with a stable code.
#pragma once

#include <string>
#include <vector>

#include "query/outline.h"
#include "query/plan.h"
#include "query/schema.h"

namespace mcp::query {

// kInfo: worth knowing, nothing to do now (a table too small to matter). kHigh: the cost grows with
// the table.
enum class Severity { kInfo, kWarning, kHigh };
[[nodiscard]] const char* name_of(Severity severity);

struct Issue {
  const char* code;
  Severity severity = Severity::kWarning;
  std::string message;
  std::string suggestion;
  std::string table;          // empty where the issue is not one table's
  std::string column;         // likewise
  std::string evidence = {};  // a step of the plan, or a fact of the schema
  // Bytes of the statement that it is about, behind the last one; 0 to 0: the whole of it.
  std::size_t begin = 0;
  std::size_t end = 0;
};

// The bytes from the first to the last token, both included.
void set_place(Issue& issue, const Outline& outline, std::size_t first, std::size_t last);
void set_place(Issue& issue, const Outline& outline, const Comparison& comparison);

// The type of a bound value, where the caller gave one.
enum class BoundType { kUnknown, kNull, kNumber, kText, kBlob };

struct IssueInput {
  const Outline& outline;
  const Schema& schema;
  const std::vector<PlanStep>& plan;
  std::vector<BoundType> bound;  // by parameter number less one; may be shorter
};

// So few rows are sorted that an index in their order spares nothing that is felt; fewer where only
// the first of them are asked for.
[[nodiscard]] bool sorts_few_rows(const Outline& outline, const std::vector<PlanStep>& plan,
                                  const PlanStep& sort);

// Every code but missing-index and count-for-existence, which the analyzer has evidence for.
[[nodiscard]] std::vector<Issue> find_issues(const IssueInput& input);

// The rows of the index's condition are all that is read.
[[nodiscard]] bool scans_partial_index(const Table& table, const PlanStep& step);

// The table behind a source of the plan or a name in a scope; null for subqueries and the like.
[[nodiscard]] const Table* resolve_source(const Outline& outline, const Schema& schema,
                                          std::string_view source);
struct ResolvedColumn {
  const Table* table = nullptr;
  const Column* column = nullptr;
  explicit operator bool() const { return column != nullptr; }
};
// Looks in the scope, then in those around it.
[[nodiscard]] ResolvedColumn resolve_column(const Outline& outline, const Schema& schema,
                                            std::size_t scope, const ColumnName& name);

}  // namespace mcp::query
