// window_tuner.h: finds the window's share of the cache by trying three at once, in miniature.
//
// A sample of the keys also runs through three key-only copies of the queues, each with another
// window. The sample's accesses wait in a small buffer that the next miss works off, so that a hit
// pays one comparison; when the buffer is full they are dropped. The tuner changes its choice only
// when the copies' hits differ by more than chance. Thread-compatible.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cache/index_table.h"
#include "cache/types.h"
#include "cache/window_clock.h"

namespace mcp::cache {

// The keys that a small cache with a fixed window would hold.
class ShadowCache {
 public:
  ShadowCache(std::size_t capacity, double window_share);

  // One access; true if it was a hit.
  bool access(std::uint64_t hash);
  [[nodiscard]] bool has_been_full() const noexcept { return queues_.has_been_full(); }
  [[nodiscard]] std::size_t memory_bytes() const noexcept;

 private:
  struct Node : WindowClock::Node {
    std::uint64_t hash = 0;
  };
  struct Nodes {
    std::vector<Node> all;
    [[nodiscard]] WindowClock::Node& node(Index i) noexcept { return all[i]; }
    [[nodiscard]] std::uint64_t hash(Index i) const noexcept { return all[i].hash; }
    [[nodiscard]] static std::uint32_t weight(Index) noexcept { return 1; }
  };

  WindowClock queues_;
  IndexTable table_;
  Nodes nodes_;
  Index free_;  // the next unused node; a miss at capacity frees one before it takes one
};

class WindowTuner {
 public:
  static constexpr double kStartShare = 0.03;

  // For a cache that holds about `entries`.
  explicit WindowTuner(std::uint64_t entries);

  // Accesses to hashes below it belong to the sample.
  [[nodiscard]] std::uint64_t limit() const noexcept { return limit_; }
  void record(std::uint64_t hash) noexcept {
    if (pending_ < kPending) buffer_[pending_++] = hash;
  }

  [[nodiscard]] bool has_batch() const noexcept { return pending_ >= kBatch; }
  // Works off what was recorded; the share of the cache that the window should have.
  double run();
  [[nodiscard]] std::size_t memory_bytes() const noexcept;

 private:
  static constexpr std::size_t kShadows = 3;
  static constexpr std::size_t kPairs = 3;
  static constexpr std::size_t kPending = 64;
  static constexpr std::size_t kBatch = 16;
  static constexpr std::size_t kUndecided = kShadows;

  struct Pair {
    double difference = 0;     // hits of the first less hits of the second, decayed
    double disagreements = 0;  // decayed
  };

  void choose();
  // By how many standard deviations shadow `a` is ahead of `b`.
  [[nodiscard]] double lead(std::size_t a, std::size_t b) const noexcept;

  std::uint64_t limit_;  // hashes below it are sampled
  double decay_;
  double share_ = kStartShare;
  std::uint64_t settling_;  // accesses of full shadows still to see before the first choice
  std::size_t choice_ = kUndecided;
  std::size_t pending_ = 0;
  std::array<Pair, kPairs> pairs_{};
  std::vector<ShadowCache> shadows_;
  std::array<std::uint64_t, kPending> buffer_;
};

}  // namespace mcp::cache
