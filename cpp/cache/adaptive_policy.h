// adaptive_policy.h: the default policy. Two queues (window_clock.h) whose division a tuner
// (window_tuner.h) sets. A hit costs one conditional store, and for a sampled key one more.
//
// The ghost and the tuner are made when the cache is half full: an empty cache costs nothing, and
// by then the mean weight of an entry is known. Thread-compatible. See cache_core.h for what a
// policy is.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "cache/types.h"
#include "cache/window_clock.h"
#include "cache/window_tuner.h"

namespace mcp::cache {

class AdaptivePolicy {
 public:
  static constexpr std::string_view kName = "adaptive";
  using Node = WindowClock::Node;
  using Placement = WindowClock::Queue;

  explicit AdaptivePolicy(std::uint64_t capacity) noexcept
      : expected_(std::min(capacity, kMostEntries)),
        target_window_(window_of(capacity, WindowTuner::kStartShare)),
        queues_(capacity, target_window_, expected_) {}

  template <class Entries>
  void on_hit(Entries& entries, Index i) noexcept {
    queues_.on_hit(entries, i);
    const std::uint64_t hash = entries.hash(i);
    if (hash < sample_limit_) [[unlikely]]
      tuner_->record(hash);
  }

  template <class Entries, class Evict>
  Placement admit(Entries& entries, std::uint64_t hash, std::uint64_t weight, Evict&& evict) {
    if (tuner_ == nullptr) {
      if (weight + queues_.weight() >= queues_.capacity() / 2 + 1) size_up(entries, weight);
    } else {
      if (queues_.is_over(weight) && is_outgrown()) size_up(entries, weight);
      if (hash < sample_limit_) tuner_->record(hash);
      if (tuner_->has_batch()) target_window_ = window_of(queues_.capacity(), tuner_->run());
      if (queues_.window() != target_window_) move_window();
    }
    return queues_.admit(entries, hash, weight, evict);
  }

  template <class Entries, class Evict>
  void make_room(Entries& entries, std::uint64_t weight, Evict&& evict) {
    queues_.make_room(entries, weight, false, evict);
  }

  template <class Entries>
  void insert(Entries& entries, Index i, Placement placement) noexcept {
    queues_.insert(entries, i, placement);
  }

  template <class Entries>
  void detach(Entries& entries, Index i) noexcept {
    queues_.remove(entries, i);
  }

  template <class Entries>
  void attach(Entries& entries, Index i) noexcept {
    queues_.attach(entries, i);
  }

  template <class Entries>
  void remove(Entries& entries, Index i) noexcept {
    queues_.remember(entries, i);
    queues_.remove(entries, i);
  }

  template <class Entries>
  void relocate(Entries& entries, Index to) noexcept {
    queues_.relocate(entries, to);
  }

  template <class Entries>
  void set_capacity(Entries& entries, std::uint64_t capacity) {
    queues_.set_capacity(capacity);
    drop_history();
    expected_ = std::min(capacity, kMostEntries);
    step_ = 1;
    queues_.rescale(entries, expected_);
  }

  // REQUIRES: no entry is left, or all are about to be forgotten.
  void clear() noexcept {
    queues_.clear();
    drop_history();
  }

  [[nodiscard]] bool evicted_recently(std::uint64_t hash) const noexcept {
    return queues_.evicted_recently(hash);
  }
  [[nodiscard]] std::uint64_t weight() const noexcept { return queues_.weight(); }
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return queues_.memory_bytes() + (tuner_ == nullptr ? 0 : tuner_->memory_bytes());
  }
  // The share of the capacity that the window aims at.
  [[nodiscard]] double window_share() const noexcept {
    return static_cast<double>(queues_.window()) / static_cast<double>(queues_.capacity());
  }

  template <class Entries, class Member>
  void check_invariants(const Entries& entries, Member&& member) const {
    queues_.check_invariants(entries, member);
  }

 private:
  static constexpr std::uint64_t kMostEntries = std::uint64_t{1} << 31;
  static constexpr std::uint64_t kGhostFloor = 512;

  [[nodiscard]] static std::uint64_t window_of(std::uint64_t capacity, double share) noexcept {
    return std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(std::round(share * static_cast<double>(capacity))));
  }

  // Allocates for as many entries as the capacity holds at the mean weight seen.
  template <class Entries>
  void size_up(Entries& entries, std::uint64_t weight) {
    const double mean =
        static_cast<double>(queues_.weight() + weight) / static_cast<double>(queues_.count() + 1);
    const double entries_at_capacity =
        static_cast<double>(queues_.capacity()) / std::max(mean, 1e-9);
    expected_ = static_cast<std::uint64_t>(
        std::clamp(entries_at_capacity, 1.0, static_cast<double>(kMostEntries)));
    auto tuner = std::make_unique<WindowTuner>(expected_);
    queues_.set_ghost(std::max(expected_, kGhostFloor));
    queues_.rescale(entries, expected_);
    tuner_ = std::move(tuner);
    step_ = std::max<std::uint64_t>(1, queues_.capacity() / expected_);
    sample_limit_ = tuner_->limit();
  }

  // True if the mean weight of an entry has changed so much that what was sized by it is wrong.
  [[nodiscard]] bool is_outgrown() const noexcept {
    return queues_.count() > 2 * expected_ || queues_.count() < expected_ / 4;
  }

  void drop_history() noexcept {
    tuner_.reset();
    sample_limit_ = 0;
    queues_.set_ghost(0);
    target_window_ = window_of(queues_.capacity(), WindowTuner::kStartShare);
    queues_.set_window(target_window_);
  }

  // One entry's weight a miss, towards the tuner's choice.
  void move_window() noexcept {
    const std::uint64_t window = queues_.window();
    if (window < target_window_) {
      queues_.set_window(std::min(target_window_, window + step_));
    } else {
      queues_.set_window(window - std::min(step_, window - target_window_));
    }
  }

  std::uint64_t expected_;       // entries at capacity
  std::uint64_t target_window_;  // what the tuner wants, in weight
  std::uint64_t step_ = 1;       // an entry's weight
  WindowClock queues_;
  std::uint64_t sample_limit_ = 0;  // hashes below it go to the tuner; 0 while there is none
  std::unique_ptr<WindowTuner> tuner_;
};

}  // namespace mcp::cache
