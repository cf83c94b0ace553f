// pack_params.h: Python values as bindings of a statement.
#pragma once

#include "bindings/base/gil.h"
#include "sqlite/params.h"

namespace mcp::python {

// Packs `params`, a sequence or a mapping. `adapters` is a dict from type to callable, or null.
// False with a Python exception set: TypeError for an unsupported type, OverflowError for an int
// beyond 64 bits, UnicodeEncodeError for a lone surrogate.
[[nodiscard]] bool pack_params(PyObject* params, PyObject* adapters, sqlite::Params& out);

}  // namespace mcp::python
