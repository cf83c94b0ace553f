#include "base/log.h"
#include "gil.h"
#include "rooms.h"

namespace py = pybind11;

PYBIND11_MODULE(_core, module) {
  using namespace mcp::python;
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    throw py::import_error("mcp_performance does not support subinterpreters");
  }
  module.doc() = "The native core of mcp_performance.";
  module.attr("__version__") = MCP_VERSION;
  module.def("_close_gil_gate", &close_gil_gate);
  module.def("_hold_thread_states_before_fork", &hold_thread_states_before_fork);
  module.def("_free_thread_states_after_fork", &free_thread_states_after_fork);
  module.def("_after_fork_in_child", [] {
    reset_gil_gate_after_fork();
    mcp::reset_log_after_fork();
  });
  bind_errors(module);
  bind_batch(module);
  bind_batched(module);
  bind_log(module);
  bind_cache(module);
  bind_loop_bridge(module);
  bind_metrics(module);
  bind_loadtest(module);
  bind_sqlite(module);
  bind_analyzer(module);
  bind_redis(module);
}
