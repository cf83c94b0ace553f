// running.h: the asyncio loop that runs in this thread, without asking asyncio each time.
//
// asyncio keeps it in the dictionary of the thread's state, and its own look-up asks the kernel for
// the process every time. CPython up to 3.12 gives each state of each dictionary a number of its
// own, so an answer holds until the number has changed. Later versions, and an asyncio without its
// C part, are asked each time.
//
// REQUIRES: the interpreter lock.
#pragma once

#include "bindings/base/ref.h"

namespace mcp::python {

// Null without an exception when none runs, null with one when asyncio cannot be imported.
[[nodiscard]] Ref running_loop();

// RuntimeError, in asyncio's words, when none runs.
[[nodiscard]] Ref required_running_loop();

}  // namespace mcp::python
