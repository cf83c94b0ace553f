// report_dict.cpp: reports and histograms as dicts, and options from them.
#include "bindings/loadtest/report_dict.h"

#include <pybind11/stl.h>

#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/base/errors.h"
#include "bindings/base/rooms.h"
#include "bindings/loadtest/bind.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using loadtest::Report;
using metrics::Histogram;

py::list slots_of(const LoadHistogram& self) {
  py::list result;
  const auto slots = self.get().slots();
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] == 0) continue;
    result.append(py::make_tuple(to_seconds(self.get().lowest_in(i)),
                                 to_seconds(self.get().highest_in(i)), slots[i]));
  }
  return result;
}

// The samples that a closed loop could not take while it waited longer than `interval`, as well.
LoadHistogram corrected(const LoadHistogram& self, double interval) {
  const metrics::Histogram& from = self.get();
  const Duration interval_ns = from_seconds(interval);
  metrics::Histogram out(from.digits(), from.highest_ns());
  const auto slots = from.slots();
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] == 0) continue;
    Duration value = std::clamp(from.highest_in(i), from.min_ns(), from.max_ns());
    out.record(value, slots[i]);
    for (value -= interval_ns; value >= interval_ns; value -= interval_ns) {
      out.record(value, slots[i]);
    }
  }
  return LoadHistogram(out);
}

// Adds `count` requests that came evenly while nothing was answered for `length` seconds, and
// waited for its end.
void add_waits(LoadHistogram& self, double length, std::uint64_t count) {
  constexpr std::uint64_t kMostSteps = 10'000;
  const std::uint64_t steps = std::min(count, kMostSteps);
  for (std::uint64_t step = 0; step < steps; ++step) {
    const std::uint64_t here = count * (step + 1) / steps - count * step / steps;
    const double share = (static_cast<double>(step) + 0.5) / static_cast<double>(steps);
    self.get().record(from_seconds(length * share), here);
  }
}

// (digits, highest_ns, sum_ns, min_ns, max_ns, [(slot, samples)])
using HistogramState = std::tuple<int, Duration, double, Duration, Duration,
                                  std::vector<std::pair<std::size_t, std::uint64_t>>>;

HistogramState state_of(const LoadHistogram& self) {
  const Histogram& histogram = self.get();
  std::vector<std::pair<std::size_t, std::uint64_t>> counts;
  for (std::size_t slot = 0; slot < histogram.slots().size(); ++slot) {
    if (histogram.slots()[slot] > 0) counts.emplace_back(slot, histogram.slots()[slot]);
  }
  return {histogram.digits(), histogram.highest_ns(), histogram.sum_ns(),
          histogram.min_ns(), histogram.max_ns(),     std::move(counts)};
}

LoadHistogram from_state(const HistogramState& state) {
  const auto& [digits, highest_ns, sum_ns, min_ns, max_ns, counts] = state;
  return LoadHistogram(Histogram::restore(digits, highest_ns, counts, sum_ns, min_ns, max_ns));
}

py::list series_of(const Report& report) {
  py::list series;
  for (const auto& point : report.seconds) {
    series.append(py::make_tuple(point.successful, point.failed, point.bytes,
                                 to_seconds(point.p50_ns), to_seconds(point.p95_ns),
                                 to_seconds(point.p99_ns), to_seconds(point.max_ns)));
  }
  return series;
}

py::list kinds_of(const Report& report) {
  py::list kinds;
  for (const auto& kind : report.kinds) {
    kinds.append(py::make_tuple(kind.name, kind.successful, kind.failed, kind.bytes,
                                py::cast(LoadHistogram(kind.response))));
  }
  return kinds;
}

// (start, length, requests caught), in seconds
py::list gaps_of(const Report& report) {
  py::list gaps;
  for (const auto& gap : report.gaps) {
    gaps.append(py::make_tuple(to_seconds(gap.start_ns), to_seconds(gap.length_ns), gap.caught));
  }
  return gaps;
}

// Bodies may be cut within a character, or be no text at all.
py::dict examples_of(const Report& report) {
  py::dict examples;
  for (const auto& [kind, text] : report.examples) {
    examples[py::str(kind)] = py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
  }
  return examples;
}

std::vector<loadtest::Stage> stages_of(const py::handle& value) {
  std::vector<loadtest::Stage> stages;
  for (const py::handle item : value) {
    const auto pair = item.cast<std::pair<double, double>>();
    stages.push_back({from_seconds(pair.first), pair.second});
  }
  return stages;
}

}  // namespace

py::dict report_to_dict(const Report& report) {
  py::dict out;
  out["successful"] = report.successful;
  out["failed"] = report.failed;
  out["in_time"] = report.in_time;
  out["not_sent"] = report.not_sent;
  out["abandoned"] = report.abandoned;
  out["warmup"] = report.warmup;
  out["waited_for_user"] = report.waited_for_user;
  out["reconnects"] = report.reconnects;
  out["parked_users"] = report.parked_users;
  out["bytes_received"] = report.bytes_received;
  out["bytes_sent"] = report.bytes_sent;
  out["elapsed"] = to_seconds(report.elapsed_ns);
  out["busy"] = to_seconds(report.busy_ns);
  out["think"] = to_seconds(report.think_ns);
  out["last_due"] = to_seconds(report.last_due_ns);
  out["last_sent"] = to_seconds(report.last_sent_ns);
  out["generator_cpu"] = to_seconds(report.generator_cpu_ns);
  out["generator_limit"] = report.generator_limit;
  out["errors"] = py::cast(report.errors);
  out["examples"] = examples_of(report);
  out["gaps"] = gaps_of(report);
  out["late"] = py::cast(LoadHistogram(report.late));
  out["response"] = py::cast(LoadHistogram(report.response));
  out["service"] = py::cast(LoadHistogram(report.service));
  out["send_lag"] = py::cast(LoadHistogram(report.send_lag));
  out["first_byte"] = py::cast(LoadHistogram(report.first_byte));
  out["connect"] = py::cast(LoadHistogram(report.connect));
  out["series"] = series_of(report);
  out["kinds"] = kinds_of(report);
  return out;
}

loadtest::CallOptions call_options(const py::dict& arguments) {
  loadtest::CallOptions options;
  options.users = arguments["users"].cast<int>();
  options.batch_size = arguments["batch_size"].cast<int>();
  if (!arguments["requests"].is_none())
    options.requests = arguments["requests"].cast<std::uint64_t>();
  if (!arguments["duration"].is_none())
    options.duration_ns = from_seconds(arguments["duration"].cast<double>());
  options.warmup_ns = from_seconds(arguments["warmup"].cast<double>());
  options.timeout_ns = from_seconds(arguments["timeout"].cast<double>());
  const auto think = arguments["think"].cast<std::pair<double, double>>();
  options.think_low_ns = from_seconds(think.first);
  options.think_high_ns = from_seconds(think.second);
  options.seed = arguments["seed"].cast<std::uint64_t>();
  options.shares = arguments["shares"].cast<std::uint64_t>();
  options.share = arguments["share"].cast<std::uint64_t>();
  if (arguments["poisson"].cast<bool>()) options.arrivals = loadtest::Arrivals::kPoisson;
  const py::object rate = arguments["rate"];
  const py::object stages = arguments["stages"];
  if (!stages.is_none() && !rate.is_none()) {
    options.rate.emplace(rate.cast<double>(), stages_of(stages));
  } else if (!stages.is_none()) {
    options.user_ramp.emplace(arguments["stage_users"].cast<double>(), stages_of(stages));
  } else if (!rate.is_none()) {
    options.rate.emplace(rate.cast<double>());
  }
  return options;
}

// In nanoseconds; an infinite or undefined one would be a sample of 292 years.
Duration sample_of(double seconds) {
  if (std::isfinite(seconds)) return from_seconds(seconds);
  throw invalid_argument("value", std::to_string(seconds), "a finite number of seconds");
}

double percentile_of(const LoadHistogram& histogram, double percent) {
  if (percent >= 0 && percent <= 100) return to_seconds(histogram.get().percentile_ns(percent));
  throw invalid_argument("percent", std::to_string(percent), "a number from 0 to 100");
}

void bind_load_histogram(py::module_& module) {
  py::class_<LoadHistogram>(module, "LoadHistogram")
      .def(py::init<int, double>(), py::kw_only(), py::arg("digits") = 3, py::arg("highest") = 60.0)
      .def(
          "record", [](LoadHistogram& self, double value) { self.get().record(sample_of(value)); },
          py::arg("value"))
      .def(
          "merge",
          [](LoadHistogram& self, const LoadHistogram& other) { self.get().merge(other.get()); },
          py::arg("other"))
      .def("copy", [](const LoadHistogram& self) { return LoadHistogram(self.get()); })
      .def("state", &state_of)
      .def(py::pickle(&state_of, &from_state))
      .def_static("from_state", &from_state, py::arg("state"))
      .def("percentile", &percentile_of, py::arg("percent"))
      .def(
          "count_at_most",
          [](const LoadHistogram& self, double value) {
            return self.get().count_at_most(from_seconds(value));
          },
          py::arg("value"))
      .def("corrected", &corrected, py::arg("interval"))
      .def("add_waits", &add_waits, py::arg("length"), py::arg("count"))
      .def("slots", &slots_of, "slots() -> list[tuple[float, float, int]]")
      .def_property_readonly("count", [](const LoadHistogram& self) { return self.get().count(); })
      .def_property_readonly("total",
                             [](const LoadHistogram& self) { return self.get().sum_ns() / 1e9; })
      .def_property_readonly("mean",
                             [](const LoadHistogram& self) { return self.get().mean_ns() / 1e9; })
      .def_property_readonly("stddev",
                             [](const LoadHistogram& self) { return self.get().stddev_ns() / 1e9; })
      .def_property_readonly(
          "min", [](const LoadHistogram& self) { return to_seconds(self.get().min_ns()); })
      .def_property_readonly(
          "max", [](const LoadHistogram& self) { return to_seconds(self.get().max_ns()); })
      .def_property_readonly("digits",
                             [](const LoadHistogram& self) { return self.get().digits(); })
      .def_property_readonly(
          "highest", [](const LoadHistogram& self) { return to_seconds(self.get().highest_ns()); });
}

}  // namespace mcp::python
