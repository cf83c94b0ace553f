// lease_model.h: one key in Redis, three processes that load it, and what may befall them, as a
// world that moves one step at a time. The record follows the rules of tiers/_scripts.py, in its
// words; the processes follow tiers/_tiered.py. The world says when a value that an invalidation
// overtook is stored, or served.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace mcp::redis {

// The record of one key. Time is the number of steps that were taken.
class LeaseRecord {
 public:
  using Token = int;
  using Stamp = int;
  enum class Kind { kNothing, kLease, kValue };
  enum class Found { kValue, kGranted, kBusy };

  // LOOK of a miss. `dead`: a token whose holder is known to have died.
  Found look(Token token, Token dead, Stamp now) {
    if (kind == Kind::kValue && stamp > tag_ended) return Found::kValue;
    if (kind == Kind::kLease && holder != dead && stamp > tag_ended) return Found::kBusy;
    kind = Kind::kLease;
    holder = token;
    stamp = now;
    return Found::kGranted;
  }
  // STORE of a load that holds `token` since `since`.
  bool store(Token token, Stamp since, int loaded) {
    const bool may =
        (kind == Kind::kLease && holder == token) || (kind == Kind::kValue && stamp <= since);
    if (!may || since <= tag_ended) {
      if (may) kind = Kind::kNothing;
      return false;
    }
    kind = Kind::kValue;
    stamp = since;
    value = loaded;
    return true;
  }
  void give_up(Token token) {
    if (kind == Kind::kLease && holder == token) kind = Kind::kNothing;
  }
  // DROP up to `until`; a tag ends likewise.
  void drop(Stamp until) {
    if (stamp <= until) kind = Kind::kNothing;
  }
  void end_tag(Stamp until) { tag_ended = std::max(tag_ended, until); }
  void lapse() {
    if (kind == Kind::kLease) kind = Kind::kNothing;
  }

  Kind kind = Kind::kNothing;
  Token holder = 0;
  Stamp stamp = 0;
  int value = 0;
  Stamp tag_ended = 0;
};

enum class LeaseFlaw {
  kNone,
  kStoresWhatever,   // without its lease
  kStampOfTheStore,  // a value speaks from when it was stored, not from when its load began
  kOwedWithoutDate,  // an owed deletion takes whatever is there: found as a newer value lost
  kOwedIsForgotten,  // a deletion that Redis refused is not made good
  kWaitsForTheDead,  // nobody takes over: found as a key that nobody can load
};

class LeaseWorld {
 public:
  static constexpr int kProcesses = 3;
  // What a process does next, then what befalls: 3 processes times 3, and 7 events.
  enum Step : int {
    kLook0,
    kLook1,
    kLook2,  // or looks again, if it waits
    kLoad0,
    kLoad1,
    kLoad2,  // reads the source
    kStore0,
    kStore1,
    kStore2,
    kChangeAndDelete,  // the source changes, and the key is deleted before anybody is told
    kChangeAndEndTag,
    kChangeAndOwe,  // Redis refuses the deletion: it is owed
    kPay,
    kDie0,   // process 0 dies
    kLapse,  // a lease was not renewed in time
    kCount,
  };

  explicit LeaseWorld(LeaseFlaw flaw) : flaw_(flaw) {}

  [[nodiscard]] bool possible(int step) const {
    if (step <= kLook2) {
      const Process& process = processes_[static_cast<std::size_t>(step)];
      return process.alive && (process.phase == Phase::kIdle || process.phase == Phase::kWaits);
    }
    if (step <= kLoad2) return at(step - kLoad0, Phase::kGranted);
    if (step <= kStore2) return at(step - kStore0, Phase::kLoaded);
    switch (step) {
      case kChangeAndDelete:
      case kChangeAndEndTag:
      case kChangeAndOwe:
        return changes_ < 2;
      case kPay:
        return owed_ != 0 && flaw_ != LeaseFlaw::kOwedIsForgotten;
      case kDie0:
        return faults_ < 2 && processes_[0].alive;
      case kLapse:
        return faults_ < 2 && record_.kind == LeaseRecord::Kind::kLease;
      default:
        return false;
    }
  }

  void take(int step) {
    ++now_;
    if (step <= kLook2) return look(step);
    if (step <= kLoad2) {
      Process& process = processes_[static_cast<std::size_t>(step - kLoad0)];
      process.value = source_;
      process.phase = Phase::kLoaded;
      return;
    }
    if (step <= kStore2) return store(step - kStore0);
    if (step == kDie0) {
      ++faults_;
      processes_[0].alive = false;
      return;
    }
    if (step == kLapse) {
      ++faults_;
      return record_.lapse();
    }
    if (step == kPay) return pay();
    ++changes_;
    source_ = now_;
    settled_ = now_;
    if (step == kChangeAndDelete) record_.drop(now_);
    if (step == kChangeAndEndTag) record_.end_tag(now_);
    if (step == kChangeAndOwe) owed_ = now_;
  }

  // What is wrong; empty if nothing is.
  [[nodiscard]] const std::string& wrong() const { return wrong_; }

  // At the end: whoever is alive can load what the source has, and is given it.
  void finish() {
    if (owed_ != 0 && flaw_ != LeaseFlaw::kOwedIsForgotten) pay();
    for (int round = 0; round < 8; ++round) {
      for (int number = 0; number < kProcesses; ++number) {
        Process& process = processes_[static_cast<std::size_t>(number)];
        if (!process.alive) continue;
        ++now_;
        if (process.phase == Phase::kIdle || process.phase == Phase::kWaits) look(number);
        if (process.phase == Phase::kGranted) {
          process.value = source_;
          process.phase = Phase::kLoaded;
        } else if (process.phase == Phase::kLoaded) {
          store(number);
        }
      }
    }
    if (record_.kind != LeaseRecord::Kind::kValue || record_.stamp <= record_.tag_ended) {
      wrong_ = "the key cannot be loaded any more";
    } else if (record_.value != source_ && wrong_.empty()) {
      wrong_ = "what is left is not what the source has";
    }
  }

 private:
  enum class Phase { kIdle, kWaits, kGranted, kLoaded };
  struct Process {
    bool alive = true;
    Phase phase = Phase::kIdle;
    int token = 0;
    int since = 0;
    int value = 0;
  };

  [[nodiscard]] bool at(int number, Phase phase) const {
    const Process& process = processes_[static_cast<std::size_t>(number)];
    return process.alive && process.phase == phase;
  }

  void look(int number) {
    Process& process = processes_[static_cast<std::size_t>(number)];
    process.token = now_;
    const bool knows = !processes_[0].alive && flaw_ != LeaseFlaw::kWaitsForTheDead;
    switch (record_.look(now_, knows ? processes_[0].token : 0, now_)) {
      case LeaseRecord::Found::kBusy:
        process.phase = Phase::kWaits;
        return;
      case LeaseRecord::Found::kValue:
        process.phase = Phase::kIdle;
        // Process 1 is the one that owes: it believes nothing older.
        if (number == 1 && record_.stamp <= owed_) return;
        if (record_.value < settled_ && (owed_ == 0 || number == 1))
          wrong_ = "served what is older";
        return;
      case LeaseRecord::Found::kGranted:
        process.phase = Phase::kGranted;
        process.since = now_;
        return;
    }
  }

  void store(int number) {
    Process& process = processes_[static_cast<std::size_t>(number)];
    process.phase = Phase::kIdle;
    const int since = flaw_ == LeaseFlaw::kStampOfTheStore ? now_ : process.since;
    if (flaw_ == LeaseFlaw::kStoresWhatever) {
      record_.kind = LeaseRecord::Kind::kLease;
      record_.holder = process.token;
    }
    record_.store(process.token, since, process.value);
  }

  void pay() {
    const bool is_newer = record_.kind == LeaseRecord::Kind::kValue && record_.stamp > owed_ &&
                          record_.value == source_;
    record_.drop(flaw_ == LeaseFlaw::kOwedWithoutDate ? now_ : owed_);
    if (is_newer && record_.kind != LeaseRecord::Kind::kValue) wrong_ = "a newer value was lost";
    owed_ = 0;
  }

  const LeaseFlaw flaw_;
  LeaseRecord record_;
  std::array<Process, kProcesses> processes_;
  int now_ = 0;
  int source_ = 0;   // the version that loaders read: the step that made it
  int settled_ = 0;  // nobody may be served anything older
  int owed_ = 0;
  int changes_ = 0;
  int faults_ = 0;
  std::string wrong_;
};

}  // namespace mcp::redis
