#include "batch/tbb_arena.h"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <thread>
#include <utility>

#include "base/mutex.h"

namespace mcp::batch {
namespace {

// Everything that this process runs on TBB.
struct Scheduler {
  Mutex mutex;
  std::list<std::thread> running GUARDED_BY(mutex);
  std::list<std::thread> ended GUARDED_BY(mutex);  // to be joined
};

// Leaked on purpose: launches may outlive static destruction.
Scheduler* scheduler = new Scheduler;
std::atomic<bool> started{false};    // TBB has threads, or would have in the parent
std::atomic<bool> inherited{false};  // ... which a forked child does not have

void chain(tbb::task_group& group, const CpuRunner::Step& step) {
  // A new task for each stretch: between two, TBB may move the thread to where it is needed more.
  group.run([&group, &step] {
    if (step()) chain(group, step);
  });
}

void run_in_arena(unsigned workers, const CpuRunner::Step& step) {
  tbb::task_arena arena(static_cast<int>(workers));
  arena.execute([&] {
    tbb::task_group group;
    for (unsigned i = 0; i < workers; ++i) chain(group, step);
    group.wait();  // takes part
  });
}

void join_all(std::list<std::thread>& threads) {
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

unsigned TbbArena::concurrency() const noexcept {
  return static_cast<unsigned>(std::max(1, tbb::info::default_concurrency()));
}

bool TbbArena::usable() const noexcept { return !inherited.load(); }

void TbbArena::launch(unsigned workers, Step step) {
  Scheduler& all = *scheduler;
  const MutexLock lock(all.mutex);
  const auto self = all.running.emplace(all.running.end());
  auto body = [&all, self, workers, step = std::move(step)]() mutable {
    run_in_arena(workers, step);
    step = nullptr;
    std::list<std::thread> ended;
    {
      const MutexLock leaving(all.mutex);
      ended.swap(all.ended);
      all.ended.splice(all.ended.end(), all.running, self);
    }
    join_all(ended);  // here, because nobody waits for this thread with a lock held
  };
  started.store(true);
  try {
    *self = std::thread(std::move(body));
  } catch (...) {
    all.running.erase(self);
    throw;
  }
}

bool TbbArena::prepare_fork() noexcept {
  if (!started.load() || inherited.load()) return true;
  std::list<std::thread> ended;
  {
    const MutexLock lock(scheduler->mutex);
    if (!scheduler->running.empty()) return false;
    ended.swap(scheduler->ended);
  }
  join_all(ended);
  tbb::task_scheduler_handle handle{tbb::attach{}};
  const bool finalized = tbb::finalize(handle, std::nothrow);
  if (finalized) started.store(false);
  return finalized;
}

void TbbArena::reset_after_fork_in_child() noexcept {
  scheduler = new Scheduler;  // the parent's lock may have been held at the fork
  inherited.store(started.load());
}

}  // namespace mcp::batch
