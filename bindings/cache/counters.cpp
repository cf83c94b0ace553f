// counters.cpp: reads the figures of a cache or of a cached function.
#include "bindings/cache/counters.h"

#include <array>
#include <string_view>

#include "bindings/cache/function.h"
#include "bindings/cache/object.h"

namespace mcp::python {
namespace {

constexpr std::array<std::string_view, 12> kCounters{
    "hits",         "misses",      "loads",          "load_errors",
    "load_seconds", "evictions",   "expirations",    "invalidations",
    "stale_served", "misses_cold", "misses_expired", "misses_evicted"};

bool read_counters(PyObject* object, CounterValues& values) noexcept {
  const CacheState* state = nullptr;
  if (is_cache(object)) {
    state = &state_of(object);
  } else if (is_cached_function(object)) {
    state = as_function(object)->state;
  }
  if (state == nullptr) return false;
  const CacheFigures& f = state->figures;
  const auto number = [](std::uint64_t n) { return static_cast<double>(n); };
  const std::uint64_t explained = f.misses_expired + f.misses_evicted;
  values = {number(f.hits),           number(f.misses),
            number(f.loads),          number(f.load_errors),
            to_seconds(f.load_ns),    number(f.evictions),
            number(f.expirations),    number(f.invalidations),
            number(f.stale_served),   number(f.misses > explained ? f.misses - explained : 0),
            number(f.misses_expired), number(f.misses_evicted)};
  return true;
}

}  // namespace

const CounterKind cache_counters{"cache", kCounters, read_counters};

}  // namespace mcp::python
