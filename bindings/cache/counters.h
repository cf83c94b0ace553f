// counters.h: what a cache or a cached function has counted, for other rooms.
#pragma once

#include "bindings/base/counters.h"

namespace mcp::python {

extern const CounterKind cache_counters;

}  // namespace mcp::python
