// bind.h: what each file of this room adds to the module.
#pragma once

#include "bindings/base/gil.h"

namespace mcp::python {

void bind_load_histogram(pybind11::module_& module);
void bind_http_run(pybind11::module_& module);
void bind_call_run(pybind11::module_& module);
void bind_load_totals(pybind11::module_& module);

}  // namespace mcp::python
