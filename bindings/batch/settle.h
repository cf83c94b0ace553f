// settle.h: what one call of a @batched function gives its callers: each its own result, or an
// exception of its own. An exception that ends the program (SystemExit, KeyboardInterrupt) reaches
// one of them; the others get a BatchError that tells of it.
//
// Used on the loop's thread. REQUIRES: the interpreter lock, everywhere.
#pragma once

#include <Python.h>

namespace mcp::python {

// Adds _batched_settle() and _set_batch_error() to the module.
[[nodiscard]] bool add_batched_settle(PyObject* module);

}  // namespace mcp::python
