// What one sample costs: a closed model's and an open model's, nanoseconds each.
#include "loadtest/recorder.h"

#include <cstdio>
#include <vector>

#include "loadtest/random.h"

namespace {

using mcp::Instant;

double cost_ns(bool open_model) {
  using namespace mcp::loadtest;
  constexpr std::size_t kSamples = 5'000'000;
  std::vector<mcp::Duration> times(1 << 16);
  Random random(1);
  for (mcp::Duration& time : times) time = static_cast<mcp::Duration>(random.unit() * 1e7);
  const auto totals = std::make_shared<Totals>(
      RecorderOptions{{"x"}, mcp::metrics::Histogram::kDefaultHighest, open_model, true, false}, 1);
  Recorder recorder(totals, 0, 0, mcp::kNever);
  const Instant began = mcp::now_precise();
  for (std::size_t i = 0; i < kSamples; ++i) {
    const mcp::Duration took = times[i & (times.size() - 1)];
    recorder.success({0, 0, took / 2, took, took / 4, 100});
  }
  return static_cast<double>(mcp::now_precise() - began) / kSamples;
}

}  // namespace

int main() {
  std::printf("%.2f %.2f\n", cost_ns(false), cost_ns(true));
  return 0;
}
