// fields.h: a struct of figures as a dict. What it is made of stands beside the struct alone, in
// visit_fields(struct, visit), which argument-dependent lookup finds.
#pragma once

#include "bindings/base/gil.h"

namespace mcp::python {

template <class Figures>
[[nodiscard]] pybind11::dict dict_of(const Figures& figures) {
  pybind11::dict result;
  visit_fields(figures, [&](const char* name, const auto& value) { result[name] = value; });
  return result;
}

}  // namespace mcp::python
