// lease.h: the beginnings and ends of blocks, and the pool's own. Everything here needs the
// interpreter lock. Functions that return PyObject* return an awaitable, or wait themselves on a
// blocking endpoint; nullptr with an exception set on failure.
#pragma once

#include <string>

#include "bindings/base/gil.h"
#include "bindings/sqlite/endpoint.h"
#include "sqlite/block.h"

namespace mcp::python {

// The endpoint has the connection once this is done. REQUIRES: it has had none.
PyObject* begin_lease(Endpoint* endpoint, sqlite::Block block, Duration timeout_ns);
// Commits or rolls back, and gives the connection back.
PyObject* end_transaction(Endpoint* endpoint, bool commit);

// Opens the database and the writer.
PyObject* open_pool(Endpoint* endpoint);
// Copies the database to the file `path`, from one snapshot.
PyObject* backup_to(Endpoint* endpoint, const std::string& path);
// A future that is done when the last connection is closed.
PyObject* close_pool(Endpoint* endpoint);
// Waits. False when connections were still held after `timeout_ns`, or with an exception set.
bool close_pool_blocking(Endpoint* endpoint, Duration timeout_ns);

}  // namespace mcp::python
