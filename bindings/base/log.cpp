// log.cpp: hands the core's log records to the Python package (_base/_logging.py).
#include "base/log.h"

#include "bindings/base/rooms.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

// Records as (level, room, message); level is Python's (spdlog's times ten).
py::tuple wait_log(double timeout_s) {
  LogBatch batch;
  {
    const GilRelease unlocked;
    batch = wait_for_log(from_seconds(timeout_s));
  }
  py::list records;
  for (const LogRecord& record : batch.records) {
    records.append(py::make_tuple(
        record.level * 10, record.room,
        py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(
            record.message.data(), static_cast<Py_ssize_t>(record.message.size()), "replace"))));
  }
  return py::make_tuple(records, batch.dropped, batch.closed);
}

}  // namespace

void bind_log(py::module_& module) {
  module.def("_wait_log", &wait_log, py::arg("timeout_s"),
             "_wait_log(timeout_s: float) -> tuple[list[tuple[int, str, str]], int, bool]");
  module.def("_close_log", &close_log);
  module.def("_reopen_log", &reopen_log);
  module.def(
      "_set_log_level", [](int python_level) { set_log_level(python_level / 10); },
      py::arg("python_level"));
  module.def(
      "_log",
      [](const std::string& room, int python_level, const std::string& message) {
        logger(room).log(static_cast<spdlog::level::level_enum>(python_level / 10), "{}", message);
      },
      py::arg("room"), py::arg("python_level"), py::arg("message"));
}

}  // namespace mcp::python
