// call_schedule.h: who calls next, and when, for targets that run in this process. A pure state
// machine: it is told the time and asked what a lane does now; whoever drives the lanes (an event
// loop, threads) waits and calls. A lane carries one request at a time; the lanes of one user
// (batch_size of them) start together.
// Thread-compatible.
// Invariant: each number below the budget is given out once, by one of the shares.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "loadtest/pacer.h"
#include "loadtest/ramp.h"
#include "loadtest/random.h"
#include "loadtest/recorder.h"

namespace mcp::loadtest {

struct CallOptions {
  int users = 1;
  int batch_size = 1;  // closed model only
  std::uint64_t requests = UINT64_MAX;
  Duration duration_ns = kNever;
  Duration warmup_ns = 0;
  Duration timeout_ns = 30 * kSecond;
  Duration think_low_ns = 0;
  Duration think_high_ns = 0;
  std::optional<Ramp> rate;
  Arrivals arrivals = Arrivals::kUniform;
  std::optional<Ramp> user_ramp;
  std::uint64_t seed = 0;
  // Of a run that several processes make together: how many, and which one this is, from 0. Users,
  // requests and arrivals of theirs are dealt out in turn.
  std::uint64_t shares = 1;
  std::uint64_t share = 0;
};

class CallSchedule {
 public:
  enum class Action {
    kStart,    // request `number` now; it was due at `at`
    kWait,     // until `at`
    kBlocked,  // until the other lanes of the user have ended
    kDone,
  };
  struct Decision {
    Action action;
    Instant at;
    std::uint64_t number;
  };

  // Nothing starts before `start`. `users` and `requests` are those of this share. Throws Error on
  // a bad option.
  CallSchedule(const CallOptions& options, Instant start);

  // REQUIRES: `lane` is not in a request. `recorder` takes what the schedule itself counts.
  Decision next(std::uint32_t lane, Instant now, Recorder& recorder);
  // The request of `lane` is over. Afterwards, and after kDone, blocked lanes of the same user may
  // have something to do.
  void ended(std::uint32_t lane, Instant now, Recorder& recorder) noexcept;
  void stop() noexcept { stopped_ = true; }

  [[nodiscard]] std::uint32_t lanes() const noexcept {
    return static_cast<std::uint32_t>(lanes_.size());
  }
  [[nodiscard]] std::uint32_t lanes_per_user() const noexcept { return lanes_per_user_; }
  [[nodiscard]] Instant measure_from() const noexcept { return measure_from_; }
  [[nodiscard]] Instant issue_until() const noexcept { return issue_until_; }

 private:
  struct Lane {
    Instant due = kNever;  // open model: the request that the lane has taken on
    Instant free_since = 0;
    std::uint64_t batches = 0;  // started by this lane
  };
  struct User {
    std::uint32_t started = 0;  // of the current batch
    std::uint32_t running = 0;
    std::uint64_t batches = 0;  // complete
    Instant rested_at = 0;      // end of the think time before the next batch
  };

  Decision next_due(std::uint32_t lane, Instant now, Recorder& recorder);
  Decision next_in_batch(std::uint32_t lane, Instant now);
  void count_unsent(Instant end, Recorder& recorder);
  Decision start(Instant intended, Instant now);
  // Of the whole run, of the request that is this one here.
  [[nodiscard]] std::uint64_t number(std::uint64_t given) const noexcept {
    return given * options_.shares + options_.share;
  }

  const CallOptions options_;
  const std::uint32_t lanes_per_user_;
  const Instant start_;
  const Instant measure_from_;
  const Instant issue_until_;
  std::vector<Lane> lanes_;
  std::vector<User> users_;
  std::optional<Pacer> pacer_;
  Random random_;
  std::uint64_t given_ = 0;
  std::uint64_t warmup_given_ = 0;
  bool stopped_ = false;
  bool closed_ = false;  // the unsent requests have been counted
};

}  // namespace mcp::loadtest
