// coroutine.h: what native awaitables have to say in the protocol of coroutines. Each is a state
// machine of its own behind Py_am_send; the rest is here. REQUIRES: the interpreter lock.
#pragma once

#include <Python.h>

#include "bindings/base/ref.h"

namespace mcp::python {

// Raises StopIteration with `value`, whatever it is.
void set_stop_iteration(PyObject* value) noexcept;

// Whether a coroutine that has not begun may be sent `value`: None alone. False with TypeError set.
[[nodiscard]] bool may_begin_with(PyObject* value) noexcept;

// What send() and __next__() return of what Py_am_send said; takes `value` over.
[[nodiscard]] PyObject* next_or_stop(PySendResult sent, PyObject* value) noexcept;

// The exception of throw(type[, value[, traceback]]), by the rules of generators. Empty with
// TypeError set.
[[nodiscard]] Ref exception_of_throw(PyObject* const* args, Py_ssize_t count) noexcept;

// Raises it where it was thrown; nullptr.
PyObject* raise_thrown(const Ref& exception) noexcept;

// __await__ and __iter__ of an awaitable that is its own iterator.
PyObject* new_reference_to(PyObject* object) noexcept;

}  // namespace mcp::python
