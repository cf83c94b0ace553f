// shared_error.h: one exception that many wait for.
//
// An exception object that is raised at many gathers their tracebacks, their contexts and their
// notes. So each gets one of its own. REQUIRES: the interpreter lock, everywhere.
#pragma once

#include <Python.h>

#include "bindings/base/ref.h"

namespace mcp::python {

// A new exception of the same type, with the same arguments, attributes, notes, cause and context
// as `error`, and without frames. No code of the user runs: neither __init__ nor __new__ of its
// class. `error` itself where its type cannot be copied. Leaves no exception set, and keeps one
// that is.
[[nodiscard]] Ref copy_exception(PyObject* error) noexcept;

// The same for one of many who wait for `shared`: no frames but those in which it was raised. Where
// it has no cause, it is the cause itself.
[[nodiscard]] Ref own_exception(PyObject* shared) noexcept;

// A copy to be kept longer than the call: like `error`, its cause and their causes (and those that
// a group, args or an attribute holds), but with no traceback and no context, so that no frame and
// no local variable lives on through it. Empty where a type cannot be copied. Leaves no exception
// set.
[[nodiscard]] Ref frameless_exception(PyObject* error) noexcept;

// Adds `_own_exception(error)` to the module, for errors that Python code shares out.
[[nodiscard]] bool add_shared_error_functions(PyObject* module);

}  // namespace mcp::python
