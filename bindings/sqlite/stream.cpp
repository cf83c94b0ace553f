// stream.cpp: rows of a statement in portions, awaited or waited for.
#include "bindings/sqlite/stream.h"

#include <optional>
#include <utility>

#include "bindings/base/collected.h"
#include "bindings/base/errors.h"
#include "bindings/sqlite/action.h"
#include "bindings/sqlite/arguments.h"
#include "bindings/sqlite/pack_params.h"
#include "bindings/sqlite/result.h"
#include "sqlite/portion.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using sqlite::Answer;
using sqlite::Cursor;
using sqlite::Operation;
using sqlite::OperationPtr;

// A stream as Python holds it: its cursor, and the endpoint whose lease it runs on.
struct Stream {
  py::object endpoint;
  std::shared_ptr<Cursor> cursor;
  RowType row_type;

  int traverse(visitproc visit, void* arg) const {
    Py_VISIT(endpoint.ptr());
    return 0;
  }
  void clear() {}  // what is behind the endpoint is cleared there
};

PyObject* converters_of(const Stream& stream) {
  return reinterpret_cast<Endpoint*>(stream.endpoint.ptr())->pool_state()->converters;
}

class PortionConversion final : public Conversion {
 public:
  explicit PortionConversion(const Stream& stream)
      : endpoint_(stream.endpoint),
        collector_(Kind::kFetch, stream.row_type, converters_of(stream)) {}
  Progress resume(Completion& completion, Instant deadline, PyObject*& result) override {
    auto& payload = static_cast<sqlite::Reply&>(*completion.payload);
    if (payload.failure) {
      set_python_error_from(payload.failure);
      return Progress::kError;
    }
    switch (collector_.add(payload.answer.rows, payload.answer.names, deadline)) {
      case Collector::Step::kError:
        return Progress::kError;
      case Collector::Step::kYield:
        return Progress::kYield;
      case Collector::Step::kDone:
        break;
    }
    result = collector_.result(0);
    return result != nullptr ? Progress::kDone : Progress::kError;
  }

 private:
  const py::object endpoint_;  // keeps the pool, and so the converters
  Collector collector_;
};

class PortionAction final : public Action {
 public:
  explicit PortionAction(Stream stream) : stream_(std::move(stream)) {}

  int traverse(visitproc visit, void* arg) override {
    Py_VISIT(stream_.endpoint.ptr());
    return 0;
  }
  Outcome try_now(PyObject*& result, bool) override {
    if (!stream_.cursor->exhausted()) return Outcome::kWait;
    result = PyList_New(0);
    return result != nullptr ? Outcome::kDone : Outcome::kError;
  }
  bool start(std::shared_ptr<CompletionQueue> queue, std::uint64_t id,
             OperationPtr operation) override {
    try {
      sqlite::submit_portion(endpoint().open_lease(), stream_.cursor, std::move(operation),
                             {std::move(queue), id});
      return true;
    } catch (...) {
      set_python_error_from(std::current_exception());
      return false;
    }
  }
  std::unique_ptr<Conversion> conversion() override {
    return std::make_unique<PortionConversion>(stream_);
  }
  void cancel(const OperationPtr& operation) override {
    PoolState& state = *endpoint().pool_state();
    if (state.generation == process_generation()) state.current->cancel(operation);
  }
  [[nodiscard]] Duration timeout() const noexcept override { return 0; }

  PyObject* run_blocking() override {
    try {
      if (stream_.cursor->exhausted()) return PyList_New(0);
      sqlite::Lease& lease = endpoint().open_lease();
      Operation operation;
      operation.set_poll(check_signals);
      std::optional<Answer> answer;
      const std::exception_ptr failure = without_gil(
          [&] { answer = sqlite::take_portion_here(lease, stream_.cursor, operation); });
      if (failure) {
        if (PyErr_Occurred() == nullptr) set_python_error_from(failure);
        return nullptr;
      }
      Collector collector(Kind::kFetch, stream_.row_type, converters_of(stream_));
      if (collector.add(answer->rows, answer->names, kNever) != Collector::Step::kDone) {
        return nullptr;
      }
      return collector.result(0);
    } catch (...) {
      set_python_error_from(std::current_exception());
      return nullptr;
    }
  }

 private:
  [[nodiscard]] Endpoint& endpoint() const {
    return *reinterpret_cast<Endpoint*>(stream_.endpoint.ptr());
  }
  const Stream stream_;
};

Stream open_stream(py::object endpoint, const py::object& sql, const py::object& params,
                   const py::object& row_type) {
  PoolState& state = *reinterpret_cast<Endpoint*>(endpoint.ptr())->pool_state();
  std::optional<RowType> chosen;
  if (!check_sql_type(sql.ptr()) || !read_row_type(row_type.ptr(), chosen)) {
    throw py::error_already_set();
  }
  sqlite::Request request;
  request.profile = state.profile_of(sql.ptr());
  if (request.profile == nullptr) throw py::error_already_set();
  if (!pack_params(params.ptr(), request.profile->placeholders, state.adapters, request.params)) {
    throw py::error_already_set();
  }
  return {std::move(endpoint), std::make_shared<Cursor>(std::move(request)),
          chosen.value_or(state.row_type)};
}

py::object next_portion(const Stream& stream) {
  auto action = std::make_unique<PortionAction>(stream);
  const bool blocking = reinterpret_cast<Endpoint*>(stream.endpoint.ptr())->blocking;
  PyObject* result = blocking ? action->run_blocking() : make_awaitable(std::move(action));
  if (result == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

}  // namespace

void bind_stream(py::module_& module) {
  py::class_<Stream>(module, "SQLiteStream", collected<Stream>())
      .def("next", &next_portion, "next() -> Any");
  module.def("_sqlite_stream", &open_stream,
             "_sqlite_stream(endpoint: SQLiteEndpoint, sql: str, params: Sequence[Any] | "
             "Mapping[str, Any], row_type: str | None, /) -> SQLiteStream");
}

}  // namespace mcp::python
