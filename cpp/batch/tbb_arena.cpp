#include "batch/tbb_arena.h"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <list>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"

namespace mcp::batch {
namespace {

// TBB's threads give their turns away a hundred times before they end. On an overloaded machine
// that took minutes; a fork does not wait for them longer than this.
constexpr Duration kForkPatience_ns = 500 * kMillisecond;

// Everything that this process runs on TBB.
struct Scheduler {
  Mutex mutex;
  std::list<std::thread> running GUARDED_BY(mutex);
  std::list<std::thread> ended GUARDED_BY(mutex);  // to be joined
  bool started GUARDED_BY(mutex) = false;          // TBB has threads
  bool ending GUARDED_BY(mutex) = false;           // `ender` is ending them
  CondVar not_ending;
  std::thread ender GUARDED_BY(mutex);
};

// Leaked on purpose: launches may outlive static destruction.
Scheduler* scheduler = new Scheduler;
std::atomic<bool> would_inherit{false};  // a child of a fork now could not use TBB
std::atomic<bool> inherited{false};      // this is such a child

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

// Before a launch runs: TBB's threads do not end from here on.
void begin(Scheduler& all) {
  const MutexLock lock(all.mutex);
  while (all.ending) all.not_ending.wait(all.mutex);
  all.started = true;
  would_inherit.store(true);  // also where the fork was prepared for already
}

// The ender's work: joins the threads of launches that are over, and ends TBB's.
void end_all(Scheduler& all) {
  std::list<std::thread> over;
  {
    const MutexLock lock(all.mutex);
    over.swap(all.ended);
  }
  join_all(over);
  tbb::task_scheduler_handle handle{tbb::attach{}};
  const bool finalized = tbb::finalize(handle, std::nothrow);
  const MutexLock lock(all.mutex);
  all.started = !finalized;
  all.ending = false;
  all.not_ending.notify_all();
}

// True: TBB has no thread. False: a launch runs, or its threads take longer to end than a fork
// waits.
bool end_threads(Scheduler& all) REQUIRES(all.mutex) {
  if (!all.running.empty()) return false;
  if (!all.started) return true;
  if (!all.ending) {
    if (all.ender.joinable()) all.ender.join();  // it has nothing left to do
    try {
      all.ender = std::thread(end_all, std::ref(all));
    } catch (...) {
      return false;
    }
    all.ending = true;
  }
  const Instant deadline = now_precise() + kForkPatience_ns;
  while (all.ending && all.running.empty()) {
    const Duration left = deadline - now_precise();
    if (left <= 0 || !all.not_ending.wait_for(all.mutex, left)) break;
  }
  if (all.ending || all.started) return false;
  all.ender.join();
  return true;
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
    begin(all);
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
  try {
    *self = std::thread(std::move(body));
  } catch (...) {
    all.running.erase(self);
    throw;
  }
}

bool TbbArena::prepare_fork() noexcept {
  if (inherited.load()) return true;
  Scheduler& all = *scheduler;
  const MutexLock lock(all.mutex);
  const bool ended = end_threads(all);
  would_inherit.store(!ended);
  return ended;
}

void TbbArena::reset_after_fork_in_child() noexcept {
  scheduler = new Scheduler;  // the parent's lock may have been held at the fork
  inherited.store(inherited.load() || would_inherit.load());
}

}  // namespace mcp::batch
