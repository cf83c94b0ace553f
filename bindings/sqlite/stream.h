// stream.h: streams over a leased connection, and what init= may do with a new one. Everything here
// needs the interpreter lock.
#pragma once

#include "bindings/base/gil.h"
#include "bindings/sqlite/endpoint.h"

namespace mcp::python {

void bind_stream(pybind11::module_& module);
void bind_new_connection(pybind11::module_& module);

// Calls `init` with a new connection, on the thread that opened it. Throws what it raises. What the
// connection holds from then on is among `callables` for as long.
void run_init(PyObject* init, const std::shared_ptr<UserCallables>& callables,
              sqlite::Connection& connection);

}  // namespace mcp::python
