// master_watch.h: a connection to one sentinel after the other, until one says where the master is;
// then to that one, which is asked again and again.
//
// Thread-compatible.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "redis/channel.h"
#include "redis/options.h"
#include "redis/sentinel.h"

namespace mcp::redis {

class MasterWatch {
 public:
  // Begins to ask. `options` and `sentinels` outlive it.
  MasterWatch(const ClientOptions& options, Sentinels& sentinels,
              std::shared_ptr<const TlsContext> tls, std::shared_ptr<WakeFd> wake);

  void add_poll(std::vector<pollfd>& polls) const { channel_.add_poll(polls, false); }
  // For messages.
  [[nodiscard]] std::string waits_for() const {
    return std::string(channel_.waits_for()) + " of the sentinel at " + channel_.where();
  }
  // What a sentinel has just said. Throws Error (kBackendUnavailable) when each has been asked in
  // vain.
  std::optional<Node> advance(std::span<const pollfd> polls);
  // Ask again: the same sentinel, or the next one if that has not answered yet.
  void ask_again();

 private:
  void ask_next(const std::string& failure);
  void ask();
  [[nodiscard]] std::optional<Node> take(const Reply& reply);

  const ClientOptions& options_;
  Sentinels& sentinels_;
  Channel channel_;
  std::size_t asked_ = 0;  // sentinels, since one has answered
};

}  // namespace mcp::redis
