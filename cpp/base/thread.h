// thread.h: the one way to start a thread of this library.
//
// Such a thread gets no signals, which belong to the threads of the application (CPython runs
// handlers on its main thread, and a signal that lands elsewhere would interrupt a wait for
// nothing), and it has a name that ps, top, gdb and perf show.
#pragma once

#include <pthread.h>

#include <thread>
#include <utility>

#include "base/signals.h"

namespace mcp {

// Runs `body(arguments...)` on a new thread. `name` has 15 bytes at most. Throws std::system_error
// when there can be no more threads.
template <class Body, class... Arguments>
[[nodiscard]] std::thread start_thread(const char* name, Body&& body, Arguments&&... arguments) {
  const SignalsBlocked blocked;
  std::thread thread(std::forward<Body>(body), std::forward<Arguments>(arguments)...);
  pthread_setname_np(thread.native_handle(), name);
  return thread;
}

}  // namespace mcp
