// operation.h: one request of a caller, and what may stop it.
//
// Safe from any thread: the caller cancels, the thread that runs it looks. A statement is stopped
// through the progress handler of the connection that runs this very operation, never through
// sqlite3_interrupt(), which hits whatever statement happens to run.
#pragma once

#include <atomic>
#include <memory>

#include "base/clock.h"

namespace mcp::sqlite {

enum class Stop {
  kNone,
  kCancelled,    // the caller is gone
  kDeadline,     // its time ran out
  kBudget,       // the inline budget ran out: run it again on a worker
  kInterrupted,  // the caller's thread has something else to do (a signal)
};

// Looks for whoever waits for the writer on their own thread.
class WaitWatch {
 public:
  // Whether the writer will not come free before its caller goes on. Called now and then, without
  // any lock of the core.
  [[nodiscard]] virtual bool waits_for_itself() const = 0;

 protected:
  ~WaitWatch() = default;
};

class Operation {
 public:
  explicit Operation(Instant deadline = kNever) noexcept : deadline_(deadline) {}

  void cancel() noexcept { cancelled_.store(true, std::memory_order_release); }
  [[nodiscard]] bool cancelled() const noexcept {
    return cancelled_.load(std::memory_order_acquire);
  }
  [[nodiscard]] Instant deadline() const noexcept { return deadline_; }

  // For operations that run on their caller's thread: asked now and then; true stops them. Set
  // before the operation starts.
  void set_poll(bool (*poll)()) noexcept { poll_ = poll; }
  [[nodiscard]] bool polled() const { return poll_ != nullptr && poll_(); }
  [[nodiscard]] bool has_poll() const noexcept { return poll_ != nullptr; }
  // Likewise; `watch` outlives the operation.
  void set_watch(const WaitWatch* watch) noexcept { watch_ = watch; }
  [[nodiscard]] const WaitWatch* watch() const noexcept { return watch_; }

 private:
  const Instant deadline_;
  std::atomic<bool> cancelled_{false};
  bool (*poll_)() = nullptr;
  const WaitWatch* watch_ = nullptr;
};

using OperationPtr = std::shared_ptr<Operation>;

// How often a waiting or stepping thread asks Operation::polled().
inline constexpr Duration kPollInterval_ns = 20 * kMillisecond;

}  // namespace mcp::sqlite
