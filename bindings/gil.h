// gil.h: the interpreter lock, shown by two types.
//
// GilRelease gives it up around work of the core. GilAcquire takes it on a native thread, and only
// through the gate: atexit closes the gate before the interpreter goes down, after which acquire
// answers false for ever, because on CPython 3.11 a thread that asks for the lock of a finalizing
// interpreter is ended on the spot, through the C++ frames above it.
#pragma once

#include <Python.h>

#include <pybind11/pybind11.h>

namespace mcp::python {

class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() { PyEval_RestoreThread(state_); }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

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

// For threads that the core started and that run code of the user, for as long as it likes.
//
// The thread keeps one Python thread state until it ends, so threading.local lasts from one call to
// the next. Closing the gate does not wait for such code: it may block for ever. The code itself is
// called under a UserCall.
class GilUserCode {
 public:
  GilUserCode();
  ~GilUserCode();
  explicit operator bool() const noexcept { return held_; }
  GilUserCode(const GilUserCode&) = delete;
  GilUserCode& operator=(const GilUserCode&) = delete;

 private:
  bool held_;
  PyGILState_STATE state_{};
};

// Declared right before a call of user code on such a thread. Where the code comes back to an
// interpreter that is going down, the thread stops for good here instead of being unwound through
// objects that hold references. Not for noexcept functions: they end the process instead.
class UserCall {
 public:
  UserCall() = default;
  ~UserCall();
  UserCall(const UserCall&) = delete;
  UserCall& operator=(const UserCall&) = delete;
};

// Called by atexit with the lock held: no native thread gets in afterwards, and those inside are
// waited for.
void close_gil_gate();

// In a forked child: the gate is open, and nobody is inside.
void reset_gil_gate_after_fork();

}  // namespace mcp::python
