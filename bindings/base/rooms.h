// rooms.h: what each binding file adds to the module.
#pragma once

#include "bindings/base/gil.h"

namespace mcp::python {

void bind_batch(pybind11::module_& module);
void bind_batched(pybind11::module_& module);
void bind_errors(pybind11::module_& module);
void bind_cache(pybind11::module_& module);
void bind_log(pybind11::module_& module);
void bind_loop_bridge(pybind11::module_& module);
void bind_metrics(pybind11::module_& module);
void bind_request_window(pybind11::module_& module);
void bind_loadtest(pybind11::module_& module);
void bind_http_client(pybind11::module_& module);
void bind_sqlite(pybind11::module_& module);
void bind_analyzer(pybind11::module_& module);
void bind_redis(pybind11::module_& module);

}  // namespace mcp::python
