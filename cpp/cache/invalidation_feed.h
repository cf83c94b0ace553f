// invalidation_feed.h: news for a memory cache from a thread that may not touch it.
//
// A shared tier announces here which entries are out of date. The owner of the memory cache
// compares arrived() with what it saw last, before every hit, and takes the news when it differs:
// then no hit is answered by an entry whose end had been announced before.
//
// A tier that is told of nothing, because what it shares is memory, gives the feed a source
// instead: arrived() asks it, each time.
//
// Safe from any thread. Never blocks for longer than a few instructions. Bounded: more keys than
// kCapacity become one flush.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace mcp::cache {

struct InvalidationNews {
  bool flush = false;             // everything is out of date; `keys` says nothing then
  std::vector<std::string> keys;  // in the shared tier's spelling
};

// Where changes show by themselves. Safe from any thread.
class ChangeSource {
 public:
  ChangeSource() = default;
  virtual ~ChangeSource() = default;
  ChangeSource(const ChangeSource&) = delete;
  ChangeSource& operator=(const ChangeSource&) = delete;
  // A number that has grown when anything may have changed since the last call.
  [[nodiscard]] virtual std::uint64_t changes() noexcept = 0;
};

class InvalidationFeed {
 public:
  static constexpr std::size_t kCapacity = 16384;

  InvalidationFeed() = default;
  explicit InvalidationFeed(std::unique_ptr<ChangeSource> source) : source_(std::move(source)) {}

  void drop(std::string key) {
    const MutexLock lock(mutex_);
    if (!news_.flush && news_.keys.size() < kCapacity) {
      news_.keys.push_back(std::move(key));
    } else {
      flush_locked();
    }
    arrived_.fetch_add(1, std::memory_order_release);
  }

  void flush() {
    const MutexLock lock(mutex_);
    flush_locked();
    arrived_.fetch_add(1, std::memory_order_release);
  }

  [[nodiscard]] InvalidationNews take() {
    const MutexLock lock(mutex_);
    return std::exchange(news_, {});
  }

  // Grows with every piece of news. Read it before take(), and remember what was read.
  [[nodiscard]] std::uint64_t arrived() const noexcept {
    const std::uint64_t told = arrived_.load(std::memory_order_acquire);
    return source_ == nullptr ? told : told + source_->changes();
  }

 private:
  void flush_locked() REQUIRES(mutex_) {
    news_.flush = true;
    news_.keys.clear();
  }

  Mutex mutex_;  // a leaf: nothing is locked under it
  InvalidationNews news_ GUARDED_BY(mutex_);
  std::atomic<std::uint64_t> arrived_{0};
  const std::unique_ptr<ChangeSource> source_;
};

}  // namespace mcp::cache
