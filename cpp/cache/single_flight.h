// single_flight.h: who loads a missing key and who waits for it, as a pure state machine.
//
// The first to join() a key leads its flight and loads; later callers wait for it, or are told to
// compute for themselves where waiting would never end: the caller leads the flight, or its leader
// waits, perhaps through others, for the caller. An invalidation takes the flight off the key:
// nobody new joins it, those who wait still get its result, and settle() says that it must not be
// stored.
//
// Thread-compatible, and without threads of its own: the caller holds a lock, and does the waiting
// with what it put in the flight's Payload. A caller waits for one flight at most, and leads any
// number. Invariants: a flight on a key is unsettled; who waits does so for a flight that is known
// to it; following "waits for" and "is led by" from any caller comes to an end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <unordered_map>
#include <utility>

namespace mcp::cache {

template <class Key, class Payload, class Hash = std::hash<Key>, class Equal = std::equal_to<Key>>
class SingleFlight {
 public:
  using Caller = std::uint64_t;  // a thread or a task

  struct Flight {
    Flight(Key flight_key, Caller flight_leader)
        : key(std::move(flight_key)), leader(flight_leader) {}

    Key key;
    Caller leader;
    bool is_current = true;   // on its key: may be joined, its result may be stored
    bool is_settled = false;  // the leader is done
    Payload payload{};
  };
  using FlightPtr = std::shared_ptr<Flight>;

  enum class Role {
    kLead,    // load, then settle()
    kWait,    // until the flight is settled, then leave()
    kInline,  // load without a flight, store nothing
  };
  struct Ticket {
    Role role;
    FlightPtr flight;  // none for kInline
  };

  // REQUIRES: the caller waits for no flight.
  [[nodiscard]] Ticket join(const Key& key, Caller caller) {
    if (const auto at = flights_.find(key); at != flights_.end()) {
      const FlightPtr& flight = at->second;
      if (would_never_end(*flight, caller)) return {Role::kInline, nullptr};
      waits_[caller] = flight.get();
      return {Role::kWait, flight};
    }
    auto flight = std::make_shared<Flight>(key, caller);
    flights_.emplace(key, flight);
    return {Role::kLead, std::move(flight)};
  }

  // The leader is done, with a value or an error. True if a value may be stored.
  bool settle(Flight& flight) noexcept {
    flight.is_settled = true;
    return take_off(flight);
  }

  // The caller waits no longer, whether the flight is settled or not.
  void leave(Caller caller) noexcept { waits_.erase(caller); }

  // The key changed: its flight, if any, is out of date. True if there was one.
  bool invalidate(const Key& key) noexcept {
    if (flights_.empty()) return false;
    const auto at = flights_.find(key);
    if (at == flights_.end()) return false;
    at->second->is_current = false;
    flights_.erase(at);
    return true;
  }

  void invalidate_all() noexcept {
    for (auto& [key, flight] : flights_) flight->is_current = false;
    flights_.clear();
  }

  // Keys under way, and callers waiting.
  [[nodiscard]] std::size_t size() const noexcept { return flights_.size(); }
  [[nodiscard]] std::size_t waiting() const noexcept { return waits_.size(); }

  // Throws std::logic_error unless the invariants hold.
  void check_invariants() const {
    for (const auto& [key, flight] : flights_) {
      if (!flight->is_current || flight->is_settled || !Equal{}(flight->key, key)) {
        throw std::logic_error("single flight: a key holds a flight that is over");
      }
    }
    for (const auto& [caller, flight] : waits_) {
      if (!flight->is_settled && would_never_end(*flight, caller)) {
        throw std::logic_error("single flight: callers wait for each other");
      }
    }
  }

 private:
  [[nodiscard]] bool would_never_end(const Flight& flight, Caller caller) const noexcept {
    const Flight* next = &flight;
    for (std::size_t hops = 0; hops <= waits_.size(); ++hops) {
      if (next->is_settled) return false;
      if (next->leader == caller) return true;
      const auto at = waits_.find(next->leader);
      if (at == waits_.end()) return false;
      next = at->second;
    }
    return true;
  }

  bool take_off(Flight& flight) noexcept {
    if (!flight.is_current) return false;
    flight.is_current = false;
    flights_.erase(flight.key);
    return true;
  }

  std::unordered_map<Key, FlightPtr, Hash, Equal> flights_;
  // What each waiting caller waits for; its ticket keeps the flight alive.
  std::unordered_map<Caller, const Flight*> waits_;
};

}  // namespace mcp::cache
