// recorder [SAMPLES]: what one sample costs, a closed model's and an open model's, nanoseconds
// each; and by how many KiB the process grows from the first thousand to SAMPLES x 20 of them. What
// was recorded is then compared with the samples themselves; exit status 1 if a figure is wrong.
#include "loadtest/recorder.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "loadtest/random.h"

namespace {

using mcp::Duration;
using mcp::Instant;

void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "recorder: wrong %s\n", what);
  std::exit(1);
}

// `histogram` against the plain list of what it was given: count, sum, ends, and percentiles to its
// three digits.
void check(const mcp::metrics::Histogram& histogram, std::vector<Duration> samples,
           const char* what) {
  expect(histogram.count() == samples.size(), what);
  std::sort(samples.begin(), samples.end());
  double sum = 0;
  for (const Duration sample : samples) sum += static_cast<double>(sample);
  expect(std::abs(histogram.sum_ns() - sum) <= sum * 1e-9, what);
  expect(histogram.min_ns() == samples.front() && histogram.max_ns() == samples.back(), what);
  for (const double percent : {1.0, 50.0, 95.0, 99.0, 99.9, 100.0}) {
    const double rank = std::ceil(percent / 100 * static_cast<double>(samples.size()) - 1e-9);
    const Duration exact = samples[static_cast<std::size_t>(rank) - 1];
    const Duration found = histogram.percentile_ns(percent);
    expect(found >= exact && found <= exact + exact / 1000 + 1, what);
  }
}

double cost_ns(bool open_model, std::size_t samples) {
  using namespace mcp::loadtest;
  std::vector<Duration> times(1 << 16);
  Random random(1);
  for (Duration& time : times) time = static_cast<Duration>(random.unit() * 1e7);
  const auto totals = std::make_shared<Totals>(
      RecorderOptions{{"x"}, mcp::metrics::Histogram::kDefaultHighest, open_model, true, false}, 1);
  Recorder recorder(totals, 0, 0, mcp::kNever);
  const Instant began = mcp::now_precise();
  for (std::size_t i = 0; i < samples; ++i) {
    const Duration took = times[i & (times.size() - 1)];
    recorder.success({0, 0, took / 2, took, took / 4, 100});
  }
  const auto spent = static_cast<double>(mcp::now_precise() - began);

  recorder.finish(mcp::now_precise());
  const Report report = totals->report();
  expect(report.successful == samples && report.failed == 0, "count of requests");
  expect(report.bytes_received == 100 * samples, "count of bytes");
  std::vector<Duration> response(samples);
  for (std::size_t i = 0; i < samples; ++i) response[i] = times[i & (times.size() - 1)];
  std::vector<Duration> service = response;
  std::vector<Duration> first_byte = response;
  for (Duration& time : service) time -= time / 2;
  for (Duration& time : first_byte) time /= 4;
  check(report.response, response, "response times");
  check(report.kinds.at(0).response, response, "response times of the kind");
  check(report.first_byte, first_byte, "times to the first byte");
  if (open_model) check(report.service, service, "service times");
  return spent / static_cast<double>(samples);
}

// A run as long as it takes, of which nothing is kept but what a recorder keeps.
long growth_kib(std::size_t samples) {
  using namespace mcp::loadtest;
  std::vector<Duration> times(1 << 16);
  Random random(2);
  for (Duration& time : times) time = static_cast<Duration>(random.unit() * 1e7);
  const std::size_t whole = (samples + times.size() - 1) / times.size() * times.size();
  const auto totals = std::make_shared<Totals>(
      RecorderOptions{{"x"}, mcp::metrics::Histogram::kDefaultHighest, true, true, true}, 1);
  Recorder recorder(totals, 0, 0, mcp::kNever);
  rusage before{};
  rusage after{};
  for (std::size_t i = 0; i < whole; ++i) {
    if (i == 1000) getrusage(RUSAGE_SELF, &before);
    const Duration took = times[i & (times.size() - 1)];
    const Instant at = static_cast<Instant>(i) * 1000;  // a million a second
    recorder.success({0, at, at, at + took, took, 100});
    recorder.roll(at);
  }
  getrusage(RUSAGE_SELF, &after);
  recorder.finish(mcp::kNever / 2);
  const Report report = totals->report();
  expect(report.successful == whole && report.response.count() == whole, "count of many requests");
  expect(report.service.count() == whole, "count of many service times");
  std::sort(times.begin(), times.end());
  for (const double percent : {50.0, 99.0, 99.9}) {
    const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * times.size()));
    const Duration exact = times[rank - 1];
    const Duration found = report.response.percentile_ns(percent);
    expect(found >= exact && found <= exact + exact / 1000 + 1, "percentile of many requests");
  }
  return after.ru_maxrss - before.ru_maxrss;
}

}  // namespace

int main(int count, char** arguments) {
  const std::size_t samples = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 5'000'000;
  if (samples == 0) return 2;
  // First: memory that is given back is still there to be used again.
  const long grown = growth_kib(20 * samples);
  std::printf("%.2f %.2f %ld\n", cost_ns(false, samples), cost_ns(true, samples), grown);
  return 0;
}
