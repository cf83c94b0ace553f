#include "base/signals.h"

#include <gtest/gtest.h>

#include <thread>

namespace mcp {
namespace {

bool blocks(int signal) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

TEST(SignalsBlocked, ThreadsThatStartMeanwhileGetNoSignalsAndItsOwnThreadDoesAgain) {
  const bool before = blocks(SIGINT);
  bool inside = false;
  {
    const SignalsBlocked blocked;
    std::thread([&inside] { inside = blocks(SIGINT) && blocks(SIGTERM); }).join();
  }
  EXPECT_TRUE(inside);
  EXPECT_EQ(blocks(SIGINT), before);
}

}  // namespace
}  // namespace mcp
