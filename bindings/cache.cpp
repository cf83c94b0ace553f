#include "bindings/base/rooms.h"
#include "cache_awaitable.h"
#include "cache_flight.h"
#include "cache_object.h"
#include "cached_function.h"

namespace mcp::python {

void bind_cache(pybind11::module_& module) {
  PyObject* target = module.ptr();
  const bool done = add_keyword_mark(target) && add_cache_type(target) && add_flight_type(target) &&
                    add_awaitable_type(target) && add_cached_function_type(target) &&
                    add_cached_method_type(target);
  if (!done) throw pybind11::error_already_set();
}

}  // namespace mcp::python
