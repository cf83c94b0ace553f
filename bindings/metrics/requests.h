// requests.h: the figures behind a RequestMetrics object of Python.
#pragma once

#include "bindings/base/gil.h"
#include "metrics/request_metrics.h"

namespace mcp::python {

// Null, with TypeError set, for any other object. Lives as long as the object.
[[nodiscard]] metrics::RequestMetrics* request_metrics_of(PyObject* object);

// {"count", "mean_seconds", "p50_seconds", "p95_seconds", "p99_seconds", "max_seconds"}
[[nodiscard]] pybind11::dict figures(const metrics::Histogram& times);

}  // namespace mcp::python
