#include "base/thread.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstddef>
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

TEST(StartThread, HasAStackThatPythonCodeFitsOn) {
  std::size_t size = 0;
  start_thread("mcp-test", [&] {
    pthread_attr_t attributes;
    ASSERT_EQ(pthread_getattr_np(pthread_self(), &attributes), 0);
    pthread_attr_getstacksize(&attributes, &size);
    pthread_attr_destroy(&attributes);
  }).join();
  constexpr std::size_t kLeast = std::size_t{1} << 20;
  EXPECT_GE(size, kLeast);
}

sigset_t mask_of_this_thread() {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return mask;
}

bool blocks(const sigset_t& mask, int signal) { return sigismember(&mask, signal) == 1; }

TEST(ApplicationSignals, AreThoseOfTheThreadThatStartedItAlsoThroughOthers) {
  sigset_t usr1;
  sigset_t before;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, &before);
  sigset_t inside;
  sigset_t after;
  const auto look = [&] {
    {
      const ApplicationSignals signals;
      inside = mask_of_this_thread();
    }
    after = mask_of_this_thread();
  };
  for (const bool through_another : {false, true}) {
    start_thread("mcp-outer", [&] {
      through_another ? start_thread("mcp-inner", look).join() : look();
    }).join();
    EXPECT_TRUE(blocks(inside, SIGUSR1));
    EXPECT_FALSE(blocks(inside, SIGTERM));
    EXPECT_FALSE(blocks(inside, SIGINT));
    EXPECT_TRUE(blocks(after, SIGTERM));
    EXPECT_TRUE(blocks(after, SIGINT));
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(ApplicationSignals, ChangeNothingOnAThreadOfTheApplication) {
  start_thread("mcp-test", [] {}).join();
  std::thread([] {
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, nullptr);
    const ApplicationSignals signals;
    const sigset_t inside = mask_of_this_thread();
    EXPECT_TRUE(blocks(inside, SIGTERM));
    EXPECT_FALSE(blocks(inside, SIGINT));
  }).join();
}

}  // namespace
}  // namespace mcp
