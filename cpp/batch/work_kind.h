// work_kind.h: whether a function computes or waits, told from what it used of its time.
//
// A pure state machine: no clock, no lock. Thread-compatible.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace mcp::batch {

enum class WorkKind {
  kMeasured,  // not known yet
  kCpu,       // uses the processor: more threads than cores only get in each other's way
  kBlocking,  // waits for something else: threads cost little while they wait
};

class KindProbe {
 public:
  // Evidence shorter than this proves nothing: a page fault looks like waiting.
  static constexpr Duration kEvidence_ns = 200 * kMicrosecond;
  // Calls that wait begin with computing (a connection is made, a page is touched for the first
  // time): one that is not finished proves that it computes only after this long.
  static constexpr Duration kLongEvidence_ns = 2 * kMillisecond;
  // At least this share of the time on the processor counts as computing.
  static constexpr double kCpuShare = 0.5;

  explicit KindProbe(WorkKind known = WorkKind::kMeasured) : kind_(known) {}

  // Adds finished work: how long it took, how much of that on the processor, and how often it gave
  // the processor away of its own accord. Without any, the rest of the time is the fault of a busy
  // machine.
  void record(Duration wall_ns, Duration cpu_ns, std::uint64_t sleeps = 1) {
    wall_ns_ += sleeps > 0 ? wall_ns : cpu_ns;
    cpu_ns_ += cpu_ns;
    if (kind_ == WorkKind::kMeasured && wall_ns_ >= kEvidence_ns) {
      kind_ = kind_of(wall_ns_, cpu_ns_);
    }
  }

  // Looks at work that is still running. Keeps nothing of it but the decision. `sleeping`: its
  // thread waits for something else than a processor.
  void observe(Duration wall_ns, Duration cpu_ns, bool sleeping = true) {
    if (kind_ != WorkKind::kMeasured || wall_ns + wall_ns_ < kEvidence_ns) return;
    const WorkKind looks = kind_of(wall_ns + wall_ns_, cpu_ns + cpu_ns_);
    if (looks == WorkKind::kBlocking && !sleeping) return;
    if (looks == WorkKind::kBlocking || wall_ns >= kLongEvidence_ns) kind_ = looks;
  }

  [[nodiscard]] WorkKind kind() const noexcept { return kind_; }

 private:
  static WorkKind kind_of(Duration wall_ns, Duration cpu_ns) {
    const double share = static_cast<double>(cpu_ns) / static_cast<double>(wall_ns);
    return share >= kCpuShare ? WorkKind::kCpu : WorkKind::kBlocking;
  }

  WorkKind kind_;
  Duration wall_ns_ = 0;
  Duration cpu_ns_ = 0;
};

}  // namespace mcp::batch
