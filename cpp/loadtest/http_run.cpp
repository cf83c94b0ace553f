// http_run.cpp: starts the generator threads of a run and joins them.
#include "loadtest/http_run.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/thread.h"
#include "http/http2_session.h"
#include "loadtest/http_worker.h"

namespace mcp::loadtest {
namespace {

constexpr int kProbeMs = 250;

void check(const HttpOptions& options) {
  const auto require = [](bool holds, const char* name, auto value, const char* expected) {
    if (!holds) throw invalid_argument(name, std::to_string(value), expected);
  };
  require(options.users >= 1, "concurrent_users", options.users, "1 or more");
  require(options.batch_size >= 1, "batch_size", options.batch_size, "1 or more");
  require(options.threads >= 1 && options.threads <= options.users, "threads", options.threads,
          "from 1 to concurrent_users");
  require(options.timeout_ns > 0, "timeout", options.timeout_ns, "more than 0");
  require(options.requests >= 1, "num_requests", options.requests, "1 or more");
  require(options.think_low_ns >= 0 && options.think_high_ns >= options.think_low_ns, "think_time",
          options.think_high_ns, "0 or more, the smaller one first");
  require(options.streams >= 1, "streams", options.streams, "1 or more");
  require(!options.http2 || http::Http2Session::built_in(), "http2", options.http2,
          "false: this build has no HTTP/2, for want of libnghttp2");
  if (options.endpoints.empty()) throw invalid_argument("target", "", "an address");
  if (options.requests == kNoBudget && options.duration_ns == kNever && !options.user_ramp &&
      (!options.rate || options.rate->length() == kNever)) {
    throw invalid_argument("num_requests", "None", "a number, or a duration");
  }
}

HttpOptions complete(HttpOptions options) {
  check(options);
  if (options.user_ramp) {
    options.duration_ns = std::min(options.duration_ns, options.user_ramp->length());
  }
  if (options.rate) options.duration_ns = std::min(options.duration_ns, options.rate->length());
  return options;
}

RecorderOptions recorder_options(const HttpOptions& options, const Scenario& scenario) {
  RecorderOptions result;
  for (const RequestKind& kind : scenario.kinds()) result.kinds.push_back(kind.name);
  result.highest_ns = std::max(metrics::Histogram::kDefaultHighest, options.timeout_ns);
  result.open_model = options.rate.has_value();
  result.first_byte = true;
  result.live_kinds = options.live_kinds;
  result.relays = options.relays;
  return result;
}

bool answers(const http::Endpoint& endpoint) {
  const http::ConnectOptions options{endpoint, {}, nullptr, 0, false};
  http::Transport connection;
  if (connection.open(options) != 0) return false;
  pollfd poll{connection.fd(), POLLOUT, 0};
  if (::poll(&poll, 1, kProbeMs) != 1) return false;
  int code = 0;
  socklen_t length = sizeof code;
  return ::getsockopt(connection.fd(), SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code == 0;
}

// "localhost" is two addresses, and most servers listen on one of them.
const http::Endpoint& choose(const std::vector<http::Endpoint>& endpoints) {
  if (endpoints.size() > 1) {
    const auto found = std::find_if(endpoints.begin(), endpoints.end(), answers);
    if (found != endpoints.end()) return *found;
  }
  return endpoints.front();
}

}  // namespace

HttpRun::HttpRun(HttpOptions options, std::shared_ptr<const Scenario> scenario)
    : options_(complete(std::move(options))),
      scenario_(std::move(scenario)),
      totals_(std::make_shared<Totals>(recorder_options(options_, *scenario_), options_.threads)),
      stop_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (stop_fd_ < 0)
    throw Error(ErrorKind::kLoadTest, "cannot start a run: " + http::describe_errno(errno));
  try {
    if (options_.use_tls) ssl_context_ = http::make_ssl_context(options_.tls);
  } catch (...) {
    ::close(stop_fd_);
    throw;
  }
}

HttpRun::~HttpRun() { ::close(stop_fd_); }

void HttpRun::stop() noexcept {
  control_.stop.store(true);
  const std::uint64_t one = 1;
  (void)!::write(stop_fd_, &one, sizeof one);
}

void HttpRun::run() {
  const http::ConnectOptions connect{choose(options_.endpoints), options_.host, ssl_context_.get(),
                                     options_.body_limit, options_.http2};
  const Instant start = now_precise();
  std::vector<std::exception_ptr> failures(static_cast<std::size_t>(options_.threads));
  const auto work = [&](int number) {
    try {
      HttpWorker worker({options_, *scenario_, connect, control_, stop_fd_, number, start},
                        totals_);
      worker.run();
    } catch (...) {
      failures[static_cast<std::size_t>(number)] = std::current_exception();
      stop();
    }
  };
  std::vector<std::thread> threads;
  for (int number = 1; number < options_.threads; ++number) {
    threads.push_back(start_thread("mcp-load", work, number));
  }
  work(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace mcp::loadtest
