// http_worker.h: one generator thread of an HttpRun: an epoll loop over its share of the users.
// Not shared: constructed, run and destroyed by one thread. Takes no lock but that of Totals, once
// a second.
// Invariants: a lane is in flight exactly while it is in deadlines_; every ticket that was taken
// ends as one sample, one failure, one entry of returned_, or as abandoned.
//
// A request that met a kept connection which the server had given up without announcing it, so that
// nothing of an answer came, is sent once more on a new one, where that does no harm: its method is
// idempotent, or not a byte of it had gone out (RFC 9110, 9.2.2). No other goes out on a connection
// whose last answer was a 5xx, because servers close those unannounced, and a second failure would
// be the connection's. What an HTTP/2 peer says it has not processed is sent again as well. All are
// counted as reconnects.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "http/connection.h"
#include "loadtest/deadlines.h"
#include "loadtest/http2_lines.h"
#include "loadtest/http_run.h"
#include "loadtest/random.h"
#include "loadtest/recorder.h"
#include "loadtest/scenario.h"

namespace mcp::loadtest {

class HttpWorker {
 public:
  struct Setup {
    const HttpOptions& options;
    const Scenario& scenario;
    const http::ConnectOptions& connect;
    RunControl& control;
    int stop_fd;
    int number;  // of this worker
    Instant start;
  };
  // Throws Error when the event loop cannot be set up.
  HttpWorker(const Setup& setup, std::shared_ptr<Totals> totals);
  ~HttpWorker();
  HttpWorker(const HttpWorker&) = delete;
  HttpWorker& operator=(const HttpWorker&) = delete;

  void run();

 private:
  struct Lane {  // a request, and over HTTP/1.1 the connection that carries it
    http::Connection connection;
    std::uint32_t user = 0;
    Scenario::Choice choice{};
    std::uint64_t number = 0;
    Instant intended = 0;
    Instant sent = 0;
    Instant opened = 0;  // when it last began to connect
    int hops = 0;        // redirects followed
    int resent = 0;
    bool in_flight = false;
    bool was_up = false;               // has been connected before
    bool given_up = false;             // the server closed its connection without announcing it
    bool suspect = false;              // its connection's last answer was a 5xx
    bool is_head = false;              // of what was sent last
    std::string_view bytes;            // likewise
    std::string own_bytes;             // of a request that differs from the prepared one
    std::uint64_t received = 0;        // bytes that came before what was sent last
    std::unique_ptr<UserState> state;  // of a user that has something of its own
  };
  struct User {
    int outstanding = 0;  // requests of the current batch
    int refusals = 0;     // failures to connect in a row
    bool done = false;
  };
  enum class Start { kSent, kFailed, kOutOfTickets, kGeneratorLimited };

  // What the loop does.
  void loop();
  void handle(std::uint32_t lane, std::uint32_t events);
  [[nodiscard]] Instant next_wake(Instant now) const;
  void stop_issuing(Instant now);
  void expire(Instant now);
  void cut_off(Instant now);
  void give_up(std::uint32_t lane, std::string_view why, Instant at, Instant now);
  void look(Instant now);
  [[nodiscard]] bool finished() const;

  // Closed model.
  void start_batch(std::uint32_t user, Instant now);
  void wake_users(Instant now);
  void user_is_free(std::uint32_t user, Instant now);
  void finish_user(std::uint32_t user);
  [[nodiscard]] bool is_active(std::uint32_t user, Instant now) const;
  [[nodiscard]] double user_level(std::uint32_t user) const;
  // Of a user, or of a lane of an open model, among those of all threads of this process.
  [[nodiscard]] std::uint64_t number_here(std::uint32_t user) const noexcept {
    return static_cast<std::uint64_t>(number_) +
           std::uint64_t{user} * static_cast<std::uint64_t>(options_.threads);
  }
  [[nodiscard]] static Duration backoff(int refusals) noexcept;

  // Open model.
  void dispatch(Instant now);
  void note_lag(Instant due, Instant now);
  [[nodiscard]] Instant advance_schedule();

  // HTTP/2.
  void take_outcomes();
  [[nodiscard]] bool repeat(const Http2Lines::Outcome& outcome);
  void flush_http2();

  // One request.
  Start start(std::uint32_t lane, Instant intended, Instant now);
  [[nodiscard]] std::optional<std::string_view> request_of(Lane& lane, Instant now);
  [[nodiscard]] bool take_number(Instant now, std::uint64_t& number);
  [[nodiscard]] int transmit(std::uint32_t lane, std::string_view bytes, bool is_head);
  [[nodiscard]] int open_connection(std::uint32_t lane);
  [[nodiscard]] bool send_again(std::uint32_t lane, int most);
  void count_sent(Lane& lane);
  void note_connected(Lane& lane, Duration took, Instant up);
  [[nodiscard]] bool has_heard_enough(const Lane& lane) const;
  void complete(std::uint32_t lane, bool whole = true);
  [[nodiscard]] bool follow_redirect(std::uint32_t lane);
  void fail(std::uint32_t lane, std::string_view error, bool timed_out, Instant done,
            std::optional<std::string_view> body = std::nullopt);
  void end(std::uint32_t lane, Instant now);
  [[nodiscard]] const http::Response& response_of(std::uint32_t lane) const;
  [[nodiscard]] std::uint64_t bytes_of(std::uint32_t lane) const;
  [[nodiscard]] Instant last_byte_of(std::uint32_t lane) const;
  [[nodiscard]] Sample sample_of(std::uint32_t lane, Instant done) const;
  void start_measuring();

  const HttpOptions& options_;
  const Scenario& scenario_;
  const http::ConnectOptions& connect_;
  RunControl& control_;
  std::shared_ptr<Totals> totals_;
  const int stop_fd_;
  const int number_;
  const Instant start_;
  const Instant measure_from_;
  const Instant issue_until_;
  const Instant cut_at_;  // what is in flight then has not been answered
  Recorder recorder_;
  int epoll_ = -1;
  std::vector<char> buffer_;
  std::optional<Http2Lines> http2_;
  std::vector<Http2Lines::Outcome> outcomes_;  // being looked at
  std::vector<Lane> lanes_;
  std::vector<User> users_;
  Deadlines deadlines_;
  // When which user goes on: after thinking, after a refusal, when the ramp calls.
  using Wake = std::pair<Instant, std::uint32_t>;
  std::priority_queue<Wake, std::vector<Wake>, std::greater<>> wakes_;
  std::vector<std::uint64_t> returned_;  // numbers whose request could not be started
  std::optional<Pacer> pacer_;
  Instant next_due_ = kNever;
  std::vector<std::uint32_t> idle_;  // open model: free lanes, the warmest last
  Instant idle_since_ = 0;
  Instant next_look_ = 0;
  int bodies_to_keep_ = 0;  // of answers to come, for the example of a failure
  Random random_;
  std::size_t in_flight_ = 0;
  std::size_t users_left_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t failures_ = 0;
  Duration cpu_at_start_ = 0;
  bool measuring_ = false;
  bool issuing_ = true;
};

}  // namespace mcp::loadtest
