// client.h: commands to one Redis server, pipelined over one connection.
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
// Replies are read by whoever waits for them, so that nobody has to be woken by another: a thread
// in wait(), or an event loop that watches the connection (look()); by the I/O thread where nobody
// else can be relied on (duty.h), which besides opens and closes connections, listens to what the
// server announces, and looks after timeouts, heartbeats and leases. Whoever reads replies first
// takes in what was announced, and does both under read_mutex_.
//
// Locks: mutex_ is a leaf but for those of InvalidationFeed, TlsStream and Watcher; no Done runs
// under it. read_mutex_ comes before it, and is never held while anyone waits; Done does run under
// it. A caller sends for itself, under mutex_, without blocking; what does not fit, or was gathered
// and not flushed, the I/O thread sends.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cache/invalidation_feed.h"
#include "redis/breaker.h"
#include "redis/busy_wait.h"
#include "redis/coherence.h"
#include "redis/countdown.h"
#include "redis/duty.h"
#include "redis/lease.h"
#include "redis/options.h"
#include "redis/send_buffer.h"
#include "redis/sentinel.h"
#include "redis/server_clock.h"
#include "redis/session.h"
#include "redis/wake_fd.h"
#include "redis/watcher.h"

namespace mcp::redis {

struct Outcome {
  std::vector<Reply> replies;  // one a command of the request, in order
  std::optional<Error> error;  // then there are no replies
  FillId fill = kNoFill;       // to be ended by keep() or abandon()
  Instant submitted_at = 0;
};
// Called once, by whoever reads the replies or, for a command that is refused, in submit(). Must
// not throw, block, or call wait(), look() or close().
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
  // late, the I/O thread sends after kPatience. `loop`, if any, waits for the replies,
  // and is asked to watch for them.
  [[nodiscard]] bool gather(Request request, std::shared_ptr<Watcher> loop = nullptr);
  void flush();
  // Reads the replies that have come: for a loop that was asked to watch.
  void look();
  // For how long `loop`, if it has nothing else to do, had better ask again and again for the reply
  // to the only command in flight than sleep; see busy_wait.h.
  [[nodiscard]] Duration busy_wait(const Watcher& loop);

  // submit() for a thread that goes on to wait(), in any case, before anything else: it is the one
  // that will read the replies, if nobody does so already. Each Done counts `ended` down.
  void submit_and_wait(std::span<Request> requests, Countdown& ended, Duration longest);
  // Waits until `ended` has, or no longer than that; a signal may end it too.
  void wait(Countdown& ended, Duration longest);
  // Both, for callers without a loop of their own.
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
  // With loops: for what they have gathered to be sent, and for replies to be read.
  static constexpr Duration kPatience = 10 * kMillisecond;
  // Pieces of 16 KiB that are read at a time; of a loop fewer, which has other work: what is longer
  // is for the I/O thread.
  static constexpr int kReadsATurn = 64;
  static constexpr int kReadsOfALoop = 8;
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

  // Who waits for a command, and how it goes out.
  struct Sender {
    std::shared_ptr<Watcher> loop;
    bool gathers = false;  // it may be left to flush()
    bool waits = false;    // the thread goes on to wait
  };

  [[nodiscard]] std::optional<Error> refusal() REQUIRES(mutex_);
  void start_thread() REQUIRES(mutex_);
  void arm_timer(Instant at) REQUIRES(mutex_);
  void wake() REQUIRES(mutex_);
  [[nodiscard]] bool admit(Request request, Sender sender);
  void push(Request request, Sender sender) REQUIRES(mutex_);
  void send_out() REQUIRES(mutex_);
  [[nodiscard]] bool may_send(Instant now) const REQUIRES(mutex_);

  // Who reads: client_reading.cpp.
  void expect_reply(Sender sender) REQUIRES(mutex_);
  void give_to_thread(bool given) REQUIRES(mutex_);
  void unwatch() REQUIRES(mutex_);
  [[nodiscard]] const Socket* take_duty(Duration& busy);
  void leave_duty();
  [[nodiscard]] bool read_until(Countdown& ended, Instant end);
  enum class Read { kAll, kSome, kEnded };
  [[nodiscard]] Read read_now(int pieces);
  [[nodiscard]] std::optional<Error> receive(SessionNews news) REQUIRES(read_mutex_);
  void become_ready(bool tracks) REQUIRES(read_mutex_);
  void announce(const SessionNews& news) REQUIRES(read_mutex_);
  [[nodiscard]] std::optional<Error> settle(std::vector<Reply> replies) REQUIRES(read_mutex_);
  void identified(const Outcome& outcome) REQUIRES(read_mutex_);

  // On the I/O thread.
  void run();
  void connect_when_due();
  bool prepare_turn(std::vector<struct pollfd>& polls, Duration& wait);
  void turn(std::vector<struct pollfd>& polls);
  void begin_turn(const struct pollfd& woken, const struct pollfd& timer);
  [[nodiscard]] std::optional<Error> read_turn(std::span<const struct pollfd> polls)
      REQUIRES(read_mutex_);
  [[nodiscard]] std::optional<Error> overdue() REQUIRES(read_mutex_);
  void lose(const Error& error, bool timed_out);
  void leave_data() REQUIRES(mutex_);
  void end_session();
  void beat();
  void renew_leases();
  [[nodiscard]] Request heartbeat();
  [[nodiscard]] Instant deadline_of_head() const REQUIRES(mutex_);

  const ClientOptions options_;
  const std::shared_ptr<cache::InvalidationFeed> feed_;

  Mutex read_mutex_;
  mutable Mutex mutex_;
  State state_ GUARDED_BY(mutex_) = State::kIdle;
  SendBuffer outbox_ GUARDED_BY(mutex_);
  std::deque<Pending> in_flight_
      GUARDED_BY(mutex_);                            // in the order of their commands; oldest first
  const Socket* data_ GUARDED_BY(mutex_) = nullptr;  // while kReady
  Duty duty_ GUARDED_BY(mutex_);
  CondVar duty_left_;                                    // by a caller
  std::shared_ptr<Watcher> watcher_ GUARDED_BY(mutex_);  // that watches data_
  BusyWait busy_wait_ GUARDED_BY(mutex_);
  std::optional<Error> broken_ GUARDED_BY(mutex_);  // what somebody found, for the I/O thread
  bool is_stale_ GUARDED_BY(mutex_) = false;        // nothing that is in flight was sent over data_
  bool shows_life_ GUARDED_BY(mutex_) = true;
  bool woken_ GUARDED_BY(mutex_) = false;
  std::optional<Instant> gathers_since_ GUARDED_BY(mutex_);  // something waits for flush()
  Instant timer_at_ GUARDED_BY(mutex_) = kNever;
  Instant wakes_at_ GUARDED_BY(mutex_) = kNever;  // the I/O thread, if nothing happens
  Instant retry_at_ GUARDED_BY(mutex_) = 0;       // in kDown
  std::optional<Instant> lost_at_ GUARDED_BY(mutex_);
  std::string last_failure_ GUARDED_BY(mutex_);
  Breaker breaker_ GUARDED_BY(mutex_);
  Coherence coherence_ GUARDED_BY(mutex_);
  bool keeps_alone_ GUARDED_BY(mutex_) = false;  // begin_away() gave out a fill
  HeldLeases leases_ GUARDED_BY(mutex_);
  ServerClock server_clock_ GUARDED_BY(mutex_);
  ClientStats stats_ GUARDED_BY(mutex_);
  std::thread thread_ GUARDED_BY(mutex_);
  std::shared_ptr<WakeFd> wake_;  // made with the thread, constant afterwards
  int timer_fd_ = -1;             // likewise

  // Changed by the I/O thread alone.
  std::unique_ptr<Session> session_ GUARDED_BY(read_mutex_);
  std::optional<std::string> identity_ GUARDED_BY(read_mutex_);  // what the identity key held
  bool isolated_ GUARDED_BY(read_mutex_) = false;                // a node of a cluster said so

  // Touched by the I/O thread alone.
  std::optional<Sentinels> sentinels_;
  Instant attempt_ends_ = kNever;
  Instant next_beat_ = kNever;
  std::uint64_t identities_ = 0;  // that were offered to the identity key
};

}  // namespace mcp::redis
