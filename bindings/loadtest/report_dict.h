// report_dict.h: what the two kinds of load test runs have in common on their way to Python:
// histograms, reports, and the arguments that say when and how much.
#pragma once

#include <memory>
#include <utility>

#include "bindings/base/errors.h"
#include "bindings/base/gil.h"
#include "loadtest/call_schedule.h"
#include "loadtest/recorder.h"
#include "loadtest/report.h"

namespace mcp::python {

// Owned by Python alone: the run that it came from has copied it.
class LoadHistogram {
 public:
  explicit LoadHistogram(metrics::Histogram histogram) : histogram_(std::move(histogram)) {}
  LoadHistogram(int digits, double highest_s) : histogram_(digits, from_seconds(highest_s)) {}

  const metrics::Histogram& get() const noexcept { return histogram_; }
  metrics::Histogram& get() noexcept { return histogram_; }

 private:
  metrics::Histogram histogram_;
};

// A Report as a dict of plain values, in seconds, and LoadHistogram objects.
[[nodiscard]] pybind11::dict report_to_dict(const loadtest::Report& report);

// What a process of a run of several hands on, see bindings/loadtest/load_totals.cpp.
[[nodiscard]] pybind11::tuple taken_from(loadtest::Totals& totals);
[[nodiscard]] pybind11::tuple silence_of(const loadtest::Totals& totals);
inline constexpr const char* kTakeSignature =
    "take() -> tuple[list[tuple[int, int, int, LoadHistogram]], dict[str, int]]";
inline constexpr const char* kSilenceSignature =
    "silence() -> tuple[list[tuple[int, int, int, int]], int, int]";

// From the keywords that both runs take: users, batch_size, requests, duration, warmup, timeout,
// think, rate, poisson, stages, stage_users, seed, shares, share.
[[nodiscard]] loadtest::CallOptions call_options(const pybind11::dict& arguments);

}  // namespace mcp::python
