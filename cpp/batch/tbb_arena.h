// tbb_arena.h: functions that compute, on Intel TBB.
//
// Safe from any thread. TBB keeps the number of threads over all launches of the process at the
// number of cores, and moves them between launches. Each launch has a thread that enters an arena
// and takes part: an arena that nobody waits in may get no worker at all. That thread and its arena
// end with the launch, because tbb::finalize succeeds only when nobody holds a part of TBB.
#pragma once

#include "batch/cpu_runner.h"

namespace mcp::batch {

class TbbArena final : public CpuRunner {
 public:
  void launch(unsigned workers, Step step) override;
  [[nodiscard]] unsigned concurrency() const noexcept override;
  // False in the child of a fork that came while TBB was at work: it would get no worker there.
  [[nodiscard]] bool usable() const noexcept override;

  // Before a fork: ends TBB's threads, so that parent and child start afresh. False while a launch
  // runs, and when they take longer than 0.5 s to end: the child then does without TBB, and so do
  // launches of the parent until they have ended. Never to be called with a lock that TBB's threads
  // need to end.
  static bool prepare_fork() noexcept;
  static void reset_after_fork_in_child() noexcept;
};

}  // namespace mcp::batch
