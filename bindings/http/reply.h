// reply.h: answers to single requests as Python sees them.
#pragma once

#include <pybind11/pybind11.h>

#include "http/client.h"

namespace mcp::python {

// A new HttpReply, or null with an error set. REQUIRES: bind_http_reply().
[[nodiscard]] PyObject* reply_to_python(const http::Reply& reply);

void bind_http_reply(pybind11::module_& module);
void bind_http_line(pybind11::module_& module);

}  // namespace mcp::python
