#include "batch/blocking_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <vector>

#include "base/error.h"

namespace mcp::batch {
namespace {

TEST(BlockingPool, StartsNoThreadBeforeThereIsWork) {
  BlockingPool pool(4);
  EXPECT_EQ(pool.threads(), 0U);
}

TEST(BlockingPool, RunsWhatIsSubmittedAndCloseWaitsForIt) {
  std::atomic<int> ran{0};
  BlockingPool pool(3);
  for (int i = 0; i < 1000; ++i) pool.submit([&] { ++ran; });
  pool.close();
  EXPECT_EQ(ran.load(), 1000);
}

TEST(BlockingPool, StaysWithinItsLimit) {
  BlockingPool pool(2);
  std::promise<void> go;
  std::shared_future<void> gone = go.get_future().share();
  for (int i = 0; i < 10; ++i) pool.submit([gone] { gone.wait(); });
  EXPECT_EQ(pool.threads(), 2U);
  EXPECT_TRUE(pool.has_waiting());
  go.set_value();
  pool.close();
  EXPECT_FALSE(pool.has_waiting());
}

TEST(BlockingPool, UsesAnIdleThreadAgain) {
  BlockingPool pool(8);
  for (int i = 0; i < 3; ++i) {
    std::promise<void> ran;
    pool.submit([&] { ran.set_value(); });
    ran.get_future().wait();
  }
  EXPECT_LE(pool.threads(), 3U);
  pool.close();
}

TEST(BlockingPool, RefusesWorkAfterClose) {
  BlockingPool pool(1);
  pool.close();
  pool.close();
  EXPECT_THROW(pool.submit([] {}), Error);
}

TEST(BlockingPool, LeavesWithoutWaitingWhenDestroyed) {
  std::promise<void> go;
  std::promise<void> finished;
  {
    BlockingPool pool(1);
    std::promise<void> inside;
    pool.submit([&] {
      inside.set_value();
      go.get_future().wait();
      finished.set_value();
    });
    inside.get_future().wait();
  }
  go.set_value();
  finished.get_future().wait();
}

TEST(BlockingPool, AForkedChildAbandonsTheParentsThreads) {
  auto pool = std::make_unique<BlockingPool>(2);
  std::promise<void> go;
  pool->submit([gone = go.get_future().share()] { gone.wait(); });
  const pid_t child = fork();
  if (child == 0) {
    pool.reset();  // for ever, if it waited for threads or for a lock that they held
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  go.set_value();
  pool->close();
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace mcp::batch
