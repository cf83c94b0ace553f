// arguments.h: what a call of fetch() and its like said. Everything here needs the
// interpreter lock.
#pragma once

#include <optional>

#include "base/clock.h"
#include "bindings/base/gil.h"
#include "bindings/sqlite/result.h"

namespace mcp::python {

struct Arguments {
  PyObject* sql = nullptr;     // borrowed
  PyObject* params = nullptr;  // borrowed
  Duration timeout_ns = 0;
  bool cache = true;
  std::optional<RowType> row_type;
};

// From a vectorcall's arguments. False with TypeError or ConfigurationError set.
[[nodiscard]] bool read_arguments(Kind kind, PyObject* const* args, Py_ssize_t count,
                                  PyObject* names, Arguments& out);

// One option each, wherever it is taken; the same errors.
[[nodiscard]] bool read_timeout(PyObject* value, Duration& out);
[[nodiscard]] bool read_row_type(PyObject* value, std::optional<RowType>& out);
[[nodiscard]] bool check_sql_type(PyObject* sql);

// No parameters, borrowed.
[[nodiscard]] PyObject* no_params() noexcept;

void prepare_argument_names();

}  // namespace mcp::python
