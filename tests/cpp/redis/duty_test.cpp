#include "redis/duty.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <tuple>
#include <vector>

#include "redis/busy_wait.h"

namespace mcp::redis {
namespace {

using DutyHolder = Duty::Holder;

// What a careless client would do; the world must notice each.
enum class DutyFlaw { kNone, kNoWakeUp, kLeavesToNobody, kNeverTakesFromLoops, kOneLoopForAll };

// Two threads that call, two loops, somebody who waits for nothing, the I/O thread and the server,
// as a world that moves one step at a time.
class DutyWorld {
 public:
  enum Step {
    kCall0,  // a thread sends a command, and will wait
    kCall1,
    kWait0,  // it begins to wait
    kWait1,
    kRead0,  // it reads, if it has the duty, and leaves when its reply has come
    kRead1,
    kGiveUp0,  // it leaves without its reply: a signal
    kGiveUp1,
    kLoopSends0,
    kLoopSends1,
    kLoopReads0,  // a loop that is not busy
    kLoopReads1,
    kPost,
    kServerReplies,
    kThreadTurns,  // the I/O thread was woken, or finds something
    kTimePasses,   // the oldest command has waited for long
    kCount,
  };

  explicit DutyWorld(DutyFlaw flaw) : flaw_(flaw) {}

  [[nodiscard]] bool possible(Step step) const {
    switch (step) {
      case kCall0:
      case kCall1:
        return callers_[step - kCall0] == Caller::kIdle && in_flight_.size() < kMost;
      case kWait0:
      case kWait1:
        return callers_[step - kWait0] == Caller::kSent;
      case kRead0:
      case kRead1:
        return callers_[step - kRead0] == Caller::kReads && replies_ > 0;
      case kGiveUp0:
      case kGiveUp1:
        return callers_[step - kGiveUp0] == Caller::kReads ||
               callers_[step - kGiveUp0] == Caller::kFollows;
      case kLoopSends0:
      case kLoopSends1:
      case kPost:
        return in_flight_.size() < kMost;
      case kLoopReads0:
      case kLoopReads1:
        return duty_.is_of(loop(step - kLoopReads0)) && replies_ > 0;
      case kServerReplies:
        return replies_ < in_flight_.size();
      case kThreadTurns:
        return woken_ || (polls_ && replies_ > 0);
      case kTimePasses:
        return duty_.holder() == DutyHolder::kLoop && flaw_ != DutyFlaw::kNeverTakesFromLoops;
      case kCount:
        break;
    }
    return false;
  }

  void take(Step step) {
    switch (step) {
      case kCall0:
      case kCall1:
        in_flight_.push_back(step - kCall0);
        callers_[step - kCall0] = Caller::kSent;
        break;
      case kWait0:
      case kWait1:
        begin_wait(step - kWait0);
        break;
      case kRead0:
      case kRead1:
        read();
        if (callers_[step - kRead0] == Caller::kIdle) leave();
        break;
      case kGiveUp0:
      case kGiveUp1:
        if (callers_[step - kGiveUp0] == Caller::kReads) leave();
        callers_[step - kGiveUp0] = Caller::kIdle;
        break;
      case kLoopSends0:
      case kLoopSends1: {
        const int which = flaw_ == DutyFlaw::kOneLoopForAll ? 0 : step - kLoopSends0;
        send(kLoops + step - kLoopSends0, loop(which));
        break;
      }
      case kPost:
        send(kNobody, nullptr);
        break;
      case kLoopReads0:
      case kLoopReads1:
        read();
        break;
      case kServerReplies:
        ++replies_;
        break;
      case kThreadTurns:
        if (polls_ || duty_.holder() == DutyHolder::kThread) read();
        turn();
        break;
      case kTimePasses:
        EXPECT_TRUE(duty_.take_from_loop());
        turn();
        break;
      case kCount:
        break;
    }
  }

  // Whether the reply to whatever is in flight will be read, though no loop ever runs again.
  [[nodiscard]] bool is_attended() const {
    if (in_flight_.empty()) return true;
    for (const Caller caller : callers_) {
      if (caller == Caller::kSent || caller == Caller::kReads) return true;
    }
    switch (duty_.holder()) {
      case DutyHolder::kThread:
        return polls_ || woken_;
      case DutyHolder::kLoop:  // until time passes
        return flaw_ != DutyFlaw::kNeverTakesFromLoops && is_of_one_loop();
      default:
        return false;
    }
  }

  [[nodiscard]] auto key() const {
    return std::tuple(in_flight_, replies_, callers_, duty_.holder(), duty_.is_of(loop(0)), polls_,
                      woken_);
  }

 private:
  enum class Caller { kIdle, kSent, kReads, kFollows };
  static constexpr std::size_t kMost = 3;
  static constexpr int kLoops = 2;  // whose command: 0 and 1 of callers, 2 and 3 of loops
  static constexpr int kNobody = 4;

  static Duty::Loop loop(int which) {
    static constexpr std::array<char, 2> kPlaces{};
    return &kPlaces[static_cast<std::size_t>(which)];
  }

  void begin_wait(int caller) {
    Caller& state = callers_[static_cast<std::size_t>(caller)];
    const bool answered =
        std::find(in_flight_.begin(), in_flight_.end(), caller) == in_flight_.end();
    if (answered) {
      state = Caller::kIdle;
    } else {
      state = duty_.waits() ? Caller::kReads : Caller::kFollows;
    }
  }
  void send(int whose, Duty::Loop loop) {
    in_flight_.push_back(whose);
    wake(duty_.sent(loop));
  }
  void leave() {
    const bool given = duty_.left(!in_flight_.empty() && flaw_ != DutyFlaw::kLeavesToNobody);
    wake(given);
  }
  void wake(bool given) {
    if (given && flaw_ != DutyFlaw::kNoWakeUp) woken_ = true;
  }
  void read() {
    while (replies_ > 0) {
      const int whose = in_flight_.front();
      in_flight_.erase(in_flight_.begin());
      --replies_;
      if (whose < kLoops && callers_[static_cast<std::size_t>(whose)] != Caller::kSent) {
        callers_[static_cast<std::size_t>(whose)] = Caller::kIdle;
      }
    }
    if (in_flight_.empty()) duty_.ended();
  }
  void turn() {
    woken_ = false;
    polls_ = duty_.holder() == DutyHolder::kThread;
  }
  [[nodiscard]] bool is_of_one_loop() const {
    for (const int whose : in_flight_) {
      const bool is_mine = whose == kLoops + (duty_.is_of(loop(0)) ? 0 : 1);
      if (whose >= kLoops && whose != kNobody && !is_mine) return false;
    }
    return true;
  }

  const DutyFlaw flaw_;
  Duty duty_;
  std::vector<int> in_flight_;
  std::size_t replies_ = 0;  // that have come and are not read
  std::array<Caller, 2> callers_{};
  bool polls_ = false;  // the I/O thread sleeps, and looks for replies
  bool woken_ = false;
};

// Goes through every state that any order of steps leads to; false when one is not attended.
bool is_always_attended(DutyFlaw flaw, std::size_t& states) {
  std::set<decltype(std::declval<DutyWorld>().key())> seen;
  std::vector<DutyWorld> open{DutyWorld(flaw)};
  seen.insert(open.back().key());
  while (!open.empty()) {
    const DutyWorld world = open.back();
    open.pop_back();
    if (!world.is_attended()) return false;
    for (int step = 0; step < DutyWorld::kCount; ++step) {
      if (!world.possible(static_cast<DutyWorld::Step>(step))) continue;
      DutyWorld next = world;
      next.take(static_cast<DutyWorld::Step>(step));
      if (seen.insert(next.key()).second) open.push_back(next);
    }
  }
  states = seen.size();
  return true;
}

TEST(Duty, SomebodyLooksForEveryReplyInEveryOrderOfSteps) {
  std::size_t states = 0;
  EXPECT_TRUE(is_always_attended(DutyFlaw::kNone, states));
  EXPECT_GT(states, 500U);
}

TEST(Duty, TheWorldNoticesWhatACarelessClientDoes) {
  std::size_t states = 0;
  for (const DutyFlaw flaw : {DutyFlaw::kNoWakeUp, DutyFlaw::kLeavesToNobody,
                              DutyFlaw::kNeverTakesFromLoops, DutyFlaw::kOneLoopForAll}) {
    EXPECT_FALSE(is_always_attended(flaw, states)) << static_cast<int>(flaw);
  }
}

TEST(Duty, IsTheThreadsWhereNobodyWaits) {
  Duty duty;
  EXPECT_TRUE(duty.sent(nullptr));
  EXPECT_EQ(duty.holder(), DutyHolder::kThread);
  EXPECT_FALSE(duty.waits());
  duty.ended();
  EXPECT_EQ(duty.holder(), DutyHolder::kNobody);
}

TEST(Duty, IsTakenFromALoopByWhoeverWaits) {
  Duty duty;
  const int loop = 0;
  EXPECT_FALSE(duty.sent(&loop));
  EXPECT_TRUE(duty.is_of(&loop));
  EXPECT_TRUE(duty.waits());
  EXPECT_FALSE(duty.is_of(&loop));
  EXPECT_TRUE(duty.left(true));
  EXPECT_EQ(duty.holder(), DutyHolder::kThread);
}

// Of so many commands, those that were waited for awake, where replies take so long.
int awake_of(BusyWait& wait, int commands, Duration awake, Duration asleep) {
  int count = 0;
  for (int i = 0; i < commands; ++i) {
    const Duration limit = wait.begin();
    EXPECT_LE(limit, BusyWait::kLongest);
    count += limit > 0;
    wait.came_after(limit > 0 ? awake : asleep);
  }
  return count;
}

TEST(BusyWait, IsForRepliesThatComeSoonerForIt) {
  BusyWait wait(2);
  awake_of(wait, 2000, 40 * kMicrosecond, 80 * kMicrosecond);
  EXPECT_GT(awake_of(wait, 1024, 40 * kMicrosecond, 80 * kMicrosecond), 980);
  awake_of(wait, 5000, 90 * kMicrosecond, 80 * kMicrosecond);  // the machine is busy now
  EXPECT_LT(awake_of(wait, 1024, 90 * kMicrosecond, 80 * kMicrosecond), 40);
  awake_of(wait, 5000, 40 * kMicrosecond, 80 * kMicrosecond);
  EXPECT_GT(awake_of(wait, 1024, 40 * kMicrosecond, 80 * kMicrosecond), 980);
}

TEST(BusyWait, EndsWhereRepliesAreSometimesLateForIt) {
  BusyWait wait(2);
  int awake = 0;
  for (int i = 0; i < 4000; ++i) {  // one in twenty takes a slice of somebody else's time
    const bool is_awake = wait.begin() > 0;
    awake += is_awake;
    wait.came_after(!is_awake     ? 25 * kMicrosecond
                    : i % 20 == 0 ? 3 * kMillisecond
                                  : 10 * kMicrosecond);
  }
  EXPECT_LT(awake, 1000);
}

TEST(BusyWait, IsNotForADistantServer) {
  BusyWait wait(2);
  awake_of(wait, 2000, 400 * kMicrosecond, 400 * kMicrosecond);
  EXPECT_LT(awake_of(wait, 1024, 400 * kMicrosecond, 400 * kMicrosecond), 40);
}

TEST(BusyWait, LeavesTheOnlyProcessorToTheServer) {
  BusyWait wait(1);
  EXPECT_EQ(awake_of(wait, 2000, 40 * kMicrosecond, 80 * kMicrosecond), 0);
}

}  // namespace
}  // namespace mcp::redis
