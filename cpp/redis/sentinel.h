// sentinel.h: whom to ask for the master, and what the answers mean. No socket, no clock.
//
// - A sentinel may be away, silent, of another opinion, or not know the master: each is asked in
//   its turn, and the one whose answer led to a master that serves is asked first the next time.
// - What a sentinel names may have been the master: whoever is reached says its role itself.
//
// Thread-compatible.
#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "redis/node.h"
#include "redis/reply.h"

namespace mcp::redis {

class Sentinels {
 public:
  explicit Sentinels(std::vector<Node> nodes) : nodes_(std::move(nodes)) {}  // REQUIRES: some

  // The one to ask now. Asked again, it is the next one's turn.
  [[nodiscard]] const Node& take_turn() noexcept {
    last_ = next_;
    next_ = (next_ + 1) % nodes_.size();
    return nodes_[last_];
  }
  // The last one was right: it is asked first the next time.
  void was_right() noexcept { next_ = last_; }

  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }

 private:
  std::vector<Node> nodes_;
  std::size_t next_ = 0;
  std::size_t last_ = 0;
};

// The master in a reply to SENTINEL GET-MASTER-ADDR-BY-NAME; nothing when the sentinel knows none,
// or answers something else.
[[nodiscard]] inline std::optional<Node> master_of(const Reply& reply) {
  if (reply.kind != Reply::Kind::kArray || reply.items.size() != 2) return std::nullopt;
  const std::string& host = reply.items[0].text;
  const std::string& digits = reply.items[1].text;
  int port = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  const bool whole = failure == std::errc{} && end == digits.data() + digits.size();
  if (host.empty() || host.find('\0') != std::string::npos || !whole) return std::nullopt;
  if (port < 1 || port > 65535) return std::nullopt;
  return Node{host, port};
}

// Whether a reply to ROLE is that of a server that takes writes.
[[nodiscard]] inline bool is_master(const Reply& reply) {
  return reply.kind == Reply::Kind::kArray && !reply.items.empty() &&
         reply.items[0].text == "master";
}

}  // namespace mcp::redis
