// completion_queue.h: what native threads have finished, on its way to one event loop.
//
// Safe from any thread; one consumer. A completion carries an id and a native payload, never a
// reference into an interpreter. The eventfd becomes readable when the queue goes from empty to
// non-empty, and only then is it written: a burst costs one system call. None while the consumer
// attends to the queue, and takes what comes without being told.
// Invariants: completions of one producer come out in order; after close() nothing comes out, and
// what is pushed is destroyed on the spot.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace mcp {

class CompletionPayload {
 public:
  CompletionPayload() = default;
  virtual ~CompletionPayload() = default;
  CompletionPayload(const CompletionPayload&) = delete;
  CompletionPayload& operator=(const CompletionPayload&) = delete;
};

struct Completion {
  std::uint64_t id = 0;
  std::unique_ptr<CompletionPayload> payload;
  bool last = true;  // false: more completions with this id follow
};

class CompletionQueue {
 public:
  // Throws std::system_error when there is no descriptor left.
  CompletionQueue() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  ~CompletionQueue() { ::close(fd_); }
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  void push(Completion completion) {
    {
      const MutexLock lock(mutex_);
      if (closed_) return;  // the payload dies with the argument, after the lock
      waiting_.push_back(std::move(completion));
      if (waiting_.size() > 1 || attended_) return;
      ++signals_;
    }
    signal();
  }

  // For the consumer: what is pushed until leave() is taken before that.
  void attend() {
    const MutexLock lock(mutex_);
    attended_ = true;
  }
  void leave() {
    {
      const MutexLock lock(mutex_);
      attended_ = false;
      if (waiting_.empty()) return;
      ++signals_;
    }
    signal();
  }

  // Moves everything to the end of `out`, oldest first.
  void take(std::vector<Completion>& out) {
    clear_signals();  // before the swap
    std::vector<Completion> taken;
    {
      const MutexLock lock(mutex_);
      taken.swap(waiting_);
    }
    if (out.empty()) {
      out = std::move(taken);
    } else {
      out.insert(out.end(), std::make_move_iterator(taken.begin()),
                 std::make_move_iterator(taken.end()));
    }
  }

  void close() {
    std::vector<Completion> dropped;  // declared first: destroyed after the lock is given up
    const MutexLock lock(mutex_);
    closed_ = true;
    dropped.swap(waiting_);
  }

  // Readable while there is something to take.
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  // Outside the lock: at worst the consumer wakes once for nothing. The descriptor outlives
  // close(): producers share the queue's ownership.
  void signal() const noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof one);
  }
  void clear_signals() {
    {
      const MutexLock lock(mutex_);
      if (signals_ == cleared_) return;
    }
    std::uint64_t count = 0;
    if (read(fd_, &count, sizeof count) == sizeof count) cleared_ += count;
  }

  const int fd_;
  Mutex mutex_;
  std::vector<Completion> waiting_ GUARDED_BY(mutex_);
  bool attended_ GUARDED_BY(mutex_) = false;
  std::uint64_t signals_ GUARDED_BY(mutex_) = 0;  // that were or are about to be given
  std::uint64_t cleared_ = 0;                     // the consumer's: those that it has read
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace mcp
