#include "batch/arena_life.h"

#include <gtest/gtest.h>

#include <random>

namespace mcp::batch {
namespace {

using Fork = ArenaLife::Fork;

TEST(ArenaLife, AForkBeforeTheFirstLaunchIsReady) {
  ArenaLife life;
  EXPECT_EQ(life.prepare(0), Fork::kReady);
  EXPECT_FALSE(life.would_inherit());
}

TEST(ArenaLife, AForkDuringALaunchDoesNotWait) {
  ArenaLife life;
  EXPECT_TRUE(life.launch());
  EXPECT_EQ(life.prepare(0), Fork::kBusy);
  EXPECT_TRUE(life.would_inherit());
}

TEST(ArenaLife, AForkAfterALaunchHasTheThreadsEnded) {
  ArenaLife life;
  EXPECT_TRUE(life.launch());
  life.left();
  EXPECT_EQ(life.prepare(0), Fork::kEnd);
  EXPECT_EQ(life.prepare(0), Fork::kWait);
  life.ended(true);
  EXPECT_EQ(life.prepare(0), Fork::kReady);
  EXPECT_FALSE(life.would_inherit());
}

TEST(ArenaLife, ALaunchBetweenPreparingAndForkingIsInherited) {
  ArenaLife life;
  EXPECT_EQ(life.prepare(0), Fork::kReady);
  EXPECT_TRUE(life.launch());
  EXPECT_TRUE(life.would_inherit());
}

TEST(ArenaLife, ALaunchWhileThreadsEndDoesWithoutThem) {
  ArenaLife life;
  EXPECT_TRUE(life.launch());
  life.left();
  EXPECT_EQ(life.prepare(0), Fork::kEnd);
  EXPECT_FALSE(life.launch());
  life.ended(true);
  EXPECT_FALSE(life.would_inherit());
  EXPECT_TRUE(life.launch());
}

TEST(ArenaLife, AllForksTogetherWaitForOneEndOnlySoLong) {
  ArenaLife life;
  EXPECT_TRUE(life.launch());
  life.left();
  EXPECT_EQ(life.prepare(7), Fork::kEnd);
  EXPECT_EQ(life.wait_until(), 7 + ArenaLife::kPatience_ns);
  EXPECT_EQ(life.prepare(7 + ArenaLife::kPatience_ns - 1), Fork::kWait);
  for (int fork = 0; fork < 3; ++fork) {
    EXPECT_EQ(life.prepare(7 + ArenaLife::kPatience_ns + fork), Fork::kBusy);
    EXPECT_TRUE(life.would_inherit());
  }
}

TEST(ArenaLife, ThreadsThatCannotBeEndedAreInherited) {
  ArenaLife life;
  EXPECT_TRUE(life.launch());
  life.left();
  EXPECT_EQ(life.prepare(0), Fork::kEnd);
  life.ended(false);
  EXPECT_TRUE(life.would_inherit());
  EXPECT_TRUE(life.launch());
}

// What is true of the machine, whatever happens in which order.
class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) {}

  void step() {
    switch (random_() % 6) {
      case 0:
        return launch();
      case 1:
        return leave();
      case 2:
        return end();
      case 3:
        now_ += static_cast<Duration>(random_() % kSecond);
        return;
      default:
        return fork();
    }
  }

 private:
  void launch() {
    const bool on_tbb = life_.launch();
    ASSERT_EQ(on_tbb, !ending_);  // it never waits, and is refused for this reason alone
    if (!on_tbb) return;
    ++launches_;
    threads_ = true;
  }
  void leave() {
    if (launches_ == 0) return;
    --launches_;
    life_.left();
  }
  void end() {
    if (!ending_) return;
    ending_ = false;
    threads_ = random_() % 4 == 0;
    life_.ended(!threads_);
  }
  void fork() {
    switch (life_.prepare(now_)) {
      case Fork::kReady:
        ASSERT_FALSE(threads_);
        break;
      case Fork::kEnd:
        ASSERT_EQ(launches_, 0);
        ASSERT_FALSE(ending_);
        ending_ = true;
        ended_from_ = now_;
        break;
      case Fork::kWait:
        ASSERT_TRUE(ending_);
        ASSERT_LT(now_, ended_from_ + ArenaLife::kPatience_ns);
        break;
      case Fork::kBusy:
        ASSERT_TRUE(threads_);
        break;
    }
    ASSERT_EQ(life_.would_inherit(), threads_);
  }

  std::mt19937 random_;
  ArenaLife life_;
  Instant now_ = 0;
  Instant ended_from_ = 0;
  int launches_ = 0;
  bool threads_ = false;
  bool ending_ = false;
};

TEST(ArenaLife, HoldsItsInvariantsInAnyOrderOfEvents) {
  for (unsigned seed = 0; seed < 1000; ++seed) {
    Model model(seed);
    for (int i = 0; i < 100; ++i) ASSERT_NO_FATAL_FAILURE(model.step()) << seed;
  }
}

}  // namespace
}  // namespace mcp::batch
