// signals.h: threads of the library leave signals to the threads of the application.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace mcp {

// Threads that start while it lives get no signals. Lives and ends on one thread.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  // What this thread blocked before.
  [[nodiscard]] const sigset_t& before() const noexcept { return before_; }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace mcp
