// options.h: where a Redis server is, or who knows it, and how long to wait for it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "redis/node.h"
#include "redis/reply_reader.h"
#include "redis/tls.h"

namespace mcp::redis {

// Servers that know which one is the master.
struct SentinelOptions {
  std::vector<Node> nodes;  // at least one
  std::string service;      // what they call the master
  std::string username;     // for them; empty: the default user
  std::string password;     // empty: no AUTH is sent
};

struct ClientOptions {
  std::string host = "127.0.0.1";
  int port = 6379;
  std::string unix_path;                     // used instead of host and port when it is not empty
  std::optional<SentinelOptions> sentinels;  // asked for the master, instead of host and port
  std::optional<TlsOptions> tls;             // for every connection
  std::string username;                      // empty: the default user
  std::string password;                      // empty: no AUTH is sent
  int database = 0;
  // From a command's submission, or from the start of a connection, to its end.
  Duration timeout = 250 * kMillisecond;
  // Whether the server announces changes of what was read, for a memory cache in front.
  bool tracking = false;
  // Whether it announces changes by this client too; else they are to be told in Request::changes.
  // Without it (NOLOOP) nothing says so when the server evicts a key, or no longer remembers that
  // it was read, while it serves a command of this client.
  bool announces_own = true;
  // Two of these may pass until a silent peer of the invalidation connection is given up.
  Duration ping_interval = kSecond;
  // Channels that are listened to besides, with tracking: each message on `news_channel` says who
  // changed a key, in eight letters, and names it; what `ident` changed is known here.
  // `life_channel` is this process's own, and says by its subscriber that it lives. A script that
  // this client runs says there what it changes, which is told in Request::changes: what is
  // announced between its "<" and its ">" (servers before 7.0.5, but for the last of 6.2), and the
  // names behind ">", each announced once, next (the others).
  std::string news_channel;
  std::string life_channel;
  std::string ident;
  // A key that names the database, with tracking; it is made where there is none, with a value that
  // begins with `identity` and is used once. When it holds something else than before (SWAPDB,
  // which announces nothing), everything is flushed.
  std::string identity_key;
  std::string identity;
  // The server is a node of a cluster, with tracking: one that has lost touch with the others may
  // have been replaced without knowing it, so it is left, and everything is flushed.
  bool cluster = false;
  // How often a lease is renewed; see lease.h.
  Duration renewal_interval = 500 * kMillisecond;
  std::size_t max_in_flight = 1000;
  ReplyLimits limits;

  // For messages; never the password.
  [[nodiscard]] std::string where() const {
    if (sentinels) return "the master " + sentinels->service;
    return unix_path.empty() ? Node{host, port}.text() : unix_path;
  }
};

}  // namespace mcp::redis
