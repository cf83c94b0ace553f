// user_code.h: the interpreter lock on native threads that run code of the user. The gate is
// the one of gil.h.
#pragma once

#include "base/thread.h"
#include "bindings/base/gil.h"

namespace mcp::python {

// For threads that the core started and that run code of the user, for as long as it likes.
//
// The thread keeps one Python thread state until it ends, so threading.local lasts from one call to
// the next. It has the application's signals meanwhile, for processes that the code starts. Closing
// the gate does not wait for such code: it may block for ever. The code itself is called under a
// UserCall. False: the interpreter is shutting down, touch no Python object.
class GilUserCode {
 public:
  GilUserCode();
  ~GilUserCode();
  explicit operator bool() const noexcept { return held_; }
  GilUserCode(const GilUserCode&) = delete;
  GilUserCode& operator=(const GilUserCode&) = delete;

 private:
  const ApplicationSignals signals_;
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

}  // namespace mcp::python
