// describe.h: request metrics as plain dictionaries.
#pragma once

#include <pybind11/pybind11.h>

#include "metrics/request_metrics.h"

namespace mcp::python {

// The sum of all workers with, as `workers`, what is known of each: {number, pid, alive, rows}, and
// its own figures too where `each` is true. Takes the interpreter lock off while it reads.
[[nodiscard]] pybind11::dict snapshot(metrics::RequestMetrics& metrics, bool each);

// The upper bounds, in seconds, of the buckets of requests.
[[nodiscard]] pybind11::tuple request_buckets();

}  // namespace mcp::python
