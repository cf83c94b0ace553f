// window_tuner.cpp: three caches in miniature, and the step towards the best of them.
#include "cache/window_tuner.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace mcp::cache {
namespace {

constexpr std::array<double, 3> kShares = {0.01, 0.08, 0.30};
constexpr std::size_t kGhostFloor = 512;
constexpr double kSampledEntries = 256;
constexpr double kLargestSample = 1.0 / 8;
constexpr double kLeaveStart = 2;  // standard deviations
constexpr double kSwitch = 1;
constexpr double kSettlingTurns = 3;  // accesses before the first choice, in shadow capacities

// The pairs of shadows, in the order of WindowTuner::pairs_.
constexpr std::array<std::array<std::size_t, 2>, 3> kPairOf = {{{0, 1}, {0, 2}, {1, 2}}};

std::uint64_t window_weight(double share, std::size_t capacity) {
  return static_cast<std::uint64_t>(
      std::max(1.0, std::round(share * static_cast<double>(capacity))));
}

double sample_rate(std::uint64_t entries) {
  return std::min(kLargestSample, kSampledEntries / static_cast<double>(entries));
}

}  // namespace

ShadowCache::ShadowCache(std::size_t capacity, double window_share)
    : queues_(capacity, window_weight(window_share, capacity), capacity), free_(0) {
  queues_.set_ghost(std::max(capacity, kGhostFloor));
  nodes_.all.resize(capacity);
  table_.rehash(capacity, capacity, [](Index) { return std::uint64_t{0}; });
}

bool ShadowCache::access(std::uint64_t hash) {
  const Index found = table_.find(hash, [&](Index i) { return nodes_.all[i].hash == hash; });
  if (found != kNone) {
    queues_.on_hit(nodes_, found);
    return true;
  }
  Index at = free_;
  const auto queue = queues_.admit(nodes_, hash, 1, [&](Index victim) {
    table_.erase(nodes_.all[victim].hash, victim);
    at = victim;
  });
  if (at == free_) ++free_;
  nodes_.all[at].hash = hash;
  queues_.insert(nodes_, at, queue);
  table_.insert(hash, at);
  return false;
}

std::size_t ShadowCache::memory_bytes() const noexcept {
  return queues_.memory_bytes() + table_.memory_bytes() + nodes_.all.capacity() * sizeof(Node);
}

WindowTuner::WindowTuner(std::uint64_t entries) {
  const double rate = sample_rate(entries);
  const double sampled = std::max(1.0, std::round(rate * static_cast<double>(entries)));
  const double turn = std::max(sampled, 100.0);
  limit_ = static_cast<std::uint64_t>(rate * 0x1p64);
  decay_ = 1 - 1 / (10 * turn);
  settling_ = static_cast<std::uint64_t>(kSettlingTurns * turn);
  shadows_.reserve(kShadows);
  for (const double share : kShares) {
    shadows_.emplace_back(static_cast<std::size_t>(sampled), share);
  }
}

double WindowTuner::run() {
  for (std::size_t at = 0; at < pending_; ++at) {
    std::array<bool, kShadows> hit;
    for (std::size_t s = 0; s < kShadows; ++s) hit[s] = shadows_[s].access(buffer_[at]);
    for (std::size_t p = 0; p < kPairs; ++p) {
      Pair& pair = pairs_[p];
      pair.difference *= decay_;
      pair.disagreements *= decay_;
      const bool first = hit[kPairOf[p][0]];
      const bool second = hit[kPairOf[p][1]];
      if (first == second) continue;
      pair.difference += first ? 1 : -1;
      pair.disagreements += 1;
    }
  }
  const std::uint64_t seen = std::exchange(pending_, 0);
  if (!std::all_of(shadows_.begin(), shadows_.end(),
                   [](const ShadowCache& shadow) { return shadow.has_been_full(); })) {
    return share_;
  }
  settling_ -= std::min(settling_, seen);
  if (settling_ == 0) choose();
  return share_;
}

double WindowTuner::lead(std::size_t a, std::size_t b) const noexcept {
  const bool swapped = a > b;
  for (std::size_t p = 0; p < kPairs; ++p) {
    if (kPairOf[p][0] != std::min(a, b) || kPairOf[p][1] != std::max(a, b)) continue;
    const Pair& pair = pairs_[p];
    const double ahead = swapped ? -pair.difference : pair.difference;
    return pair.disagreements == 0 ? 0 : (ahead - 1) / std::sqrt(pair.disagreements);
  }
  return 0;
}

void WindowTuner::choose() {
  const auto ahead = [&](std::size_t p) { return pairs_[p].difference; };
  std::size_t leader = ahead(0) >= 0 ? 0 : 1;
  if ((leader == 0 ? ahead(1) : ahead(2)) < 0) leader = 2;
  if (choice_ == kUndecided) {
    for (std::size_t other = 0; other < kShadows; ++other) {
      if (other != leader && lead(leader, other) > kLeaveStart) choice_ = leader;
    }
  } else if (leader != choice_ && lead(leader, choice_) > kSwitch) {
    choice_ = leader;
  }
  if (choice_ != kUndecided) share_ = kShares[choice_];
}

std::size_t WindowTuner::memory_bytes() const noexcept {
  std::size_t bytes = sizeof(*this);
  for (const ShadowCache& shadow : shadows_) bytes += sizeof(shadow) + shadow.memory_bytes();
  return bytes;
}

}  // namespace mcp::cache
