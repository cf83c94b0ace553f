// wake_up.h: the callers of one call of a @batched function, woken in one callback of the
// loop, for 1 ms a turn at most.
//
// Used on the loop's thread. REQUIRES: the interpreter lock, everywhere.
#pragma once

#include <Python.h>

#include <vector>

#include "bindings/base/ref.h"

namespace mcp::python {

struct Waiter {  // owned
  PyObject* future;
  PyObject* callback;
  PyObject* context;  // nullptr: a new one
};

// A callback of `loop` with nobody to wake yet; empty with an exception set.
Ref make_wake_up(PyObject* loop);
std::vector<Waiter>& waiters_of(PyObject* wake_up);
// Has the loop call it soon. False with an exception set.
bool schedule_wake_up(PyObject* wake_up);

bool add_batched_wake_up_type();

}  // namespace mcp::python
