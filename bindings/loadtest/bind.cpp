// bind.cpp: adds the room to the module.
#include "bindings/loadtest/bind.h"

#include "bindings/base/rooms.h"

namespace mcp::python {

void bind_loadtest(pybind11::module_& module) {
  bind_load_histogram(module);
  bind_http_run(module);
  bind_call_run(module);
  bind_load_totals(module);
}

}  // namespace mcp::python
