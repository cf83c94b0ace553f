#include "cache/single_flight.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "cache/test_rounds.h"

namespace mcp::cache {
namespace {

using Flights = SingleFlight<int, int>;
using Role = Flights::Role;

TEST(SingleFlight, TheFirstLeadsAndTheOthersWait) {
  Flights flights;
  const auto first = flights.join(1, 10);
  const auto second = flights.join(1, 11);
  const auto other_key = flights.join(2, 12);
  EXPECT_EQ(first.role, Role::kLead);
  EXPECT_EQ(second.role, Role::kWait);
  EXPECT_EQ(second.flight, first.flight);
  EXPECT_EQ(other_key.role, Role::kLead);
  EXPECT_TRUE(flights.settle(*first.flight));
  EXPECT_TRUE(second.flight->is_settled);
  flights.leave(11);
  EXPECT_EQ(flights.join(1, 11).role, Role::kLead);
}

TEST(SingleFlight, AnInvalidationWinsOverTheLoad) {
  Flights flights;
  const auto old = flights.join(1, 10);
  const auto waiter = flights.join(1, 11);
  EXPECT_TRUE(flights.invalidate(1));
  const auto fresh = flights.join(1, 12);
  EXPECT_EQ(fresh.role, Role::kLead);
  EXPECT_FALSE(flights.settle(*old.flight));
  EXPECT_TRUE(waiter.flight->is_settled);
  EXPECT_TRUE(flights.settle(*fresh.flight));
}

TEST(SingleFlight, InvalidateAllReachesEveryKey) {
  Flights flights;
  const auto a = flights.join(1, 10);
  const auto b = flights.join(2, 11);
  flights.invalidate_all();
  EXPECT_EQ(flights.size(), 0U);
  EXPECT_FALSE(flights.settle(*a.flight));
  EXPECT_FALSE(flights.settle(*b.flight));
}

TEST(SingleFlight, ALoaderThatAsksForItsOwnKeyComputesInline) {
  Flights flights;
  const auto lead = flights.join(1, 10);
  EXPECT_EQ(flights.join(1, 10).role, Role::kInline);
  EXPECT_TRUE(flights.settle(*lead.flight));
}

TEST(SingleFlight, ACircleOfLoadersIsBroken) {
  Flights flights;
  const auto a = flights.join(1, 10);
  const auto b = flights.join(2, 11);
  const auto c = flights.join(3, 12);
  EXPECT_EQ(flights.join(2, 10).role, Role::kWait);
  EXPECT_EQ(flights.join(3, 11).role, Role::kWait);
  EXPECT_EQ(flights.join(1, 12).role, Role::kInline);
  flights.check_invariants();
}

TEST(SingleFlight, AWaiterThatLeavesIsNoLongerInTheWay) {
  Flights flights;
  const auto a = flights.join(1, 10);
  const auto b = flights.join(2, 11);
  EXPECT_EQ(flights.join(2, 10).role, Role::kWait);
  flights.leave(10);
  EXPECT_EQ(flights.join(1, 11).role, Role::kWait);
}

// Actors that look keys up, load them, load others while loading, invalidate and give up, one step
// at a time in a seeded order. Every lookup ends, with a value that was loaded after the last
// invalidation that was over before the lookup began.
class Schedule {
 public:
  explicit Schedule(std::uint64_t seed) : random_(seed), actors_(2 + random_() % 3) {
    for (std::size_t n = 0; n < actors_.size(); ++n) {
      actors_[n].caller = n;
      actors_[n].calls_left = 1 + static_cast<int>(random_() % 3);
    }
  }

  void run() {
    std::vector<std::size_t> ready;
    for (int steps = 0;; ++steps) {
      ASSERT_LT(steps, 10'000) << "no end";
      ready.clear();
      bool finished = true;
      for (std::size_t n = 0; n < actors_.size(); ++n) {
        finished = finished && is_finished(actors_[n]);
        if (can_step(actors_[n])) ready.push_back(n);
      }
      if (finished) break;
      ASSERT_FALSE(ready.empty()) << "everybody waits";
      ASSERT_NO_FATAL_FAILURE(step(actors_[ready[random_() % ready.size()]]));
      ASSERT_NO_THROW(flights_.check_invariants());
    }
    EXPECT_EQ(flights_.size(), 0U);
    EXPECT_EQ(flights_.waiting(), 0U);
  }

 private:
  struct Lookup {
    int key;
    int begun;  // invalidations of the key that were over when it began
    std::optional<Flights::Ticket> ticket;
    int loaded = 0;  // the key's version that the loader saw
    bool has_loaded = false;
    int nested_left = 0;
  };
  struct Actor {
    Flights::Caller caller = 0;
    int calls_left = 0;
    std::vector<Lookup> stack;  // innermost last
  };

  [[nodiscard]] static bool is_finished(const Actor& actor) {
    return actor.stack.empty() && actor.calls_left == 0;
  }
  [[nodiscard]] bool can_step(const Actor& actor) {
    if (is_finished(actor)) return false;
    if (actor.stack.empty() || !actor.stack.back().ticket) return true;
    const Flights::Ticket& ticket = *actor.stack.back().ticket;
    // A waiter may give up, rarely.
    return ticket.role != Role::kWait || ticket.flight->is_settled || random_() % 64 == 0;
  }

  void begin(Actor& actor) {
    const int key = static_cast<int>(random_() % 3);
    Lookup lookup{key, version_[key], std::nullopt};
    lookup.nested_left = actor.stack.size() < 3 ? static_cast<int>(random_() % 2) : 0;
    actor.stack.push_back(lookup);
  }

  void end(Actor& actor, int value) {
    EXPECT_GE(value, actor.stack.back().begun) << "a stale value";
    actor.stack.pop_back();
  }

  void step(Actor& actor) {
    if (actor.stack.empty()) {
      --actor.calls_left;
      if (random_() % 4 == 0) {
        const int key = static_cast<int>(random_() % 3);
        ++version_[key];  // the source changes, then the cache hears of it
        flights_.invalidate(key);
        stored_.erase(key);
      } else {
        begin(actor);
      }
      return;
    }
    Lookup& lookup = actor.stack.back();
    if (!lookup.ticket) {
      if (const auto at = stored_.find(lookup.key); at != stored_.end()) {
        end(actor, at->second);
        return;
      }
      lookup.ticket = flights_.join(lookup.key, actor.caller);
      return;
    }
    if (lookup.ticket->role == Role::kWait) {
      const bool settled = lookup.ticket->flight->is_settled;
      const int value = lookup.ticket->flight->payload;
      flights_.leave(actor.caller);
      if (settled && value >= 0) {
        end(actor, value);
      } else {
        actor.stack.pop_back();  // gave up, or the load failed
      }
      return;
    }
    if (!lookup.has_loaded) {
      lookup.loaded = version_[lookup.key];
      lookup.has_loaded = true;
      return;
    }
    if (lookup.nested_left > 0) {
      --lookup.nested_left;
      begin(actor);
      return;
    }
    finish(actor, lookup);
  }

  void finish(Actor& actor, const Lookup& lookup) {
    const int loaded = lookup.loaded;
    if (lookup.ticket->role == Role::kLead) {
      const bool failed = random_() % 8 == 0;
      lookup.ticket->flight->payload = failed ? -1 : loaded;
      if (flights_.settle(*lookup.ticket->flight) && !failed) {
        ASSERT_EQ(loaded, version_[lookup.key]) << "stores what was invalidated";
        stored_[lookup.key] = loaded;
      }
    }
    end(actor, loaded);
  }

  std::mt19937_64 random_;
  Flights flights_;
  std::vector<Actor> actors_;
  std::map<int, int> version_;
  std::map<int, int> stored_;
};

TEST(SingleFlight, ScheduleEveryLookupEndsAndNoneIsStale) {
  for (int seed = 0; seed < test_rounds(10'000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ASSERT_NO_FATAL_FAILURE(Schedule(static_cast<std::uint64_t>(seed)).run());
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace mcp::cache
