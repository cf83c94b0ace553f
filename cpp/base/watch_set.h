// watch_set.h: descriptors that an event loop watches through one of its own, so that any thread
// can add and remove them: loops take such calls on their own thread alone.
//
// Safe from any thread. After close() nothing is watched.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include "base/mutex.h"

namespace mcp {

class WatchSet {
 public:
  // Throws std::system_error when there is no descriptor left.
  WatchSet() : fd_(epoll_create1(EPOLL_CLOEXEC)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "epoll");
  }
  ~WatchSet() { ::close(fd_); }
  WatchSet(const WatchSet&) = delete;
  WatchSet& operator=(const WatchSet&) = delete;

  // False when it cannot be watched, or when the set is closed.
  [[nodiscard]] bool add(int fd, std::uint64_t id) noexcept {
    const MutexLock lock(mutex_);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP;
    event.data.u64 = id;
    return !closed_ && epoll_ctl(fd_, EPOLL_CTL_ADD, fd, &event) == 0;
  }
  // REQUIRES: it was added, and is still open.
  void remove(int fd) noexcept { epoll_ctl(fd_, EPOLL_CTL_DEL, fd, nullptr); }
  void close() noexcept {
    const MutexLock lock(mutex_);
    closed_ = true;
  }

  // Calls `visit(id)` for some of those that are readable.
  template <class Visit>
  void each_ready(Visit visit) {
    std::array<epoll_event, 16> events;
    const int count = epoll_wait(fd_, events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) visit(events[static_cast<std::size_t>(i)].data.u64);
  }

  // Readable while one of them is.
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  const int fd_;
  Mutex mutex_;  // a leaf
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace mcp
