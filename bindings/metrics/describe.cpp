// describe.cpp: figures of requests as dictionaries, and what workers share as rows.
#include "bindings/metrics/describe.h"

#include <array>
#include <vector>

#include "bindings/base/gil.h"
#include "bindings/metrics/requests.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using metrics::Histogram;
using metrics::RequestMetrics;

constexpr double kSeconds = 1e-9;

// The bounds of http.server.request.duration in OpenTelemetry's semantic conventions, seconds.
constexpr std::array kBuckets_s{.005, .01, .025, .05, .075, .1,  .25,
                                .5,   .75, 1.0,  2.5, 5.0,  7.5, 10.0};

// The bounds of mcp.server.operation.duration there.
constexpr std::array kOperationBuckets_s{.01, .02, .05,  .1,   .2,   .5,    1.0,
                                         2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0};

template <std::size_t kBounds>
py::list buckets(const Histogram& times, const std::array<double, kBounds>& bounds_s) {
  py::list result;
  for (const double bound_s : bounds_s) {
    const auto bound = static_cast<Duration>(bound_s * static_cast<double>(kSecond));
    result.append(py::make_tuple(bound_s, times.count_at_most(bound)));
  }
  return result;
}

py::dict describe(const RequestMetrics::Series& series) {
  py::dict result = figures(series.last_byte);
  const auto count = static_cast<double>(series.last_byte.count());
  result["method"] = series.method;
  result["route"] = series.route;
  result["scheme"] = series.scheme;
  result["status"] = series.status;
  result["error_type"] = series.error_type;
  result["errors"] = series.errors();
  result["sum_seconds"] = series.last_byte.sum_ns() * kSeconds;
  result["first_byte_mean_seconds"] =
      static_cast<double>(series.first_byte_total_ns) * kSeconds / count;
  result["returned_mean_seconds"] =
      static_cast<double>(series.returned_total_ns) * kSeconds / count;
  result["buckets"] = buckets(series.last_byte, kBuckets_s);
  return result;
}

py::dict describe_operation(const RequestMetrics::Series& series) {
  py::dict result = figures(series.last_byte);
  result["method"] = series.method;
  result["name"] = series.route;
  result["system"] = series.scheme;
  result["error_type"] = series.error_type;
  result["errors"] = series.errors();
  result["sum_seconds"] = series.last_byte.sum_ns() * kSeconds;
  result["buckets"] = buckets(series.last_byte, kOperationBuckets_s);
  return result;
}

py::dict describe(const RequestMetrics::Snapshot& seen) {
  py::dict result = figures(seen.total);
  result["active"] = seen.active;
  result["errors"] = seen.errors;
  result["folded_series"] = seen.folded;
  py::dict minute = figures(seen.last_minute);
  minute["errors"] = seen.last_minute_errors;
  minute["length_seconds"] = static_cast<double>(seen.last_minute_length_ns) * kSeconds;
  result["last_minute"] = minute;
  result["loop_lag"] = figures(seen.lag);
  py::list routes;
  for (const auto& series : seen.series) routes.append(describe(series));
  result["routes"] = routes;
  py::list operations;
  for (const auto& series : seen.operations) operations.append(describe_operation(series));
  result["operations"] = operations;
  return result;
}

py::list describe(const std::vector<metrics::RowFigures>& rows) {
  py::list result;
  for (const auto& row : rows) {
    py::tuple values(row.values.size());
    for (std::size_t i = 0; i < row.values.size(); ++i) values[i] = py::float_(row.values[i]);
    result.append(py::make_tuple(row.kind, row.name, row.text, values));
  }
  return result;
}

}  // namespace

py::dict figures(const Histogram& times) {
  py::dict result;
  result["count"] = times.count();
  result["mean_seconds"] = times.mean_ns() * kSeconds;
  result["p50_seconds"] = static_cast<double>(times.percentile_ns(50)) * kSeconds;
  result["p95_seconds"] = static_cast<double>(times.percentile_ns(95)) * kSeconds;
  result["p99_seconds"] = static_cast<double>(times.percentile_ns(99)) * kSeconds;
  result["max_seconds"] = static_cast<double>(times.max_ns()) * kSeconds;
  return result;
}

py::dict snapshot(RequestMetrics& metrics, bool each) {
  std::vector<metrics::WorkerFigures> workers;
  RequestMetrics::Snapshot sum;
  std::vector<RequestMetrics::Snapshot> parts;
  {
    const GilRelease unlocked;
    const Instant now = now_precise();
    workers = metrics.read();
    sum = RequestMetrics::sum(workers, now);
    if (each) {
      for (const auto& worker : workers) parts.push_back(RequestMetrics::sum({worker}, now));
    }
  }
  py::dict result = describe(sum);
  py::list list;
  for (std::size_t i = 0; i < workers.size(); ++i) {
    py::dict worker = each ? describe(parts[i]) : py::dict();
    worker["number"] = workers[i].number;
    worker["pid"] = workers[i].figures.pid;
    worker["alive"] = workers[i].alive;
    worker["rows"] = describe(workers[i].figures.rows);
    list.append(worker);
  }
  result["workers"] = list;
  return result;
}

py::tuple request_buckets() {
  py::list bounds;
  for (const double bound_s : kBuckets_s) bounds.append(bound_s);
  return py::tuple(bounds);
}

}  // namespace mcp::python
