// pack_value.h: one Python value as a binding; see pack_params.h for the rules.
#pragma once

#include <string>

#include "bindings/base/gil.h"
#include "sqlite/params.h"

namespace mcp::python {

// Which parameter it is, for messages.
struct ParameterPlace {
  static constexpr int kResult = -1;  // as a number: none, but what a user function returned

  Py_ssize_t row;                     // of executemany, or kNoRow
  int number = 0;                     // from 1
  const std::string* name = nullptr;  // as written; null: by its number

  [[nodiscard]] std::string text() const;
};

// `names_file`: SQLite will cut a text at a NUL. False with an exception set.
[[nodiscard]] bool pack_value(PyObject* value, PyObject* adapters, const ParameterPlace& place,
                              bool names_file, sqlite::Params& out);
// The same without adapters, whose result it may be.
[[nodiscard]] bool pack_plain(PyObject* value, const ParameterPlace& place, bool names_file,
                              sqlite::Params& out);

}  // namespace mcp::python
