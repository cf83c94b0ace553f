// stream.h: streams over a leased connection, copies of a database, and what init= may do
// with a new connection. Everything here needs the interpreter lock.
#pragma once

#include "bindings/base/gil.h"
#include "bindings/sqlite/endpoint.h"

namespace mcp::python {

void bind_stream(pybind11::module_& module);
void bind_new_connection(pybind11::module_& module);

// Calls `init` with a new connection, on the thread that opened it. Throws what it raises.
void run_init(PyObject* init, sqlite::Connection& connection);

// Copies the database to the file `path` page by page from one snapshot. As in lease.h an
// awaitable, or None when blocking.
PyObject* backup_to(Endpoint* endpoint, const std::string& path);

}  // namespace mcp::python
