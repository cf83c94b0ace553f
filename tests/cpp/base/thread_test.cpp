#include "base/thread.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <string>

namespace mcp {
namespace {

TEST(StartThread, GetsNoSignalsAndHasItsName) {
  std::string name;
  bool blocks = false;
  int sum = 0;
  start_thread(
      "mcp-test",
      [&](int a, int b) {
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        blocks = sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGTERM) == 1;
        // Its creator names it, perhaps a moment after it began.
        char text[16];
        do {
          pthread_getname_np(pthread_self(), text, sizeof text);
          name = text;
        } while (name != "mcp-test");
        sum = a + b;
      },
      1, 2)
      .join();
  EXPECT_TRUE(blocks);
  EXPECT_EQ(name, "mcp-test");
  EXPECT_EQ(sum, 3);
}

}  // namespace
}  // namespace mcp
