// report.h: the figures of one run, as plain data. Times are nanoseconds.
// Thread-compatible.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "metrics/histogram.h"

namespace mcp::loadtest {

// Failures by kind: "timeout", "connection refused", "status 503", ...
using ErrorCounts = std::map<std::string, std::uint64_t, std::less<>>;
// What the first failure of a kind looked like, where more than its kind is known.
using ErrorExamples = std::map<std::string, std::string, std::less<>>;

// One second of the run.
struct SecondPoint {
  std::uint64_t successful = 0;
  std::uint64_t failed = 0;
  std::uint64_t bytes = 0;
  Duration p50_ns = 0;
  Duration p95_ns = 0;
  Duration p99_ns = 0;
  Duration max_ns = 0;
};

// A time in which users waited and no thread saw a request end, but for timeouts.
struct Gap {
  Duration start_ns = 0;     // from the end of the warm-up
  Duration length_ns = 0;    // up to the next completion, or to where nobody was to send any more
  std::uint64_t caught = 0;  // requests that were in flight at its end, or timed out in it
};

struct KindReport {
  std::string name;
  std::uint64_t successful = 0;
  std::uint64_t failed = 0;
  std::uint64_t bytes = 0;
  metrics::Histogram response;
};

struct Report {
  explicit Report(Duration highest_ns)
      : response(3, highest_ns),
        service(3, highest_ns),
        send_lag(3, highest_ns),
        late(3, highest_ns),
        first_byte(3, highest_ns),
        connect(3, highest_ns) {}

  std::uint64_t successful = 0;
  std::uint64_t failed = 0;
  std::uint64_t in_time = 0;          // successful, and done before the planned end of the run
  std::uint64_t not_sent = 0;         // were due and never got onto a connection
  std::uint64_t abandoned = 0;        // in flight when the run was stopped
  std::uint64_t warmup = 0;           // requests of the warm-up, which count nowhere else
  std::uint64_t waited_for_user = 0;  // were due while every user was busy
  Duration last_due_ns = 0;           // open model: when the last request was due and was sent,
  Duration last_sent_ns = 0;          // both from the start of the run
  std::uint64_t reconnects = 0;       // requests sent again: the server had given up the connection
  std::uint64_t parked_users = 0;     // users that never got a connection of their own
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  Duration elapsed_ns = 0;  // from the end of the warm-up to the last completion or planned end
  Duration busy_ns = 0;     // service time, summed over all users
  Duration think_ns = 0;    // think time, summed over all users
  Duration generator_cpu_ns = 0;  // of the busiest generator thread
  // Of what was answered, and of timeouts, at the time they took.
  metrics::Histogram response;  // from the intended start
  metrics::Histogram service;   // from the actual start; empty where it is the response time
  metrics::Histogram send_lag;  // how late requests were sent though a user was free
  metrics::Histogram late;      // how late the generator came round to what was planned, sampled
  metrics::Histogram first_byte;
  metrics::Histogram connect;
  ErrorCounts errors;
  ErrorExamples examples;
  std::string generator_limit;  // what stopped the generator itself, empty if nothing did
  std::vector<SecondPoint> seconds;
  std::vector<Gap> gaps;  // in order; once every thread has finished
  std::vector<KindReport> kinds;
};

}  // namespace mcp::loadtest
