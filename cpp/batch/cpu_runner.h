// cpu_runner.h: threads for functions that compute, as the rest of the room sees them.
#pragma once

#include <functional>

namespace mcp::batch {

// Safe from any thread.
class CpuRunner {
 public:
  // Does a short stretch of work; false when there is none left.
  using Step = std::function<bool()>;

  virtual ~CpuRunner() = default;
  // Returns at once. `workers` chains of calls of `step` follow, on as many threads as there are to
  // spare; a chain ends when it is answered false. `step` does not throw. Throws std::system_error
  // when no thread can be started.
  virtual void launch(unsigned workers, Step step) = 0;
  // How many threads work at a time at most.
  [[nodiscard]] virtual unsigned concurrency() const noexcept = 0;
  [[nodiscard]] virtual bool usable() const noexcept { return true; }
};

}  // namespace mcp::batch
