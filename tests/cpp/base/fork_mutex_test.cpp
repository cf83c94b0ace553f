#include "base/fork_mutex.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

namespace mcp {
namespace {

// Threads that take a mutex and make and destroy others, while this one forks: each child can lock
// all.
TEST(ForkMutex, IsFreeInEveryChild) {
  ForkMutex shared;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        ForkMutex own;
        const MutexLock lock(own);
        const MutexLock other(shared);
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);  // ends a child that hangs
      {
        ForkMutex own;
        const MutexLock lock(shared);
        const MutexLock other(own);
      }
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "fork " << i;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace mcp
