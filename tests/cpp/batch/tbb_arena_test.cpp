#include "batch/tbb_arena.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <iterator>
#include <thread>

namespace mcp::batch {
namespace {

// prepare_fork() answers false while the thread of a launch is still on its way out.
void prepare_fork_when_idle() {
  while (!TbbArena::prepare_fork()) {
  }
}

// Each test ends with no thread left: LeakSanitizer, which looks when the process ends, takes for
// lost what a thread that is just ending has yet to free (glibc's record of a failed dlopen()).
struct TbbArenaTest : testing::Test {
  void TearDown() override { prepare_fork_when_idle(); }
};

// Runs `steps` steps on `workers` chains and waits for the last chain to end.
int run_steps(TbbArena& arena, unsigned workers, int steps) {
  std::atomic<int> left{steps};
  std::atomic<int> ran{0};
  std::atomic<unsigned> chains{workers};
  std::promise<void> ended;
  arena.launch(workers, [&] {
    if (left.fetch_sub(1) > 0) {
      ++ran;
      return true;
    }
    if (chains.fetch_sub(1) == 1) ended.set_value();
    return false;
  });
  ended.get_future().wait();
  return ran;
}

std::ptrdiff_t thread_count() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

// A thread that was joined is listed for a moment longer: here, and where it was counted before.
void wait_for_thread_count(std::ptrdiff_t most) {
  while (thread_count() > most) std::this_thread::yield();
}

// Forks; the arena is not to be used in the child.
void expect_unusable_in_child(const TbbArena& arena) {
  const pid_t child = fork();
  if (child == 0) {
    TbbArena::reset_after_fork_in_child();
    _exit(arena.usable() ? 1 : 0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(TbbArenaTest, EachChainRunsUntilItIsAnsweredFalse) {
  TbbArena arena;
  EXPECT_EQ(run_steps(arena, arena.concurrency(), 10'000), 10'000);
}

TEST_F(TbbArenaTest, ServesLaunchesAtTheSameTime) {
  TbbArena arena;
  std::vector<std::future<int>> runs;
  for (int i = 0; i < 4; ++i) {
    runs.push_back(std::async(std::launch::async, [&arena, workers = arena.concurrency()] {
      return run_steps(arena, workers, 2000);
    }));
  }
  for (auto& run : runs) EXPECT_EQ(run.get(), 2000);
}

TEST_F(TbbArenaTest, PreparingForAForkEndsItsThreads) {
  prepare_fork_when_idle();
  const auto before = thread_count();
  TbbArena arena;
  run_steps(arena, arena.concurrency(), 5000);
  prepare_fork_when_idle();
  wait_for_thread_count(before);
  EXPECT_EQ(run_steps(arena, arena.concurrency(), 100), 100);
}

TEST_F(TbbArenaTest, WorksInTheChildAndInTheParentAfterAFork) {
  TbbArena arena;
  run_steps(arena, arena.concurrency(), 1000);
  prepare_fork_when_idle();
  const pid_t child = fork();
  if (child == 0) {
    TbbArena::reset_after_fork_in_child();
    _exit(arena.usable() && run_steps(arena, arena.concurrency(), 1000) == 1000 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(run_steps(arena, arena.concurrency(), 1000), 1000);
}

TEST_F(TbbArenaTest, IsNotUsableInTheChildWhenALaunchCameBetweenPreparingAndForking) {
  TbbArena arena;
  prepare_fork_when_idle();
  run_steps(arena, arena.concurrency(), 1000);
  expect_unusable_in_child(arena);
}

TEST_F(TbbArenaTest, IsNotUsableInTheChildOfABusyFork) {
  TbbArena arena;
  std::promise<void> go;
  std::promise<void> inside;
  std::promise<void> ended;
  std::atomic<bool> first{true};
  arena.launch(1, [&] {
    if (!first.exchange(false)) {
      ended.set_value();
      return false;
    }
    inside.set_value();
    go.get_future().wait();
    return true;
  });
  inside.get_future().wait();
  EXPECT_FALSE(TbbArena::prepare_fork());
  expect_unusable_in_child(arena);
  go.set_value();
  ended.get_future().wait();
  EXPECT_TRUE(arena.usable());
}

// Holds up the end of each thread that touched it.
struct SlowToEnd {
  static inline std::promise<void> let_go;
  static inline std::shared_future<void> gone = let_go.get_future().share();
  std::shared_future<void> wait = gone;
  ~SlowToEnd() { wait.wait(); }
};

TEST_F(TbbArenaTest, AForkDoesNotWaitForThreadsThatAreSlowToEnd) {
  TbbArena arena;
  prepare_fork_when_idle();
  const auto before = thread_count();
  std::promise<void> ended;
  std::atomic<unsigned> chains{arena.concurrency()};
  arena.launch(arena.concurrency(), [&] {
    static thread_local SlowToEnd slow;
    if (!slow.wait.valid()) return true;
    if (chains.fetch_sub(1) == 1) ended.set_value();
    return false;
  });
  ended.get_future().wait();
  EXPECT_FALSE(TbbArena::prepare_fork());
  expect_unusable_in_child(arena);
  SlowToEnd::let_go.set_value();
  EXPECT_EQ(run_steps(arena, arena.concurrency(), 100), 100);
  prepare_fork_when_idle();
  wait_for_thread_count(before);
}

}  // namespace
}  // namespace mcp::batch
