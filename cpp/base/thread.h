// thread.h: the one way to start a thread of this library.
//
// Such a thread gets no signals, which belong to the threads of the application (CPython runs
// handlers on its main thread, and a signal that lands elsewhere would interrupt a wait for
// nothing), and it has a name that ps, top, gdb and perf show. Threads that it starts by other
// means, as TBB does, inherit both.
// Code of the user is run under ApplicationSignals: processes that it starts inherit the mask of
// their thread, and one that blocks everything could not be terminated.
#pragma once

#include <pthread.h>

#include <functional>
#include <thread>
#include <utility>

#include "base/signals.h"

namespace mcp {

// Sees to it that a thread which is started without a size gets a stack that Python code fits on,
// of 1 MiB at least. glibc's have 8; musl's 128 KiB.
void ensure_thread_stacks() noexcept;

// For threads that were not started here but run under ones that were. Idempotent.
void join_library_threads() noexcept;

// While one lives, a thread of the library has the signals that the application's threads have:
// those of the last one that started a thread of the library. On other threads nothing changes.
class ApplicationSignals {
 public:
  ApplicationSignals() noexcept;
  ~ApplicationSignals();
  ApplicationSignals(const ApplicationSignals&) = delete;
  ApplicationSignals& operator=(const ApplicationSignals&) = delete;

 private:
  const bool changes_;
  sigset_t before_{};
};

// Remembers the mask, if this is a thread of the application.
void note_application_signals(const sigset_t& mask) noexcept;

// Runs `body(arguments...)` on a new thread. `name` has 15 bytes at most. Throws std::system_error
// when there can be no more threads.
template <class Body, class... Arguments>
[[nodiscard]] std::thread start_thread(const char* name, Body&& body, Arguments&&... arguments) {
  ensure_thread_stacks();
  const SignalsBlocked blocked;
  note_application_signals(blocked.before());
  std::thread thread(
      [](auto&& run, auto&&... given) {
        join_library_threads();
        std::invoke(std::forward<decltype(run)>(run), std::forward<decltype(given)>(given)...);
      },
      std::forward<Body>(body), std::forward<Arguments>(arguments)...);
  pthread_setname_np(thread.native_handle(), name);
  return thread;
}

}  // namespace mcp
