// blocking_pool.h: threads for functions that wait.
//
// Safe from any thread. Threads start when there is work for them, up to the limit, and stay until
// close(). Tasks start in the order in which they came. After a fork the child's copy is abandoned:
// its threads are gone, and one of them may have held the lock.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace mcp::batch {

class BlockingPool {
 public:
  using Task = std::function<void()>;  // does not throw

  // REQUIRES: max_threads > 0.
  explicit BlockingPool(unsigned max_threads);
  // Leaves without waiting: queued tasks run, then the threads end. Use close() to wait.
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Throws std::system_error when not even one thread can be started, Error when closed.
  void submit(Task task);

  // Runs what is queued, ends the threads and waits for them. Idempotent.
  void close();

  // True when a task waits for a thread: whoever runs for long lets it pass.
  [[nodiscard]] bool has_waiting() const noexcept;
  [[nodiscard]] unsigned max_threads() const noexcept;
  [[nodiscard]] std::size_t threads() const;  // started so far

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace mcp::batch
