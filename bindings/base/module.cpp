// module.cpp: the module _core: binds every room, and what happens at its fork and exit.
#include "base/log.h"
#include "bindings/base/gil.h"
#include "bindings/base/rooms.h"
#include "bindings/base/shared_error.h"

namespace py = pybind11;

PYBIND11_MODULE(of_main_interpreter, module) {
  using namespace mcp::python;
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
  if (!add_shared_error_functions(module.ptr())) throw py::error_already_set();
  bind_batch(module);
  bind_batched(module);
  bind_log(module);
  bind_cache(module);
  bind_loop_bridge(module);
  bind_metrics(module);
  bind_request_window(module);
  bind_loadtest(module);
  bind_http_client(module);
  bind_sqlite(module);
  bind_analyzer(module);
  bind_redis(module);
}

// What Python calls. In a subinterpreter of CPython 3.11 pybind11's own entry point would wait for
// ever, so this one looks where it is first.
// NOLINTNEXTLINE(bugprone-reserved-identifier): CPython looks for this name
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    PyErr_SetString(PyExc_ImportError, "mcp_performance does not support subinterpreters");
    return nullptr;
  }
  return PyInit_of_main_interpreter();
}
