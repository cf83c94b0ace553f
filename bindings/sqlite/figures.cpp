// figures.cpp: dicts of a Tracker's figures.
#include "bindings/sqlite/figures.h"

#include <cstdio>
#include <string>

#include "bindings/base/fields.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

py::str text(const std::string& utf8) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "replace"));
}

py::str hex(std::uint64_t hash) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return py::str(digits);
}

}  // namespace

py::list totals_by_fingerprint(const sqlite::Tracker& tracker) {
  py::list out;
  for (const sqlite::FigureTotals& f : tracker.totals()) {
    py::dict one = dict_of(f);
    one["fingerprint"] = text(f.fingerprint);
    one["hash"] = hex(f.hash);
    one["sample"] = text(f.sample);
    out.append(one);
  }
  return out;
}

py::list slow_executions(const sqlite::Tracker& tracker) {
  py::list out;
  for (const sqlite::SlowStatement& s : tracker.slow()) {
    py::dict one;
    one["fingerprint"] = text(s.fingerprint);
    one["hash"] = hex(s.hash);
    one["sample"] = text(s.sample);
    one["at"] = s.at;
    one["queue_seconds"] = to_seconds(s.execution.queue_ns);
    one["step_seconds"] = to_seconds(s.execution.step_ns);
    one["rows"] = s.execution.rows;
    one["rows_scanned"] = s.execution.rows_scanned;
    one["sorts"] = s.execution.sorts;
    one["auto_indexes"] = s.execution.auto_indexes;
    out.append(one);
  }
  return out;
}

py::dict totals_of_all(const sqlite::Tracker& tracker) {
  std::size_t count = 0;
  const sqlite::FigureTotals all = tracker.overall(count);
  py::dict out;
  out["calls"] = all.calls;
  out["errors"] = all.errors;
  out["total_seconds"] = all.step_s;
  out["mean_seconds"] = all.mean_s;
  out["p95_seconds"] = all.p95_s;
  out["p99_seconds"] = all.p99_s;
  out["max_seconds"] = all.max_s;
  out["rows"] = all.rows;
  out["rows_scanned"] = all.rows_scanned;
  out["fingerprints"] = count;
  return out;
}

}  // namespace mcp::python
