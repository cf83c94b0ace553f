// lease.h: the leases that this process holds on keys that it loads, and when each is to be
// renewed.
//
// A lease says who loads a key. It lies in Redis (tiers/_scripts.py says how), ends by itself when
// it is not renewed, and is lost to whoever changes the key. Its holder renews it from here for as
// long as the load takes; whether it still holds is decided in Redis alone, at the store.
//
// - What is held is due one interval after it was taken, and then one interval after each renewal;
//   a load that is quicker than an interval is never renewed.
// - What was let go is never due again, whatever was due before.
//
// A pure state machine: no socket, no clock, no thread. Thread-compatible.
#pragma once

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace mcp::redis {

class HeldLeases {
 public:
  explicit HeldLeases(Duration interval) noexcept : interval_(interval) {}

  // `renewal`: the command that prolongs the lease in Redis, as it goes over the wire.
  void hold(const std::string& token, std::string renewal, Instant now) {
    held_.insert_or_assign(token, Held{std::move(renewal), now + interval_});
    next_ = std::min(next_, now + interval_);
  }

  // False: it was not held.
  bool let_go(const std::string& token) { return held_.erase(token) != 0; }

  // When something may be due; kNever while nothing is held.
  [[nodiscard]] Instant next() const noexcept { return held_.empty() ? kNever : next_; }

  // The renewals to send now.
  [[nodiscard]] std::vector<std::string> due(Instant now) {
    std::vector<std::string> commands;
    if (now < next()) return commands;
    next_ = kNever;
    for (auto& [token, held] : held_) {
      if (held.due_at <= now) {
        commands.push_back(held.renewal);
        held.due_at = now + interval_;
      }
      next_ = std::min(next_, held.due_at);
    }
    return commands;
  }

  [[nodiscard]] std::size_t size() const noexcept { return held_.size(); }

 private:
  struct Held {
    std::string renewal;
    Instant due_at;
  };

  const Duration interval_;
  std::unordered_map<std::string, Held> held_;
  Instant next_ = kNever;  // no later than any due_at
};

}  // namespace mcp::redis
