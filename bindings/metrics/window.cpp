// window.cpp: RequestWindow, what requests did between two looks at a RequestMetrics.
#include <memory>

#include "bindings/base/rooms.h"
#include "bindings/metrics/requests.h"
#include "metrics/request_window.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using metrics::RequestWindow;

py::dict described(const RequestWindow::Figures& of) {
  py::dict result = figures(of.times);
  result["errors"] = of.errors;
  return result;
}

// One thread at a time: the interpreter lock is given up meanwhile.
py::dict advance(RequestWindow& window, const py::object& requests) {
  auto* metrics = request_metrics_of(requests.ptr());
  if (metrics == nullptr) throw py::error_already_set();
  const auto look = [&] {
    const GilRelease unlocked;
    return window.advance(metrics->snapshot(now_precise()));
  }();
  py::dict routes;
  for (const auto& route : look.routes) routes[py::str(route.name)] = described(route);
  py::dict operations;
  for (const auto& one : look.operations) operations[py::str(one.name)] = described(one);
  py::dict result = described(look.all);
  result["routes"] = routes;
  result["operations"] = operations;
  result["loop_lag"] = figures(look.lag);
  return result;
}

}  // namespace

void bind_request_window(py::module_& module) {
  py::class_<RequestWindow>(module, "RequestWindow",
                            "What requests did between two looks at their figures.")
      .def(py::init<>())
      .def("advance", &advance, py::arg("requests"),
           "advance(self, requests: RequestMetrics) -> dict[str, Any]\n\n"
           "The figures of the requests and operations that ended since the last call.");
}

}  // namespace mcp::python
