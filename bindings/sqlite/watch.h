// watch.h: lets a memory cache in front of a database look at its commits before every hit.
#pragma once

#include "bindings/base/gil.h"

namespace mcp::python {

void bind_pool_watch(pybind11::module_& module);

}  // namespace mcp::python
