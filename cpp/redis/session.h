// session.h: one life of the connections to a server: D for commands and, with tracking, I for
// invalidations. It is made, becomes ready, and ends when either connection does; it is never
// repaired. It does not know which commands are in flight.
//
// Order of the start: where there are sentinels one is asked for the master; D is connected, I is
// connected to the same place, I learns its id and subscribes, D authenticates, makes sure that it
// speaks to a master, and asks for tracking to that id, and a PING closes the start, so that a
// server that refuses (NOAUTH, LOADING) or is silent is never ready.
//
// A master that another one has taken over from, by what a sentinel says, ends the session.
//
// Thread-compatible; only data().send() and data().holds_bytes() may be called by another thread,
// see client.h.
#pragma once

#include <poll.h>

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redis/channel.h"
#include "redis/master_watch.h"
#include "redis/options.h"
#include "redis/sentinel.h"
#include "redis/wake_fd.h"

namespace mcp::redis {

// What one call of advance() found.
struct SessionNews {
  bool became_ready = false;
  bool heard = false;            // something arrived on I
  bool invalidated_all = false;  // a null invalidation
  std::vector<std::string> invalidated;
  std::vector<Reply> replies;  // of D, in the order of the commands
  bool more = false;           // look() left some
  std::optional<Error> lost;   // the session has ended; what stands above happened before
};

class Session {
 public:
  // Throws Error (kBackendUnavailable). `wake` is woken when a name was looked up. `sentinels` are
  // those of `options`, or null; they outlive the session, as `options` do.
  Session(const ClientOptions& options, Sentinels* sentinels, std::shared_ptr<WakeFd> wake);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Appends what to poll for. `data_waits`: bytes for D did not fit and wait. Unless it
  // `reads_data`, another looks for the replies of D.
  void add_polls(std::vector<pollfd>& polls, bool data_waits, bool reads_data) const;
  // Takes the events of what add_polls() appended. Does not throw; see SessionNews::lost.
  SessionNews advance(std::span<const pollfd> polls);
  // What lies on I and D now; of D's, so many pieces at most. REQUIRES: ready(). Does not throw.
  SessionNews look(int pieces);

  void ping_invalidations();  // REQUIRES: tracks()
  // Has a sentinel asked whether the master is the same, if there are sentinels. Throws Error
  // (kBackendUnavailable) when none can be asked.
  void ask_for_master();
  [[nodiscard]] bool ready() const noexcept { return phase_ == Phase::kReady; }
  // What the start waits for, for messages.
  [[nodiscard]] std::string waits_for() const;
  // The server announces changes. False when it was not asked to, or cannot.
  [[nodiscard]] bool tracks() const noexcept { return tracks_; }
  // Whether the server let us listen on life_channel, if there is one.
  [[nodiscard]] bool shows_life() const noexcept { return shows_life_; }
  [[nodiscard]] const Socket& data() const noexcept { return data_.socket(); }

 private:
  enum class Phase { kFindMaster, kReachData, kReachNews, kPrepareNews, kPrepareData, kReady };

  Session(const ClientOptions& options, Sentinels* sentinels, std::shared_ptr<WakeFd> wake,
          std::shared_ptr<const TlsContext> tls);
  void take_master(std::span<const pollfd> polls);
  void data_is_up();
  void prepare_news();
  void prepare_data();
  void step(std::span<const pollfd> polls, Channel& channel, SessionNews& news);
  void take(Channel& channel, Reply reply, SessionNews& news);
  void take_start(Channel& channel, const Reply& reply, SessionNews& news);
  void take_invalidation(const Reply& reply, SessionNews& news);
  std::vector<std::string> end_own_change(SessionNews& news, bool is_known);
  void expect(std::string_view names, std::vector<std::string> before);
  [[nodiscard]] bool take_expected(const std::string& name);
  [[nodiscard]] bool may_go_on_without(const std::string& asked, const std::string& refusal);

  const ClientOptions& options_;
  Sentinels* const sentinels_;
  std::optional<MasterWatch> watch_;  // while there are sentinels
  Node master_;                       // that a sentinel named
  Phase phase_ = Phase::kReachData;
  bool tracks_ = false;
  bool shows_life_ = true;
  std::string invalidation_id_;       // CLIENT ID of I
  bool in_own_change_ = false;        // between its two messages on life_channel
  std::vector<std::string> own_;      // what was announced since the first of them
  std::deque<std::string> expected_;  // what of it comes after the second
  Channel data_;
  Channel news_;
};

}  // namespace mcp::redis
