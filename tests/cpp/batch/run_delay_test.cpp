// What a thread waits for a processor is told apart from what it waits for a lock.
#include "batch/run_delay.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <mutex>
#include <thread>

namespace mcp::batch {
namespace {

void stay_on(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  ASSERT_EQ(sched_setaffinity(0, sizeof set, &set), 0);
}

int first_processor() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) return i;
  }
  return 0;
}

TEST(RunDelay, GrowsWhileTwoThreadsWantOneProcessor) {
  const int processor = first_processor();
  std::atomic<int> delayed = 0;
  const auto work = [&] {
    stay_on(processor);
    const Duration before = thread_run_delay();
    const Duration limit = thread_cpu_time() + 10 * kSecond;
    bool counted = false;
    while (delayed < 2 && thread_cpu_time() < limit) {
      if (counted || thread_run_delay() - before < kMillisecond) continue;
      counted = true;
      ++delayed;
    }
  };
  std::thread one(work);
  std::thread other(work);
  one.join();
  other.join();
  EXPECT_EQ(delayed, 2);
}

TEST(RunDelay, LeavesOutWhatAThreadWaitsForALock) {
  std::mutex mutex;
  std::atomic<bool> waits = false;
  Duration waited = 0;
  Duration delayed = 0;
  mutex.lock();
  std::thread waiter([&] {
    const Instant began = now_precise();
    const Duration before = thread_run_delay();
    waits = true;
    const std::lock_guard lock(mutex);
    delayed = thread_run_delay() - before;
    waited = now_precise() - began;
  });
  while (!waits) std::this_thread::yield();
  const Instant until = now_precise() + 50 * kMillisecond;
  while (now_precise() < until) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  mutex.unlock();
  waiter.join();
  EXPECT_GE(waited - delayed, 25 * kMillisecond) << "waited " << waited << ", delayed " << delayed;
}

}  // namespace
}  // namespace mcp::batch
