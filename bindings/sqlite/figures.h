// figures.h: the figures of a Tracker as the fields of QueryStats, SlowQuery and
// WorkloadStatistics.
// Everything here needs the interpreter lock.
#pragma once

#include "bindings/base/gil.h"
#include "sqlite/tracker.h"

namespace mcp::python {

[[nodiscard]] pybind11::list totals_by_fingerprint(const sqlite::Tracker& tracker);
[[nodiscard]] pybind11::list slow_executions(const sqlite::Tracker& tracker);
[[nodiscard]] pybind11::dict totals_of_all(const sqlite::Tracker& tracker);

}  // namespace mcp::python
