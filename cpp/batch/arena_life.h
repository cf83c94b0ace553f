// arena_life.h: when TBB has threads, when they may be ended, and how long a fork waits for that.
//
// A pure state machine: no clock, no lock, no thread. Thread-compatible.
// Invariants: threads are ended only while no launch is on TBB; a launch never waits for their end,
// it does without TBB then; a child that could inherit a thread is known to.
#pragma once

#include <cstddef>

#include "base/clock.h"

namespace mcp::batch {

class ArenaLife {
 public:
  // TBB's threads give their turns away a hundred times before they end. On an overloaded machine
  // that took minutes; all forks together do not wait for one end longer than this.
  static constexpr Duration kPatience_ns = 500 * kMillisecond;

  enum class Fork {
    kReady,  // TBB has no thread
    kBusy,   // it has some, and nothing to wait for
    kEnd,    // the caller has them ended, then asks again
    kWait,   // they are ending: until ended(), or wait_until()
  };

  // A launch comes. True: on TBB, until left(). False: it does without.
  [[nodiscard]] bool launch() {
    if (ending_) return false;
    ++launches_;
    has_threads_ = true;
    return true;
  }
  void left() { --launches_; }

  // Before a fork.
  [[nodiscard]] Fork prepare(Instant now) {
    if (ending_) return now < wait_until_ ? Fork::kWait : Fork::kBusy;
    if (!has_threads_) return Fork::kReady;
    if (launches_ > 0) return Fork::kBusy;
    ending_ = true;
    wait_until_ = now + kPatience_ns;
    return Fork::kEnd;
  }
  [[nodiscard]] Instant wait_until() const noexcept { return wait_until_; }

  // The end that prepare() asked for came about, or did not.
  void ended(bool without_threads) {
    ending_ = false;
    has_threads_ = !without_threads;
  }

  // Whether the child of a fork that happens now could not use TBB.
  [[nodiscard]] bool would_inherit() const noexcept { return has_threads_; }

 private:
  std::size_t launches_ = 0;  // on TBB
  bool has_threads_ = false;
  bool ending_ = false;
  Instant wait_until_ = 0;
};

}  // namespace mcp::batch
