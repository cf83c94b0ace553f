// watcher.h: an event loop that can watch a connection, as the client sees it.
#pragma once

namespace mcp::redis {

// Safe from any thread; called under the client's lock, so it takes leaf locks alone.
class Watcher {
 public:
  Watcher() = default;
  virtual ~Watcher() = default;
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // From here on the loop calls Client::look() whenever `fd` is readable. False: it cannot.
  [[nodiscard]] virtual bool watch(int fd) noexcept = 0;
  virtual void unwatch(int fd) noexcept = 0;
};

}  // namespace mcp::redis
