// request_metrics.h: response times by method, route and status, and how late the event loop was,
// in bounded memory.
//
// Safe from any thread; one leaf mutex, held for a few dozen nanoseconds.
// Invariants: at most kMaxSeries series, whatever paths are asked for: what comes later is counted
// under the route kOther. active() is the number of begin() without their end().
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/fork_mutex.h"
#include "metrics/histogram.h"

namespace mcp::metrics {

// What one request took, all from its arrival.
struct RequestTimes {
  Duration first_byte_ns;  // to the response's start
  Duration last_byte_ns;   // to the last piece of its body
  Duration returned_ns;    // to the application's return, background tasks included
};

// What a request is counted under; the names of OpenTelemetry's semantic conventions for HTTP.
struct RequestLabels {
  std::string_view method;  // one of HTTP's, or RequestMetrics::kOther
  std::string_view route;   // the template, never the path
  std::string_view scheme;
  int status;
  std::string_view error_type;  // what the application raised; empty where it did not
};

class RequestMetrics {
 public:
  static constexpr std::size_t kMaxSeries = 512;
  static constexpr std::string_view kOther = "_OTHER";
  // The last minute, kept in slices that are dropped one by one.
  static constexpr std::size_t kSlices = 6;
  static constexpr Duration kSliceLength = 10 * kSecond;

  // Two digits: 30 KiB a series.
  struct Series {
    explicit Series(const RequestLabels& labels)
        : method(labels.method),
          route(labels.route),
          scheme(labels.scheme),
          status(labels.status),
          error_type(labels.error_type) {}

    std::string method;
    std::string route;
    std::string scheme;
    int status;
    std::string error_type;
    Histogram last_byte{2};
    Duration first_byte_total_ns = 0;
    Duration returned_total_ns = 0;
  };
  struct Snapshot {
    std::vector<Series> series;
    Histogram total{2};  // all requests since the start
    Histogram last_minute{2};
    std::uint64_t errors = 0;  // status 500 and above
    std::uint64_t last_minute_errors = 0;
    Duration last_minute_length_ns = 0;  // how much of the last minute has been watched
    std::int64_t active = 0;
    Histogram lag{2};  // of the event loop, the last minute
  };

  explicit RequestMetrics(Instant start) : start_(start) {}

  void begin() noexcept { active_.fetch_add(1, std::memory_order_relaxed); }
  void end(const RequestLabels& labels, const RequestTimes& times, Instant now) EXCLUDES(mutex_);
  // How long after its time a timer of the event loop ran.
  void record_lag(Duration lag_ns, Instant now) EXCLUDES(mutex_);

  // Takes the lock for one series after the other, so that a request never waits for a whole copy:
  // requests that end meanwhile may be in a series and not in the total.
  [[nodiscard]] Snapshot snapshot(Instant now) const EXCLUDES(mutex_);
  [[nodiscard]] std::int64_t active() const noexcept {
    return active_.load(std::memory_order_relaxed);
  }

 private:
  struct Slice {
    std::int64_t number = -1;  // start / kSliceLength
    Histogram times{2};
    Histogram lag{2};
    std::uint64_t errors = 0;
  };

  Series& series_for(const RequestLabels& labels) REQUIRES(mutex_);
  Slice& slice_at(Instant now) REQUIRES(mutex_);

  const Instant start_;
  std::atomic<std::int64_t> active_{0};
  mutable ForkMutex mutex_;  // a leaf
  std::map<std::string, Series, std::less<>> series_ GUARDED_BY(mutex_);
  std::string key_ GUARDED_BY(mutex_);  // reused for each look-up
  Histogram total_ GUARDED_BY(mutex_){2};
  std::uint64_t errors_ GUARDED_BY(mutex_) = 0;
  std::array<Slice, kSlices> slices_ GUARDED_BY(mutex_);
};

}  // namespace mcp::metrics
