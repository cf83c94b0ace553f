// drop_later.h: gives back a list of many objects without holding up an event loop.
//
// Taking apart 200,000 rows takes tens of milliseconds, all of them under the interpreter lock. On
// a loop it is done a slice a tick (slices.h); elsewhere at once, or in slices with the interpreter
// lock given up in between.
//
// REQUIRES: the interpreter lock; lists that nobody else can find, of objects whose end runs no
// Python code.
#pragma once

#include "bindings/base/gil.h"

namespace mcp::python {

// Takes a reference to anything, or null; what is no list goes at once, and so does a list that
// others have too. Never gives up the interpreter lock: for destructors. Keeps an exception that is
// set.
void drop_later(PyObject* list) noexcept;

// The same for callers who can be interrupted here: without a loop, other threads get their turns.
void drop_in_turns(PyObject* list);

}  // namespace mcp::python
