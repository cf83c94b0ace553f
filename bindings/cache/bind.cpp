// bind.cpp: binds the types of the room.
#include <algorithm>
#include <iterator>
#include <utility>

#include "bindings/base/rooms.h"
#include "bindings/cache/answer.h"
#include "bindings/cache/flight.h"
#include "bindings/cache/function.h"
#include "bindings/cache/key_plan.h"
#include "bindings/cache/load.h"
#include "bindings/cache/object.h"

namespace mcp::python {
namespace {

bool add_key_shapes(PyObject* module) {
  using Shape = KeyPlan::Shape;
  const std::pair<const char*, Shape> shapes[] = {
      {"KEY_NONE", Shape::kNone},           {"KEY_ONE", Shape::kOne},
      {"KEY_FIXED", Shape::kFixed},         {"KEY_VARIADIC", Shape::kVariadic},
      {"KEY_FUNCTOOLS", Shape::kFunctools}, {"KEY_CALLABLE", Shape::kCallable}};
  return std::all_of(std::begin(shapes), std::end(shapes), [module](const auto& one) {
    return PyModule_AddIntConstant(module, one.first, static_cast<long>(one.second)) == 0;
  });
}

}  // namespace

void bind_cache(pybind11::module_& module) {
  PyObject* target = module.ptr();
  const bool done = add_keyword_mark(target) && add_cache_type(target) && add_flight_type(target) &&
                    add_awaitable_type(target) && add_cached_function_type(target) &&
                    add_bound_function_type(target) && add_cached_method_type(target) &&
                    add_key_shapes(target) && add_front_type(target) && add_async_steps(target);
  if (!done) throw pybind11::error_already_set();
}

}  // namespace mcp::python
