// gil.h: the interpreter lock, shown by two types.
//
// GilRelease gives it up around work of the core; a thread that comes back from there to an
// interpreter that is going down stops for good. GilAcquire takes it on a native thread, and only
// through the gate: atexit closes the gate before the interpreter goes down, after which acquire
// answers false for ever, because on CPython 3.11 a thread that asks for the lock of a finalizing
// interpreter is ended on the spot, through the C++ frames above it.
#pragma once

#include <Python.h>

#include <pybind11/pybind11.h>

#include <exception>
#include <utility>

namespace mcp::python {

class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() noexcept(false);  // CPython ends such a thread by unwinding it
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

// Runs `body` without the lock. What it throws is returned, for the holder of the lock to look at.
template <class Body>
[[nodiscard]] std::exception_ptr without_gil(Body&& body) {
  const GilRelease unlocked;
  try {
    std::forward<Body>(body)();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

// For threads that the core started. `if (GilAcquire gil; gil) { ... }`; false means that the
// interpreter is shutting down: drop the work, touch no Python object.
class GilAcquire {
 public:
  GilAcquire();
  ~GilAcquire();
  explicit operator bool() const noexcept { return held_; }
  GilAcquire(const GilAcquire&) = delete;
  GilAcquire& operator=(const GilAcquire&) = delete;

 private:
  bool held_;
  PyGILState_STATE state_{};
};

// PyGILState_Ensure for a thread that the core started. It makes the thread's state apart, and
// never while the process forks: on CPython 3.11 a child that inherits the list of thread states
// locked waits for ever, before any handler of its own runs.
PyGILState_STATE ensure_gil();

// Handlers of signals run on the main thread alone. A signal that comes right before a wait does
// not end it: whoever waits on this thread wakes up now and then, and looks.
[[nodiscard]] bool is_main_thread() noexcept;

// Runs pending signal handlers; true, with the exception set, when one raised. False on any thread
// but the main one, at once. Takes the interpreter lock.
[[nodiscard]] bool check_signals();

// Around a fork, by the thread that forks; the second one in the parent only.
void hold_thread_states_before_fork();
void free_thread_states_after_fork();

// Called by atexit with the lock held: no native thread gets in afterwards, and those inside are
// waited for.
void close_gil_gate();

// In a forked child: the gate is open, nobody is inside, and thread states may be made.
void reset_gil_gate_after_fork();

}  // namespace mcp::python
