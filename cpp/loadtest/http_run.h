// http_run.h: a load test over HTTP/1.1 or 2: generator threads, each with an event loop,
// connections and a recorder of its own, that share a budget of requests and the totals.
//
// Closed model: each user sends `batch_size` requests together, waits for all answers, thinks, and
// goes on. Open model: requests are due when the pacer says so, whoever is free sends them, and a
// request that waits for a free user has waited (its response time counts from when it was due).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "http/connection.h"
#include "http/tls.h"
#include "loadtest/pacer.h"
#include "loadtest/recorder.h"
#include "loadtest/scenario.h"

namespace mcp::loadtest {

inline constexpr std::uint64_t kNoBudget = UINT64_MAX;

struct HttpOptions {
  std::vector<http::Endpoint> endpoints;  // of one target; the first that answers is used
  std::string host;
  int port = 0;
  bool use_tls = false;
  http::TlsOptions tls;

  int users = 1;
  int batch_size = 1;  // closed model only
  int threads = 1;
  std::uint64_t requests = kNoBudget;
  Duration duration_ns = kNever;
  Duration warmup_ns = 0;
  Duration timeout_ns = 30 * kSecond;
  Duration drain_ns = kNever;  // after the planned end, for what is still in flight
  Duration think_low_ns = 0;   // think time: uniform between the two
  Duration think_high_ns = 0;
  std::optional<Ramp> rate;  // set: open model
  Arrivals arrivals = Arrivals::kUniform;
  std::optional<Ramp> user_ramp;  // closed model: how many of `users` are active
  std::uint64_t seed = 0;
  std::uint64_t shares = 1;  // as of CallOptions; `users` and `requests` are those of this share
  std::uint64_t share = 0;
  bool http2 = false;       // with TLS as with tls.http2, without by prior knowledge
  int streams = 100;        // HTTP/2: requests in flight that share a connection, at most
  bool live_kinds = false;  // report() has the kinds and errors while the run goes on
  bool relays = false;      // as of RecorderOptions
  bool follow_redirects = true;
  std::uint64_t body_limit = 64 << 20;
};

// What the threads of a run share. Safe from any thread.
struct RunControl {
  std::atomic<std::uint64_t> tickets{0};  // requests given out, warm-up apart
  std::atomic<std::uint64_t> warmup_tickets{0};
  std::atomic<bool> stop{false};
};

// run() is called once, from any thread; stop() and report() may be called meanwhile from others.
class HttpRun {
 public:
  // Throws Error on a bad option.
  HttpRun(HttpOptions options, std::shared_ptr<const Scenario> scenario);
  ~HttpRun();
  HttpRun(const HttpRun&) = delete;
  HttpRun& operator=(const HttpRun&) = delete;

  // Runs to the end, or until stop(). Throws Error if no generator could be set up.
  void run();
  // Starts nothing new and abandons what is in flight. Async-signal-safe.
  void stop() noexcept;

  [[nodiscard]] Report report() const { return totals_->report(); }
  [[nodiscard]] Totals& totals() noexcept { return *totals_; }
  [[nodiscard]] std::uint64_t completed() const noexcept { return totals_->completed.load(); }
  [[nodiscard]] std::uint64_t failures() const noexcept { return totals_->failures.load(); }
  [[nodiscard]] const HttpOptions& options() const noexcept { return options_; }

 private:
  const HttpOptions options_;
  std::shared_ptr<const Scenario> scenario_;
  std::shared_ptr<Totals> totals_;
  RunControl control_;
  http::SslContext ssl_context_;
  int stop_fd_;
};

}  // namespace mcp::loadtest
