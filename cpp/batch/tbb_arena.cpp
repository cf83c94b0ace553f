// tbb_arena.cpp: launches work on TBB, and ends TBB's threads before a fork.
#include "batch/tbb_arena.h"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <list>
#include <system_error>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "batch/arena_life.h"

namespace mcp::batch {
namespace {

// Everything that this process runs on TBB.
struct Scheduler {
  Mutex mutex;
  std::list<std::thread> running GUARDED_BY(mutex);
  std::list<std::thread> ended GUARDED_BY(mutex);  // to be joined
  ArenaLife life GUARDED_BY(mutex);
  CondVar ended_or_not;                 // `ender` has done what it could
  std::thread ender GUARDED_BY(mutex);  // ends TBB's threads
};

// Leaked on purpose: launches may outlive static destruction.
Scheduler* scheduler = new Scheduler;
std::atomic<bool> would_inherit{false};  // a child of a fork now could not use TBB
std::atomic<bool> inherited{false};      // this is such a child

void chain(tbb::task_group& group, const CpuRunner::Step& step) {
  // A new task for each stretch: between two, TBB may move the thread to where it is needed more.
  group.run([&group, &step] {
    join_library_threads();
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

// While TBB's threads end: as many threads as there are chains.
void run_without_arena(unsigned workers, const CpuRunner::Step& step) {
  const auto run_chain = [&step] {
    while (step()) {
    }
  };
  std::list<std::thread> others;
  try {
    while (others.size() + 1 < workers) others.push_back(start_thread("mcp-batch-cpu", run_chain));
  } catch (const std::system_error&) {  // their chains come after this thread's
  }
  const std::size_t left_over = workers - 1 - others.size();
  run_chain();
  for (std::size_t i = 0; i < left_over; ++i) run_chain();
  join_all(others);
}

void note(const ArenaLife& life) { would_inherit.store(life.would_inherit()); }

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
  all.life.ended(finalized);
  note(all.life);
  all.ended_or_not.notify_all();
}

void start_ender(Scheduler& all) REQUIRES(all.mutex) {
  try {
    if (all.ender.joinable()) all.ender.join();  // it has nothing left to do
    all.ender = start_thread("mcp-batch-end", end_all, std::ref(all));
  } catch (const std::system_error&) {
    all.life.ended(false);
  }
}

// True: TBB has no thread. False: a launch runs, or its threads take longer to end than a fork
// waits.
bool end_threads(Scheduler& all) REQUIRES(all.mutex) {
  for (bool asked = false;;) {
    const Instant now = now_precise();
    switch (all.life.prepare(now)) {
      case ArenaLife::Fork::kReady:
        if (all.ender.joinable()) all.ender.join();
        return true;
      case ArenaLife::Fork::kBusy:
        return false;
      case ArenaLife::Fork::kEnd:
        if (std::exchange(asked, true)) {  // they cannot be ended now
          all.life.ended(false);
          return false;
        }
        start_ender(all);
        break;
      case ArenaLife::Fork::kWait:
        all.ended_or_not.wait_for(all.mutex, all.life.wait_until() - now);
        break;
    }
  }
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
  const bool on_tbb = all.life.launch();
  note(all.life);  // also where the fork was prepared for already
  auto body = [&all, self, on_tbb, workers, step = std::move(step)]() mutable {
    on_tbb ? run_in_arena(workers, step) : run_without_arena(workers, step);
    step = nullptr;
    std::list<std::thread> ended;
    {
      const MutexLock leaving(all.mutex);
      if (on_tbb) all.life.left();
      ended.swap(all.ended);
      all.ended.splice(all.ended.end(), all.running, self);
    }
    join_all(ended);  // here, because nobody waits for this thread with a lock held
  };
  try {
    *self = start_thread("mcp-batch-cpu", std::move(body));
  } catch (...) {
    if (on_tbb) all.life.left();
    all.running.erase(self);
    throw;
  }
}

bool TbbArena::prepare_fork() noexcept {
  if (inherited.load()) return true;
  Scheduler& all = *scheduler;
  const MutexLock lock(all.mutex);
  const bool ended = end_threads(all);
  note(all.life);
  return ended;
}

void TbbArena::reset_after_fork_in_child() noexcept {
  scheduler = new Scheduler;  // the parent's lock may have been held at the fork
  inherited.store(inherited.load() || would_inherit.load());
}

}  // namespace mcp::batch
