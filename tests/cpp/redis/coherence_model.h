// coherence_model.h: one key of a Redis server, the two connections to it, two threads and a
// foreign client, as a world that moves one step at a time. Every order of its steps is a schedule
// that the real parts could run into. The world says when a rule of coherence is broken.
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "redis/coherence.h"

namespace mcp::redis {

// What a careless cache would do; the world must catch each.
enum class Flaw {
  kNone,
  kKeepsWhatever,        // does not ask keep()
  kBeginsAtTheReply,     // puts the placeholder when the value is there
  kKeepsAcrossALoss,     // the loss of a connection leaves placeholders alone
  kNoFlushAtALoss,       // and what is kept
  kNoFlushAtAReconnect,  // keeps what was put in while Redis was away
  kIgnoresNullMessages,
};

class World {
 public:
  enum class Step {
    kBeginGet0,
    kBeginGet1,  // a thread sends GET
    kPut0,
    kPut1,  // puts the value it got into the memory cache
    kKeep0,
    kKeep1,        // asks whether it may stay
    kOwnSet,       // SET on D, by nobody in particular
    kAwayPut0,     // thread 0 keeps a loaded value while Redis is away
    kServerRuns,   // the server takes the oldest command from D
    kDataArrives,  // the oldest reply arrives
    kNewsArrives,  // the oldest announcement arrives
    kForeignWrite,
    kFlushAll,
    kDataBreaks,
    kNewsBreaks,  // unnoticed as yet
    kLossNoticed,
    kReconnect,
    kCount,
  };

  explicit World(Flaw flaw) : flaw_(flaw) { machine_.connected(true); }

  [[nodiscard]] bool possible(Step step) const {
    const bool up = machine_.state() == Coherence::State::kTracking;
    switch (step) {
      case Step::kBeginGet0:
      case Step::kBeginGet1:
        return up && thread(step).phase == Phase::kIdle;
      case Step::kPut0:
      case Step::kPut1:
        return thread(step).phase == Phase::kHasValue;
      case Step::kKeep0:
      case Step::kKeep1:
        return thread(step).phase == Phase::kHasPut;
      case Step::kOwnSet:
        return up && requests_.size() < 3;
      case Step::kAwayPut0:
        return !up && threads_[0].phase == Phase::kIdle;
      case Step::kServerRuns:
        return !requests_.empty() && !data_broken_;
      case Step::kDataArrives:
        return !replies_.empty();
      case Step::kNewsArrives:
        return !news_.empty();
      case Step::kForeignWrite:
      case Step::kFlushAll:
        return true;
      case Step::kDataBreaks:
        return up && !data_broken_;
      case Step::kNewsBreaks:
        return up && !news_broken_;
      case Step::kLossNoticed:
        return up && (data_broken_ || news_broken_);
      case Step::kReconnect:
        return !up;
      case Step::kCount:
        break;
    }
    return false;
  }

  void take(Step step) {
    switch (step) {
      case Step::kBeginGet0:
      case Step::kBeginGet1:
        begin_get(step == Step::kBeginGet0 ? 0 : 1);
        break;
      case Step::kPut0:
      case Step::kPut1:
        put(step == Step::kPut0 ? 0 : 1);
        break;
      case Step::kKeep0:
      case Step::kKeep1:
        keep(step == Step::kKeep0 ? 0 : 1);
        break;
      case Step::kOwnSet:
        memory_.reset();
        requests_.push_back(kSet);
        break;
      case Step::kAwayPut0:
        threads_[0] = {Phase::kHasValue, machine_.begin("k"), version_, machine_.generation()};
        break;
      case Step::kServerRuns:
        run_server();
        break;
      case Step::kDataArrives:
        receive_data();
        break;
      case Step::kNewsArrives:
        receive_news();
        break;
      case Step::kForeignWrite:
        write();
        break;
      case Step::kFlushAll:
        ++version_;
        tracked_ = false;
        if (!news_broken_) news_.push_back(News::kAll);
        break;
      case Step::kDataBreaks:
        data_broken_ = true;
        tracked_ = false;  // the server forgets what a lost connection read
        break;
      case Step::kNewsBreaks:
        news_broken_ = true;
        news_.clear();
        break;
      case Step::kLossNoticed:
        lose();
        break;
      case Step::kReconnect:
        data_broken_ = news_broken_ = tracked_ = false;
        machine_.connected(true);
        if (flaw_ != Flaw::kNoFlushAtAReconnect) flush_arrived_ = true;
        break;
      case Step::kCount:
        break;
    }
  }

  // What a hit would answer now must be the server's value, unless the news that ends it is still
  // on its way. Empty when that holds.
  [[nodiscard]] std::string broken_rule() const {
    if (!memory_ || drop_arrived_ || flush_arrived_ || memory_->unsettled_by != kNobody) return {};
    if (memory_->generation != machine_.generation()) return "kept across a change of connection";
    const bool up = machine_.state() == Coherence::State::kTracking;
    const bool news_comes = !news_.empty() || data_broken_ || news_broken_;
    if (up && memory_->version != version_ && !news_comes) return "stale for ever";
    return {};
  }

  std::uint64_t kept = 0;
  std::uint64_t refused = 0;

 private:
  enum class Phase { kIdle, kWaits, kHasValue, kHasPut };
  enum class News { kKey, kAll };
  struct Thread {
    Phase phase = Phase::kIdle;
    FillId fill = kNoFill;
    int version = 0;
    std::uint64_t generation = 0;
  };
  struct Kept {
    int version;
    std::uint64_t generation;
    int unsettled_by;  // the thread that put it and has not asked keep() yet; kNobody
  };
  static constexpr int kSet = -1;
  static constexpr int kNobody = -1;

  [[nodiscard]] const Thread& thread(Step step) const {
    return threads_[step == Step::kBeginGet1 || step == Step::kPut1 || step == Step::kKeep1];
  }

  void begin_get(int number) {
    const FillId fill = flaw_ == Flaw::kBeginsAtTheReply ? kNoFill : machine_.begin("k");
    threads_[number] = {Phase::kWaits, fill, 0, machine_.generation()};
    requests_.push_back(number);
  }

  void put(int number) {
    Thread& thread = threads_[number];
    memory_ = Kept{thread.version, thread.generation, number};
    drop_arrived_ = flush_arrived_ = false;  // set() takes the news first
    thread.phase = Phase::kHasPut;
  }

  void keep(int number) {
    Thread& thread = threads_[number];
    const bool stays = machine_.keep(thread.fill) || flaw_ == Flaw::kKeepsWhatever;
    ++(stays ? kept : refused);
    if (!stays) memory_.reset();
    if (stays && memory_ && memory_->unsettled_by == number) memory_->unsettled_by = kNobody;
    thread = {};
  }

  void write() {
    ++version_;
    if (tracked_ && !news_broken_) news_.push_back(News::kKey);
    tracked_ = false;
  }

  void run_server() {
    const int request = requests_.front();
    requests_.pop_front();
    if (request == kSet) return write();
    tracked_ = true;
    replies_.push_back({request, version_});
  }

  void receive_data() {
    const auto [number, version] = replies_.front();
    replies_.pop_front();
    Thread& thread = threads_[number];
    thread.phase = Phase::kHasValue;
    thread.version = version;
    if (flaw_ == Flaw::kBeginsAtTheReply) thread.fill = machine_.begin("k");
  }

  void receive_news() {
    const News news = news_.front();
    news_.pop_front();
    if (news == News::kKey) {
      machine_.invalidated("k");
      drop_arrived_ = true;
    } else if (flaw_ != Flaw::kIgnoresNullMessages) {
      machine_.invalidated_all();
      flush_arrived_ = true;
    }
  }

  void lose() {
    if (flaw_ == Flaw::kKeepsAcrossALoss) {
      lost_with_flaw();
    } else {
      machine_.lost();
    }
    if (flaw_ != Flaw::kNoFlushAtALoss) flush_arrived_ = true;
    requests_.clear();
    replies_.clear();
    news_.clear();
    for (Thread& thread : threads_) {
      if (thread.phase == Phase::kWaits) thread = {};  // the command failed
    }
  }

  // A machine that goes through the loss and finds its placeholders as they were.
  void lost_with_flaw() {
    machine_.lost();
    for (Thread& thread : threads_) {
      if (thread.fill != kNoFill) thread.fill = machine_.begin("k");
    }
  }

  Flaw flaw_;
  Coherence machine_;
  std::array<Thread, 2> threads_;
  std::optional<Kept> memory_;
  bool drop_arrived_ = false;  // in the feed, taken before the next hit
  bool flush_arrived_ = false;
  std::deque<int> requests_;  // on D: a thread's GET, or kSet
  struct Answer {
    int thread;
    int version;
  };
  std::deque<Answer> replies_;
  std::deque<News> news_;
  int version_ = 0;
  bool tracked_ = false;
  bool data_broken_ = false;
  bool news_broken_ = false;
};

}  // namespace mcp::redis
