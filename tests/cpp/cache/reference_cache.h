// reference_cache.h: the cache as plainly as it can be written, to hold the real one against. Every
// operation is linear; time is checked by looking at every entry; queues are lists of keys.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "cache/cache_core.h"
#include "cache/ghost.h"
#include "cache/policies.h"
#include "cache/types.h"

namespace mcp::cache::testing {

using Key = std::uint64_t;
using Left = std::tuple<Key, std::string, Cause>;  // what a call displaced

// Exact LRU over (key, weight).
class ReferenceLru {
 public:
  explicit ReferenceLru(std::uint64_t capacity) : capacity_(capacity) {}

  void hit(Key key) { order_.splice(order_.begin(), order_, place(key)); }

  std::vector<Key> admit(Key /*key*/, std::uint64_t weight) { return make_room(weight); }

  std::vector<Key> make_room(std::uint64_t weight) {
    std::vector<Key> evicted;
    while (!order_.empty() && this->weight() + weight > capacity_) {
      evicted.push_back(order_.back().first);
      order_.pop_back();
    }
    return evicted;
  }

  void insert(Key key, std::uint64_t weight) { order_.emplace_front(key, weight); }
  void remove(Key key) { order_.erase(place(key)); }
  std::vector<Key> reweigh(Key key, std::uint64_t weight) {
    order_.erase(place(key));
    std::vector<Key> evicted = make_room(weight);
    order_.emplace_front(key, weight);
    return evicted;
  }
  void set_capacity(std::uint64_t capacity) { capacity_ = capacity; }
  void clear() { order_.clear(); }

 private:
  using Order = std::list<std::pair<Key, std::uint64_t>>;
  Order::iterator place(Key key) {
    return std::find_if(order_.begin(), order_.end(), [&](auto& e) { return e.first == key; });
  }
  [[nodiscard]] std::uint64_t weight() const {
    std::uint64_t sum = 0;
    for (const auto& entry : order_) sum += entry.second;
    return sum;
  }

  std::uint64_t capacity_;
  Order order_;
};

// SIEVE over (key, weight, visited), the oldest first; the hand is a place in that order.
class ReferenceSieve {
 public:
  explicit ReferenceSieve(std::uint64_t capacity) : capacity_(capacity) {}

  void hit(Key key) { order_[place(key)].visited = true; }
  std::vector<Key> admit(Key /*key*/, std::uint64_t weight) { return make_room(weight); }

  std::vector<Key> make_room(std::uint64_t weight) {
    std::vector<Key> evicted;
    while (!order_.empty() && this->weight() + weight > capacity_) {
      hand_ %= order_.size();
      while (order_[hand_].visited) {
        order_[hand_].visited = false;
        hand_ = (hand_ + 1) % order_.size();
      }
      evicted.push_back(order_[hand_].key);
      take_out(hand_);
    }
    return evicted;
  }

  void insert(Key key, std::uint64_t weight) { order_.push_back({key, weight, false}); }
  void remove(Key key) { take_out(place(key)); }
  std::vector<Key> reweigh(Key key, std::uint64_t weight) {
    Entry entry = order_[place(key)];
    remove(key);
    std::vector<Key> evicted = make_room(weight);
    entry.weight = weight;
    order_.push_back(entry);
    return evicted;
  }
  void set_capacity(std::uint64_t capacity) { capacity_ = capacity; }
  void clear() {
    order_.clear();
    hand_ = 0;
  }

 private:
  struct Entry {
    Key key;
    std::uint64_t weight;
    bool visited;
  };
  [[nodiscard]] std::size_t place(Key key) const {
    const auto at =
        std::find_if(order_.begin(), order_.end(), [&](auto& e) { return e.key == key; });
    return static_cast<std::size_t>(at - order_.begin());
  }
  // The hand then points at what was behind it; behind the newest, it begins at the oldest again.
  void take_out(std::size_t at) {
    order_.erase(order_.begin() + static_cast<std::ptrdiff_t>(at));
    if (at < hand_) --hand_;
    if (hand_ == order_.size()) hand_ = 0;
  }
  [[nodiscard]] std::uint64_t weight() const {
    std::uint64_t sum = 0;
    for (const Entry& entry : order_) sum += entry.weight;
    return sum;
  }

  std::uint64_t capacity_;
  std::vector<Entry> order_;
  std::size_t hand_ = 0;
};

// The two queues of the adaptive policy with a window that stays as it is; stamps count misses.
class ReferenceWindowClock {
 public:
  // So many that no set overflows: entries that expire together are recorded in no defined order.
  static constexpr std::uint64_t kGhostSlots = 8192;

  explicit ReferenceWindowClock(std::uint64_t capacity) { set_capacity(capacity); }

  static std::uint64_t window_of(std::uint64_t capacity) { return capacity / 5 + 1; }

  void hit(Key key) {
    Entry& entry = *find(key);
    const double age = static_cast<double>(now_ - entry.stamp);
    const bool correlated = entry.in_main && age < std::ceil(0.03 * static_cast<double>(capacity_));
    if (!correlated) entry.count = std::min(3, entry.count + 1);
    entry.stamp = now_;
  }

  std::vector<Key> admit(Key key, std::uint64_t weight) {
    ++now_;
    const std::optional<std::uint16_t> seen = ghost_.take(mix_hash(key));
    to_main_ = seen.has_value();
    if (total() + weight <= capacity_) {
      if (filling_) to_main_ = weight_of(window_) + weight > window_of(capacity_);
      return {};
    }
    filling_ = false;
    if (to_main_ && weight_of(main_) + weight > main_target()) {
      const auto reuse = static_cast<std::uint16_t>(static_cast<std::uint16_t>(now_) - *seen);
      Entry* victim = hand();
      to_main_ = victim != nullptr && 10 * std::int64_t{reuse} < 7 * (now_ - victim->stamp);
    }
    std::vector<Key> evicted = evict(weight, to_main_);
    return evicted;
  }

  std::vector<Key> make_room(std::uint64_t weight) { return evict(weight, false); }

  void insert(Key key, std::uint64_t weight) {
    (to_main_ ? main_ : window_).push_front({key, weight, now_, 0, to_main_});
  }
  void remove(Key key) {
    remember(*find(key));
    erase(key);
  }
  std::vector<Key> reweigh(Key key, std::uint64_t weight) {
    Entry entry = *find(key);
    erase(key);
    std::vector<Key> evicted = make_room(weight);
    entry.weight = weight;
    (entry.in_main ? main_ : window_).push_front(entry);
    return evicted;
  }
  void set_capacity(std::uint64_t capacity) {
    capacity_ = capacity;
    ghost_.resize(kGhostSlots);
  }
  void clear() {
    window_.clear();
    main_.clear();
    ghost_.resize(0);
    filling_ = true;
  }

 private:
  struct Entry {
    Key key;
    std::uint64_t weight;
    std::int64_t stamp;
    int count;
    bool in_main;
  };
  using Queue = std::list<Entry>;

  Entry* find(Key key) {
    for (Queue* queue : {&window_, &main_}) {
      for (Entry& entry : *queue) {
        if (entry.key == key) return &entry;
      }
    }
    return nullptr;
  }
  void erase(Key key) {
    window_.remove_if([&](const Entry& entry) { return entry.key == key; });
    main_.remove_if([&](const Entry& entry) { return entry.key == key; });
  }
  static std::uint64_t weight_of(const Queue& queue) {
    std::uint64_t sum = 0;
    for (const Entry& entry : queue) sum += entry.weight;
    return sum;
  }
  [[nodiscard]] std::uint64_t total() const { return weight_of(window_) + weight_of(main_); }
  [[nodiscard]] std::uint64_t main_target() const {
    return capacity_ - std::min(capacity_, window_of(capacity_));
  }
  void remember(const Entry& entry) {
    ghost_.record(mix_hash(entry.key), static_cast<std::uint16_t>(entry.stamp),
                  static_cast<std::uint16_t>(now_));
  }
  Entry* hand() {
    for (int looked = 0; looked < 32 && !main_.empty(); ++looked) {
      if (main_.back().count == 0) return &main_.back();
      --main_.back().count;
      main_.splice(main_.begin(), main_, std::prev(main_.end()));
    }
    return nullptr;
  }
  Key evict_last(Queue& queue) {
    const Entry entry = queue.back();
    remember(entry);
    queue.pop_back();
    return entry.key;
  }
  std::vector<Key> evict(std::uint64_t weight, bool to_main) {
    std::vector<Key> evicted;
    int promoted = 0;
    while (total() != 0 && total() + weight > capacity_) {
      const bool crowded = weight_of(main_) + (to_main ? weight : 0) > main_target();
      if (!main_.empty() && (window_.empty() || crowded)) {
        hand();
        evicted.push_back(evict_last(main_));
      } else if (window_.back().count >= 2 && promoted++ < 32) {
        Entry entry = window_.back();
        window_.pop_back();
        entry.count = 0;
        entry.in_main = true;
        main_.push_front(entry);
      } else {
        evicted.push_back(evict_last(window_));
      }
    }
    return evicted;
  }

  std::uint64_t capacity_ = 0;
  std::int64_t now_ = 0;
  bool filling_ = true;
  bool to_main_ = false;  // where the entry being admitted belongs
  Queue window_;          // newest first
  Queue main_;            // the hand is at the back
  Ghost ghost_;
};

// WindowClock with the same window, as a policy of CacheCore.
class FixedWindowPolicy {
 public:
  using Node = WindowClock::Node;
  using Placement = WindowClock::Queue;

  explicit FixedWindowPolicy(std::uint64_t capacity)
      : queues_(capacity, ReferenceWindowClock::window_of(capacity), capacity) {
    queues_.set_ghost(ReferenceWindowClock::kGhostSlots);
  }
  template <class E>
  void on_hit(E& entries, Index i) noexcept {
    queues_.on_hit(entries, i);
  }
  template <class E, class Evict>
  Placement admit(E& entries, std::uint64_t hash, std::uint64_t weight, Evict&& evict) {
    return queues_.admit(entries, hash, weight, evict);
  }
  template <class E, class Evict>
  void make_room(E& entries, std::uint64_t weight, Evict&& evict) {
    queues_.make_room(entries, weight, false, evict);
  }
  template <class E>
  void insert(E& entries, Index i, Placement placement) noexcept {
    queues_.insert(entries, i, placement);
  }
  template <class E>
  void detach(E& entries, Index i) noexcept {
    queues_.remove(entries, i);
  }
  template <class E>
  void attach(E& entries, Index i) noexcept {
    queues_.attach(entries, i);
  }
  template <class E>
  void remove(E& entries, Index i) noexcept {
    queues_.remember(entries, i);
    queues_.remove(entries, i);
  }
  template <class E>
  void relocate(E& entries, Index to) noexcept {
    queues_.relocate(entries, to);
  }
  template <class E>
  void set_capacity(E& entries, std::uint64_t capacity) {
    queues_.set_capacity(capacity);
    queues_.set_window(ReferenceWindowClock::window_of(capacity));
    queues_.set_ghost(ReferenceWindowClock::kGhostSlots);
    queues_.rescale(entries, capacity);
  }
  void clear() noexcept { queues_.clear(); }
  [[nodiscard]] bool evicted_recently(std::uint64_t hash) const noexcept {
    return queues_.evicted_recently(hash);
  }
  [[nodiscard]] std::uint64_t weight() const noexcept { return queues_.weight(); }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return queues_.memory_bytes(); }
  template <class E, class Member>
  void check_invariants(const E& entries, Member&& member) const {
    queues_.check_invariants(entries, member);
  }

 private:
  WindowClock queues_;
};

// What a policy is held against; each of cache::Policies has one. `Subject` is the policy itself,
// with that held still of which no plain reference can know.
template <class Policy>
struct Model;
template <>
struct Model<LruPolicy> {
  using Subject = LruPolicy;
  using Reference = ReferenceLru;
};
template <>
struct Model<SievePolicy> {
  using Subject = SievePolicy;
  using Reference = ReferenceSieve;
};
template <>
struct Model<AdaptivePolicy> {
  using Subject = FixedWindowPolicy;
  using Reference = ReferenceWindowClock;
};

// Keys, values and times around a reference policy.
template <class ReferencePolicy>
class ReferenceCache {
 public:
  explicit ReferenceCache(const CacheOptions& options)
      : options_(options), policy_(options.capacity) {}

  struct Entry {
    std::string value;
    std::uint32_t weight;
    Instant expires_at;
    Instant accessed;
  };

  [[nodiscard]] const std::map<Key, Entry>& entries() const { return entries_; }

  std::optional<std::string> get(Key key, Instant now) {
    const auto at = entries_.find(key);
    if (at == entries_.end() || expires(at->second) <= now) return std::nullopt;
    touch(key, now);
    return at->second.value;
  }

  std::vector<Left> put(Key key, const std::string& value, std::uint32_t weight, Instant expires_at,
                        Instant now) {
    std::vector<Left> left;
    const auto at = entries_.find(key);
    if (at != entries_.end()) {
      touch(key, now);
      if (weight != at->second.weight && weight <= options_.capacity) {
        for (const Key victim : policy_.reweigh(key, weight)) take(victim, Cause::kEvicted, left);
      }
      left.emplace_back(Key{}, at->second.value, Cause::kReplaced);
      at->second = {value, weight, expires_at, now};
      if (weight > options_.capacity) {
        policy_.remove(key);
        take(key, Cause::kEvicted, left);
      }
      return left;
    }
    if (weight > options_.capacity) return {{key, value, Cause::kEvicted}};
    left = expire(now);
    for (const Key victim : policy_.admit(key, weight)) take(victim, Cause::kEvicted, left);
    policy_.insert(key, weight);
    entries_[key] = {value, weight, expires_at, now};
    return left;
  }

  std::vector<Left> erase(Key key) {
    std::vector<Left> left;
    if (entries_.count(key) == 0) return left;
    policy_.remove(key);
    take(key, Cause::kRemoved, left);
    return left;
  }

  std::vector<Left> expire(Instant now) {
    std::vector<Left> left;
    std::vector<Key> due;
    for (const auto& [key, entry] : entries_) {
      const Instant at = expires(entry);
      if (at != kNever && at <= now) due.push_back(key);
    }
    for (const Key key : due) {
      policy_.remove(key);
      take(key, Cause::kExpired, left);
    }
    return left;
  }

  std::vector<Left> resize(std::uint64_t capacity) {
    std::vector<Left> left;
    options_.capacity = capacity;
    policy_.set_capacity(capacity);
    for (const Key victim : policy_.make_room(0)) take(victim, Cause::kEvicted, left);
    return left;
  }

  std::vector<Left> clear() {
    std::vector<Left> left;
    for (const auto& [key, entry] : entries_) left.emplace_back(key, entry.value, Cause::kCleared);
    entries_.clear();
    policy_.clear();
    return left;
  }

 private:
  void touch(Key key, Instant now) {
    policy_.hit(key);
    entries_.at(key).accessed = now;
  }
  [[nodiscard]] Instant expires(const Entry& entry) const {
    if (options_.idle_ttl == 0) return entry.expires_at;
    return std::min(entry.expires_at, entry.accessed + options_.idle_ttl);
  }
  void take(Key key, Cause cause, std::vector<Left>& left) {
    left.emplace_back(key, entries_.at(key).value, cause);
    entries_.erase(key);
  }

  CacheOptions options_;
  ReferencePolicy policy_;
  std::map<Key, Entry> entries_;
};

}  // namespace mcp::cache::testing
