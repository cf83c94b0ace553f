// errors.h: the one table between the core's error kinds and the classes of errors.py.
#pragma once

#include "base/error.h"
#include "bindings/base/gil.h"

namespace mcp::python {

// Sets the Python exception for `error`. REQUIRES: the interpreter lock.
void set_python_error(const Error& error) noexcept;

// Sets the Python exception for the C++ exception in flight; call from a catch block of a
// METH_FASTCALL function, whose frames pybind11 does not guard.
void set_python_error_from_current_exception() noexcept;

}  // namespace mcp::python
