// master_watch.cpp: asks the sentinels in turn.
#include "redis/master_watch.h"

#include <utility>

namespace mcp::redis {

MasterWatch::MasterWatch(const ClientOptions& options, Sentinels& sentinels,
                         std::shared_ptr<const TlsContext> tls, std::shared_ptr<WakeFd> wake)
    : options_(options),
      sentinels_(sentinels),
      channel_(options.limits, std::move(tls), std::move(wake)) {
  ask_next("");
}

// Those that cannot be reached at once are passed over. Throws when each has had its turn.
void MasterWatch::ask_next(const std::string& failure) {
  std::string last = failure;
  while (asked_ < sentinels_.size()) {
    ++asked_;
    try {
      return channel_.reach(sentinels_.take_turn());
    } catch (const Error& error) {
      last = error.what();
    }
  }
  channel_.close();
  asked_ = 0;
  throw Error(ErrorKind::kBackendUnavailable,
              "no sentinel says where " + options_.where() + " is: " + last);
}

void MasterWatch::ask() {
  channel_.ask({"SENTINEL", "GET-MASTER-ADDR-BY-NAME", options_.sentinels->service});
  channel_.flush();
}

void MasterWatch::ask_again() {
  if (channel_.is_up() && !channel_.awaits_reply()) return ask();
  asked_ = 0;
  ask_next("");
}

std::optional<Node> MasterWatch::advance(std::span<const pollfd> polls) {
  std::optional<Node> master;
  try {
    std::vector<Reply> replies;
    if (channel_.advance(polls, replies)) {
      channel_.authenticate(options_.sentinels->username, options_.sentinels->password);
      ask();
    }
    for (const Reply& reply : replies) {
      if (auto named = take(reply)) master = std::move(named);
    }
    if (!master) channel_.check();
  } catch (const Error& error) {
    ask_next(error.what());
  }
  return master;
}

std::optional<Node> MasterWatch::take(const Reply& reply) {
  if (!channel_.awaits_reply()) throw Error(ErrorKind::kProtocol, "it answered what nobody asked");
  const std::string asked = channel_.take_asked();
  const std::string whose = "the sentinel at " + channel_.where();
  if (reply.is_error()) {
    throw Error(ErrorKind::kBackendUnavailable,
                whose + " refused " + asked + ": " + std::string(error_code(reply.text)));
  }
  if (asked == "AUTH") return std::nullopt;
  auto master = master_of(reply);
  if (!master) throw Error(ErrorKind::kBackendUnavailable, whose + " knows no such master");
  asked_ = 0;
  return master;
}

}  // namespace mcp::redis
