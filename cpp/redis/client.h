// client.h: commands to one Redis server, pipelined over one connection by one thread.
//
// Safe from any thread. The I/O thread and every descriptor come with the first command; nothing of
// it survives into a forked child, where the client must be abandoned (not destroyed) and made
// anew. A command ends exactly once, through its Done: with its replies, or with an Error:
//   kBackendUnavailable  refused at once (the breaker is open, too many in flight, closed), or lost
//                        with its connection, or not answered within the timeout
//   kProtocol            the peer does not speak Redis
// An error *reply* is a reply; see error_of(). A connection on which a command timed out is closed
// and never read again, so no answer can reach the wrong command. Nothing is sent twice.
//
// A command with a fill key is a read whose value may be kept in a memory cache: see coherence.h.
// What the memory cache must drop arrives on the feed.
//
// Locks: mutex_ is a leaf but for InvalidationFeed's own; no Done runs under it. A caller that
// finds nothing in flight sends for itself, under mutex_, without blocking; otherwise the I/O
// thread sends what has gathered. Only the I/O thread receives and closes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cache/invalidation_feed.h"
#include "redis/breaker.h"
#include "redis/coherence.h"
#include "redis/lease.h"
#include "redis/options.h"
#include "redis/send_buffer.h"
#include "redis/sentinel.h"
#include "redis/server_clock.h"
#include "redis/session.h"
#include "redis/wake_fd.h"

namespace mcp::redis {

struct Outcome {
  std::vector<Reply> replies;  // one a command of the request, in order
  std::optional<Error> error;  // then there are no replies
  FillId fill = kNoFill;       // to be ended by keep() or abandon()
  Instant submitted_at = 0;
};
// Called once, on the I/O thread or, for a command that is refused, in submit(). Must not throw,
// block, or call close().
using Done = std::function<void(Outcome)>;

struct Request {
  std::string bytes;  // commands as append_command() writes them
  std::uint32_t commands = 1;
  std::string fill_key;  // empty: nothing will be kept
  // Keys that the commands change. When the reply is here, fills of them that began before end;
  // without a fill key they are put on the feed as well, as if the server had announced them.
  std::vector<std::string> changes;
  Done done;
};

struct ClientStats {
  std::uint64_t requests = 0;     // submitted and accepted
  std::uint64_t refused = 0;      // by the breaker or the bound on what is in flight
  std::uint64_t timeouts = 0;     // connections given up because a command was not answered
  std::uint64_t connections = 0;  // that became ready
  std::uint64_t failures = 0;     // attempts to connect that failed
  std::uint64_t losses = 0;       // connections that were lost
  std::uint64_t protocol_errors = 0;
  std::uint64_t invalidations = 0;  // keys announced
  std::uint64_t flushes = 0;
  std::uint64_t fills_kept = 0;
  std::uint64_t fills_dropped = 0;                     // overtaken by an invalidation
  std::map<std::string, std::uint64_t> error_replies;  // by code, "other" past 32 codes
  std::size_t in_flight = 0;
  bool connected = false;
  bool tracking = false;
  Breaker::State breaker = Breaker::State::kClosed;
};

// Calls visit(name, value) for each figure that is a number, under the name that Python and the
// reports have for it.
template <class Visit>
void visit_fields(const ClientStats& stats, Visit&& visit) {
  visit("requests", stats.requests);
  visit("refused", stats.refused);
  visit("timeouts", stats.timeouts);
  visit("connections", stats.connections);
  visit("failures", stats.failures);
  visit("losses", stats.losses);
  visit("protocol_errors", stats.protocol_errors);
  visit("invalidations", stats.invalidations);
  visit("flushes", stats.flushes);
  visit("fills_kept", stats.fills_kept);
  visit("fills_dropped", stats.fills_dropped);
  visit("in_flight", stats.in_flight);
  visit("connected", stats.connected);
  visit("tracking", stats.tracking);
}

class Client {
 public:
  // `feed` may be null without tracking. Opens nothing but the files of TLS, to see what is wrong
  // with them: throws Error (kConfiguration).
  Client(ClientOptions options, std::shared_ptr<cache::InvalidationFeed> feed);
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void submit(Request request);
  // submit(), but while other commands are in flight it is left to flush() to send: what one turn
  // of an event loop submits goes out at once. True: flush() is to be called; where that comes
  // late, the I/O thread sends after kGatherLimit.
  [[nodiscard]] bool gather(Request request);
  void flush();
  // submit() and wait for the end; for callers without a loop of their own.
  [[nodiscard]] Outcome call(Request request);

  // Ends a fill whose value was put into the memory cache. False: take it out again.
  [[nodiscard]] bool keep(FillId fill);
  void abandon(FillId fill);
  // A fill for a value that did not come from Redis, because Redis is away; else kNoFill.
  [[nodiscard]] FillId begin_away(std::string_view key);

  // Whether keep() would be true now.
  [[nodiscard]] bool holds(FillId fill) const;
  // `key` was changed by us in a way that no reply tells of: fills of it end.
  void changed(std::string_view key);

  // Everything kept is to be dropped, and nothing that is being read is kept: whoever serves the
  // keys now may announce nothing of what was read here.
  void drop_all();

  // Whether others can tell by life_channel that this process lives; true until a server refuses.
  [[nodiscard]] bool shows_life() const;

  // The latest that the server's clock can show now, microseconds; nothing if it was never seen. It
  // is looked at with each heartbeat, where there is tracking.
  [[nodiscard]] std::optional<std::int64_t> latest_server_time() const;

  // Whether a connection was lost within the last `span`: it is likely to be back soon.
  [[nodiscard]] bool was_lost_within(Duration span) const;

  // Renews a lease by sending `renewal` now and then, until let_go().
  void hold(const std::string& token, std::string renewal);
  void let_go(const std::string& token);

  // Fails what is in flight, and joins the I/O thread. Safe to call again.
  void close();

  [[nodiscard]] ClientStats stats() const;
  [[nodiscard]] const ClientOptions& options() const noexcept { return options_; }

 private:
  static constexpr Duration kGatherLimit = 10 * kMillisecond;
  enum class State { kIdle, kConnecting, kReady, kDown, kClosed };
  struct Pending {
    std::uint32_t commands;
    std::vector<Reply> replies;
    std::string fill_key;
    FillId fill;
    std::vector<std::string> changes;
    Done done;
    Instant submitted_at;
  };
  using Finished = std::vector<std::pair<Done, Outcome>>;

  [[nodiscard]] std::optional<Error> refusal() REQUIRES(mutex_);
  void start_thread() REQUIRES(mutex_);
  void arm_timer(Instant at) REQUIRES(mutex_);
  void wake() REQUIRES(mutex_);
  [[nodiscard]] bool admit(Request request, bool gathers);
  void push(Request request, bool gathers = false) REQUIRES(mutex_);
  [[nodiscard]] bool may_send(Instant now) const REQUIRES(mutex_);

  // On the I/O thread.
  void run();
  bool prepare_turn(Duration& wait, bool& data_waits);
  void wait_for_events(std::vector<struct pollfd>& polls, Duration wait, bool data_waits);
  void turn(std::vector<struct pollfd>& polls);
  void become_ready(bool tracks);
  void announce(const SessionNews& news);
  void settle(std::vector<Reply> replies);
  [[nodiscard]] std::optional<Error> overdue();
  void lose(const Error& error, bool timed_out);
  void beat();
  void renew_leases();
  [[nodiscard]] Request heartbeat();
  void identified(const Outcome& outcome);
  [[nodiscard]] Instant deadline_of_head() const REQUIRES(mutex_);

  const ClientOptions options_;
  const std::shared_ptr<cache::InvalidationFeed> feed_;

  mutable Mutex mutex_;
  State state_ GUARDED_BY(mutex_) = State::kIdle;
  SendBuffer outbox_ GUARDED_BY(mutex_);
  std::deque<Pending> in_flight_
      GUARDED_BY(mutex_);                            // in the order of their commands; oldest first
  const Socket* data_ GUARDED_BY(mutex_) = nullptr;  // while kReady
  bool shows_life_ GUARDED_BY(mutex_) = true;
  bool woken_ GUARDED_BY(mutex_) = false;
  std::optional<Instant> gathers_since_ GUARDED_BY(mutex_);  // something waits for flush()
  bool timer_armed_ GUARDED_BY(mutex_) = false;
  Instant retry_at_ GUARDED_BY(mutex_) = 0;  // in kDown
  std::optional<Instant> lost_at_ GUARDED_BY(mutex_);
  std::string last_failure_ GUARDED_BY(mutex_);
  Breaker breaker_ GUARDED_BY(mutex_);
  Coherence coherence_ GUARDED_BY(mutex_);
  HeldLeases leases_ GUARDED_BY(mutex_);
  ServerClock server_clock_ GUARDED_BY(mutex_);
  ClientStats stats_ GUARDED_BY(mutex_);
  std::thread thread_ GUARDED_BY(mutex_);
  std::shared_ptr<WakeFd> wake_;  // made with the thread, constant afterwards
  int timer_fd_ = -1;             // likewise

  // Touched by the I/O thread alone.
  std::optional<Sentinels> sentinels_;
  std::unique_ptr<Session> session_;
  Instant attempt_ends_ = kNever;
  Instant next_beat_ = kNever;
  std::optional<std::string> identity_;  // what the identity key held
  std::uint64_t identities_ = 0;         // that were offered to it
  bool isolated_ = false;                // a node of a cluster said so
};

}  // namespace mcp::redis
