// turn_probe.h: whether the threads of a job take turns at one lock instead of working at the same
// time, told from what they waited for it.
//
// A pure state machine: no clock, no lock. Thread-compatible.
// Python code is of that kind: its threads hand the interpreter lock to each other, and whoever
// else asks for it comes last. One thread alone is as fast, and lets the others in.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace mcp::batch {

class TurnProbe {
 public:
  // Work and waiting, over all threads, that are evidence.
  static constexpr Duration kEvidence_ns = 5 * kMillisecond;
  // Waited at least this share of what was worked: the lock is held most of the time.
  static constexpr double kWaited = 0.4;

  // A chunk that ran beside others: on the processor, and before it could begin. `sleeps`: how
  // often it gave the processor away of its own accord.
  void record(Duration cpu_ns, Duration wait_ns, std::uint64_t sleeps) {
    if (alone_) return;
    ++chunks_;
    cpu_ns_ += cpu_ns;
    wait_ns_ += wait_ns;
    sleeps_ += sleeps;
    if (cpu_ns_ + wait_ns_ < kEvidence_ns) return;
    // Functions that sleep are waited for as well, and gain by every thread.
    alone_ = static_cast<double>(wait_ns_) >= kWaited * static_cast<double>(cpu_ns_) &&
             sleeps_ < chunks_;
    forget();
  }

  // Lets the threads work at the same time, and looks anew.
  void share() {
    alone_ = false;
    forget();
  }

  // One thread is to do the work.
  [[nodiscard]] bool alone() const noexcept { return alone_; }

 private:
  void forget() {
    chunks_ = sleeps_ = 0;
    cpu_ns_ = wait_ns_ = 0;
  }

  bool alone_ = false;
  std::uint64_t chunks_ = 0;
  std::uint64_t sleeps_ = 0;
  Duration cpu_ns_ = 0;
  Duration wait_ns_ = 0;
};

}  // namespace mcp::batch
