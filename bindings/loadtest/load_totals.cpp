// load_totals.cpp: the totals of a run of several processes. Each of them relays its complete
// seconds (take()), and at its end its report and its times of silence (silence()); what comes in
// here is added up as the figures of threads are.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/base/errors.h"
#include "bindings/loadtest/bind.h"
#include "bindings/loadtest/report_dict.h"
#include "loadtest/recorder.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using loadtest::Quiet;
using loadtest::RecorderOptions;
using loadtest::Report;
using loadtest::Slice;
using loadtest::Totals;

// (from, to, waiting from, requests caught), in nanoseconds of the monotonic clock
using QuietTuple = std::tuple<Instant, Instant, Instant, std::uint64_t>;

const metrics::Histogram& histogram_in(const py::handle& value) {
  return value.cast<const LoadHistogram&>().get();
}

// The reverse of report_to_dict(), but for what slices have brought already, and for the kinds of
// requests, which processes may number differently.
Report report_from_dict(const py::dict& given, const RecorderOptions& options) {
  Report report(options.highest_ns);
  const auto count = [&](const char* name) { return given[name].cast<std::uint64_t>(); };
  const auto time = [&](const char* name) { return from_seconds(given[name].cast<double>()); };
  report.in_time = count("in_time");
  report.not_sent = count("not_sent");
  report.abandoned = count("abandoned");
  report.warmup = count("warmup");
  report.waited_for_user = count("waited_for_user");
  report.reconnects = count("reconnects");
  report.parked_users = count("parked_users");
  report.bytes_sent = count("bytes_sent");
  report.elapsed_ns = time("elapsed");
  report.busy_ns = time("busy");
  report.think_ns = time("think");
  report.last_due_ns = time("last_due");
  report.last_sent_ns = time("last_sent");
  report.generator_cpu_ns = time("generator_cpu");
  report.generator_limit = given["generator_limit"].cast<std::string>();
  for (const auto& [kind, times] : given["errors"].cast<std::map<std::string, std::uint64_t>>()) {
    report.errors.emplace(kind, times);
  }
  for (const auto& [kind, text] : given["examples"].cast<std::map<std::string, std::string>>()) {
    report.examples.emplace(kind, text);
  }
  report.service.merge(histogram_in(given["service"]));
  report.send_lag.merge(histogram_in(given["send_lag"]));
  report.late.merge(histogram_in(given["late"]));
  report.first_byte.merge(histogram_in(given["first_byte"]));
  report.connect.merge(histogram_in(given["connect"]));
  return report;
}

class LoadTotals {
 public:
  LoadTotals(int workers, double highest_s, bool open_model)
      : totals_(options(highest_s, open_model), workers) {}

  void pour(int worker, std::int64_t second, std::uint64_t successful, std::uint64_t failed,
            std::uint64_t bytes, const LoadHistogram& response) {
    Slice slice(totals_.options().highest_ns);
    slice.response.merge(response.get());
    slice.successful = successful;
    slice.failed = failed;
    slice.bytes = bytes;
    totals_.pour(worker, second, slice);
  }

  void finish(int worker, const py::dict& report, const std::vector<QuietTuple>& given,
              Instant measure_from, Instant closed_at) {
    std::vector<Quiet> quiets;
    for (const auto& [from, to, waiting_from, caught] : given) {
      quiets.push_back({from, to, waiting_from, caught});
    }
    totals_.finish(worker, report_from_dict(report, totals_.options()), std::move(quiets),
                   measure_from, closed_at);
  }

  // A worker of which no more will come stands in the way of no gap.
  void lose(int worker, double elapsed, std::uint64_t in_time,
            const loadtest::ErrorCounts& errors) {
    Report report(totals_.options().highest_ns);
    report.elapsed_ns = from_seconds(elapsed);
    report.in_time = in_time;
    report.errors = errors;
    totals_.finish(worker, report, {{0, kNever, kNever, 0}}, kNever, 0);
  }

  [[nodiscard]] py::dict report() const { return report_to_dict(totals_.report()); }

 private:
  static RecorderOptions options(double highest_s, bool open_model) {
    RecorderOptions result;
    result.highest_ns = std::max(metrics::Histogram::kDefaultHighest, from_seconds(highest_s));
    result.open_model = open_model;
    result.apart = true;
    return result;
  }

  Totals totals_;
};

}  // namespace

py::tuple taken_from(Totals& totals) {
  loadtest::Relayed taken = totals.take();
  py::list slices;
  for (Slice& slice : taken.slices) {
    slices.append(py::make_tuple(slice.successful, slice.failed, slice.bytes,
                                 py::cast(LoadHistogram(std::move(slice.response)))));
  }
  return py::make_tuple(slices, py::cast(taken.errors));
}

py::tuple silence_of(const Totals& totals) {
  const loadtest::Silence silence = totals.silence();
  std::vector<QuietTuple> quiets;
  for (const Quiet& quiet : silence.quiets) {
    quiets.emplace_back(quiet.from, quiet.to, quiet.waiting_from, quiet.caught);
  }
  return py::make_tuple(py::cast(quiets), silence.measure_from, silence.closed_at);
}

void bind_load_totals(py::module_& module) {
  py::class_<LoadTotals>(module, "LoadTotals")
      .def(py::init<int, double, bool>(), py::kw_only(), py::arg("workers"), py::arg("highest"),
           py::arg("open_model"))
      .def("pour", &LoadTotals::pour, py::arg("worker"), py::arg("second"), py::arg("successful"),
           py::arg("failed"), py::arg("bytes"), py::arg("response"))
      .def("finish", &LoadTotals::finish, py::arg("worker"), py::arg("report"), py::arg("quiets"),
           py::arg("measure_from"), py::arg("closed_at"))
      .def("lose", &LoadTotals::lose, py::arg("worker"), py::arg("elapsed"), py::arg("in_time"),
           py::arg("errors"))
      .def("report", &LoadTotals::report);
}

}  // namespace mcp::python
