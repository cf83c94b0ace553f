// report_dict.h: what the two kinds of load test runs have in common on their way to Python:
// histograms, reports, and the arguments that say when and how much.
#pragma once

#include <memory>

#include "bindings/base/gil.h"
#include "loadtest/call_schedule.h"
#include "loadtest/report.h"

namespace mcp::python {

// A Report as a dict of plain values, in seconds, and LoadHistogram objects.
[[nodiscard]] pybind11::dict report_to_dict(const loadtest::Report& report);

// From the keywords that both runs take: users, batch_size, requests, duration, warmup, timeout,
// think, rate, poisson, stages, stage_users, seed.
[[nodiscard]] loadtest::CallOptions call_options(const pybind11::dict& arguments);

}  // namespace mcp::python
