#include "bindings/base/rooms.h"
#include "bindings/cache/answer.h"
#include "bindings/cache/flight.h"
#include "bindings/cache/function.h"
#include "bindings/cache/object.h"

namespace mcp::python {

void bind_cache(pybind11::module_& module) {
  PyObject* target = module.ptr();
  const bool done = add_keyword_mark(target) && add_cache_type(target) && add_flight_type(target) &&
                    add_awaitable_type(target) && add_cached_function_type(target) &&
                    add_bound_function_type(target) && add_cached_method_type(target);
  if (!done) throw pybind11::error_already_set();
}

}  // namespace mcp::python
