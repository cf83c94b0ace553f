// analyzer.cpp: the analyzer for python/mcp_performance/query. Reports cross as JSON text, the
// form in which the helper process hands them over too; nothing here is called once a statement.
#include "query/analyzer.h"

#include <pybind11/stl.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/base/errors.h"
#include "bindings/base/native_work.h"
#include "bindings/base/rooms.h"
#include "bindings/base/text.h"
#include "bindings/sqlite/endpoint.h"
#include "bindings/sqlite/figures.h"
#include "bindings/sqlite/pack_params.h"
#include "query/advisor.h"
#include "query/json.h"
#include "sqlite/fingerprint.h"
#include "sqlite/sql_text.h"
#include "sqlite/tracker.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

// Names in a statement may hold bytes that are no UTF-8.
py::str as_text(const std::string& bytes) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace"));
}

class Fingerprint final : public NativeWork {
 public:
  class Statement final : public Task {
   public:
    explicit Statement(std::string sql) : text_(std::move(sql)) {}
    void run() override {
      text_ = sqlite::fingerprint(text_);
      hash_ = query::hexadecimal(sqlite::fingerprint_hash(text_));
    }
    PyObject* result() override { return py::make_tuple(as_text(text_), hash_).release().ptr(); }

   private:
    std::string text_;  // the statement, then its fingerprint
    std::string hash_;
  };

  std::unique_ptr<Task> read(PyObject* item) const override {
    if (!PyUnicode_Check(item)) {
      PyErr_Format(PyExc_TypeError, "sql=%R: expected a string", item);
      return nullptr;
    }
    std::string_view text;
    if (!utf8_of(item, "sql", text)) return nullptr;
    try {
      sqlite::check_sql(text);
    } catch (const Error& error) {
      set_python_error(error);
      return nullptr;
    }
    return std::make_unique<Statement>(std::string(text));
  }
};

constexpr const char* kFingerprintDoc =
    "fingerprint(sql: str, /) -> tuple[str, str]\n\n"
    "The form of a statement without its values, and its hash of 16 hexadecimal digits.\n\n"
    "BatchProcessor.map runs it without the interpreter lock.\n\n"
    "Raises:\n    TypeError: sql is not a string.\n    QueryError: sql holds a NUL.";

// What would be bound, by the adapters of `pool` if it is one.
sqlite::Params packed_params(std::string_view sql, const py::object& params,
                             const py::object& pool) {
  PyObject* adapters = nullptr;
  if (PyObject_TypeCheck(pool.ptr(), endpoint_type) != 0) {
    const PoolState* state = reinterpret_cast<Endpoint*>(pool.ptr())->pool_state();
    adapters = state != nullptr ? state->adapters : nullptr;
  }
  sqlite::Params packed;
  if (!pack_params(params.ptr(), sqlite::placeholders_of(sql), adapters, packed)) {
    throw py::error_already_set();
  }
  return packed;
}

std::vector<query::BoundType> bound_types(std::string_view sql, const py::object& params,
                                          const py::object& pool) {
  std::vector<query::BoundType> types;
  for (const char type : packed_params(sql, params, pool).types()) {
    types.push_back(type == 'N'   ? query::BoundType::kNull
                    : type == 'T' ? query::BoundType::kText
                    : type == 'B' ? query::BoundType::kBlob
                                  : query::BoundType::kNumber);
  }
  return types;
}

// Throws unless it is a str that can be run.
std::string checked_sql(const py::object& sql) {
  if (!PyUnicode_Check(sql.ptr())) {
    throw py::type_error("sql=" + shown(sql.ptr()) + ": expected a str");
  }
  std::string_view text;
  if (!utf8_of(sql.ptr(), "sql", text)) throw py::error_already_set();
  sqlite::check_sql(text);
  return std::string(text);
}

std::string analyze(const std::string& path, const py::object& sql, const py::object& params,
                    const py::object& pool) {
  const std::string text = checked_sql(sql);
  std::vector<query::BoundType> bound;
  if (!params.is_none()) bound = bound_types(text, params, pool);
  const GilRelease unlocked;
  return query::to_json(query::analyze(path, text, bound, query::Trust::kTrusted));
}

// Whether they are what the statement takes: those in a log may be anything.
bool params_fit(const std::string& sql, const py::object& params) {
  try {
    static_cast<void>(packed_params(sql, params, py::none()));
    return true;
  } catch (const py::error_already_set&) {
    return false;
  }
}

// (statement, weight, params or None): what checked_sql() has taken.
std::vector<query::WorkloadEntry> entries_of(const py::list& workload, const py::object& pool) {
  std::vector<query::WorkloadEntry> entries;
  entries.reserve(workload.size());
  for (const py::handle& item : workload) {
    const auto [sql, weight, params] = item.cast<std::tuple<std::string, double, py::object>>();
    query::WorkloadEntry entry{sql, weight, nullptr};
    if (!params.is_none()) {
      entry.parameters = std::make_shared<sqlite::Params>(packed_params(sql, params, pool));
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

// Hears Ctrl-C while the core works: Python runs the handlers of signals on its main thread alone.
class SignalsHeard {
 public:
  SignalsHeard() {
    const py::module_ threading = py::module_::import("threading");
    main_ = threading.attr("main_thread")().is(threading.attr("current_thread")());
  }

  [[nodiscard]] std::function<bool()> asked() {
    if (!main_) return nullptr;
    return [this] {
      const py::gil_scoped_acquire locked;
      if (PyErr_CheckSignals() == 0) return false;
      raised_.emplace();
      return true;
    };
  }

  void raise() {
    if (raised_) throw std::move(*raised_);
  }

 private:
  bool main_ = false;
  std::optional<py::error_already_set> raised_;
};

std::string advise(const std::string& path, const py::list& workload, const py::object& pool,
                   double budget_s, std::size_t most_indexes, std::int64_t most_bytes,
                   const py::object& progress) {
  query::AdviceOptions options;
  options.budget_ns = from_seconds(budget_s);
  options.measure = budget_s > 0;
  options.most_indexes = most_indexes;
  options.most_bytes = most_bytes;
  if (!progress.is_none()) {
    // This thread came from Python: it only takes up again the lock that it put down.
    options.progress = [&progress](const char* what, double share) {
      const py::gil_scoped_acquire locked;
      progress(what, share);
    };
  }
  SignalsHeard signals;
  options.stop = signals.asked();
  const std::vector<query::WorkloadEntry> entries = entries_of(workload, pool);
  const auto advice = [&] {
    const GilRelease unlocked;
    return query::to_json(query::advise(path, entries, options));
  }();
  signals.raise();
  return advice;
}

// The statements of a program that has no pool.
class StatementLog {
 public:
  explicit StatementLog(double slow_s) : tracker_(from_seconds(slow_s)) {}

  void record(const std::string& sql, double seconds, std::uint64_t rows) {
    sqlite::Execution execution;
    execution.step_ns = from_seconds(seconds);
    execution.rows = rows;
    tracker_.record(*tracker_.figures_of(sql), execution);
  }
  [[nodiscard]] py::list totals() const { return totals_by_fingerprint(tracker_); }
  [[nodiscard]] py::dict overall() const { return totals_of_all(tracker_); }

 private:
  sqlite::Tracker tracker_;
};

}  // namespace

void bind_analyzer(py::module_& module) {
  PyObject* function =
      make_native_function("fingerprint", kFingerprintDoc, std::make_shared<Fingerprint>());
  if (function == nullptr) throw py::error_already_set();
  module.attr("fingerprint") = py::reinterpret_steal<py::object>(function);
  module.def("analyze", &analyze, py::arg("path"), py::arg("sql"), py::arg("params"),
             py::arg("pool"));
  module.def("checked_sql", &checked_sql, py::arg("sql"));
  module.def("params_fit", &params_fit, py::arg("sql"), py::arg("params"));
  module.def("advise", &advise, py::arg("path"), py::arg("workload"), py::arg("pool"),
             py::arg("budget_s"), py::arg("most_indexes"), py::arg("most_bytes"),
             py::arg("progress"));
  py::class_<StatementLog>(module, "StatementLog")
      .def(py::init<double>(), py::arg("slow_s"))
      .def("record", &StatementLog::record, py::arg("sql"), py::arg("seconds"), py::arg("rows"))
      .def("totals", &StatementLog::totals, "totals() -> list[dict[str, Any]]")
      .def("overall", &StatementLog::overall);
}

}  // namespace mcp::python
