// samples.h: values for the parameters of a statement, taken from the rows of the tables that they
// are compared with. A workload that is known by its fingerprints has no values of its own; rows
// picked at even distances stand for it: frequent values come up more often.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "query/handle.h"
#include "query/outline.h"
#include "query/schema.h"
#include "sqlite/params.h"

namespace mcp::query {

struct FreeValue {
  void operator()(sqlite3_value* value) const noexcept { sqlite3_value_free(value); }
};
using Value = std::unique_ptr<sqlite3_value, FreeValue>;

// Values that were seen with the statement, in the order of its numbers; null: none were.
using GivenParameters = std::shared_ptr<const sqlite::Params>;

// One run's worth of parameters.
class ParameterSet {
 public:
  ParameterSet() = default;
  explicit ParameterSet(GivenParameters given) : given_(std::move(given)) {}

  void add(int number, Value value) { values_.emplace_back(number, std::move(value)); }
  // Numbers that were not added: LIMIT gets 100, OFFSET 0, all others 1.
  void bind(sqlite3_stmt* statement, const Outline& outline) const;

 private:
  std::vector<std::pair<int, Value>> values_;
  GivenParameters given_;
};

// `count` sets; one empty set for a statement without parameters. Parameters that are compared with
// columns of one table get their values from one row. Throws Error.
[[nodiscard]] std::vector<ParameterSet> sample_parameters(sqlite3* db, const Schema& schema,
                                                          const Outline& outline, int count);

// Bytes of each column's values in the first rows of the table, on average. Throws Error.
[[nodiscard]] std::vector<double> average_bytes(sqlite3* db, const Table& table);

}  // namespace mcp::query
