// session.h: one life of the connections to a server: D for commands and, with tracking, I for
// invalidations. It is made, becomes ready, and ends when either connection does; it is never
// repaired. It does not know which commands are in flight.
//
// Order of the start: the name is looked up (on a thread of its own), D connects, I connects, I
// learns its id and subscribes, D authenticates and asks for tracking to that id, and a PING closes
// the start, so that a server that refuses (NOAUTH, LOADING) or is silent is never ready.
//
// Thread-compatible; only data().send() may be called by another thread, see client.h.
#pragma once

#include <poll.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "redis/options.h"
#include "redis/reply_reader.h"
#include "redis/send_buffer.h"
#include "redis/socket.h"
#include "redis/wake_fd.h"

namespace mcp::redis {

// What one call of advance() found.
struct SessionNews {
  bool became_ready = false;
  bool heard = false;            // something arrived on I
  bool invalidated_all = false;  // a null invalidation
  std::vector<std::string> invalidated;
  std::vector<Reply> replies;  // of D, in the order of the commands
  std::optional<Error> lost;   // the session has ended; what stands above happened before
};

class Session {
 public:
  // Throws Error (kBackendUnavailable). `wake` is woken when a name was looked up.
  Session(const ClientOptions& options, std::shared_ptr<WakeFd> wake);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Appends what to poll for, D first. `data_waits`: bytes for D did not fit and wait.
  void add_polls(std::vector<pollfd>& polls, bool data_waits) const;
  // Takes the events of what add_polls() appended. Does not throw; see SessionNews::lost.
  SessionNews advance(const pollfd* polls, std::size_t count);

  void ping_invalidations();  // REQUIRES: tracks()
  [[nodiscard]] bool ready() const noexcept { return phase_ == Phase::kReady; }
  // The server announces changes. False when it was not asked to, or cannot.
  [[nodiscard]] bool tracks() const noexcept { return tracks_; }
  // Whether the server let us listen on life_channel, if there is one.
  [[nodiscard]] bool shows_life() const noexcept { return shows_life_; }
  [[nodiscard]] const Socket& data() const noexcept { return data_.socket; }

 private:
  enum class Phase { kLookUp, kConnectData, kConnectNews, kPrepareNews, kPrepareData, kReady };
  struct Channel {
    explicit Channel(const ReplyLimits& limits) : reader(limits) {}
    Socket socket;
    ReplyReader reader;
    SendBuffer out;                  // of the start, and pings
    std::vector<std::string> asked;  // the commands of the start that are not answered yet
  };
  struct LookUp;

  void look_up();
  void connect_data();
  void data_connected();
  void prepare_news();
  void prepare_data();
  void step(const pollfd& poll, Channel& channel, SessionNews& news);
  void read(Channel& channel, SessionNews& news);
  void take(Channel& channel, Reply reply, SessionNews& news);
  void take_start(Channel& channel, const Reply& reply, SessionNews& news);
  void take_invalidation(const Reply& reply, SessionNews& news) const;
  [[nodiscard]] bool may_go_on_without(const std::string& asked, const std::string& refusal);
  static void flush(Channel& channel);
  static void ask(Channel& channel, std::initializer_list<std::string_view> command);
  void authenticate(Channel& channel) const;

  const ClientOptions options_;
  const std::shared_ptr<WakeFd> wake_;
  std::shared_ptr<LookUp> look_up_;
  std::vector<Address> addresses_;  // to be tried, the last one first
  Address address_;                 // in use
  Phase phase_ = Phase::kLookUp;
  bool tracks_ = false;
  bool shows_life_ = true;
  std::string invalidation_id_;  // CLIENT ID of I
  Channel data_;
  Channel news_;
};

}  // namespace mcp::redis
