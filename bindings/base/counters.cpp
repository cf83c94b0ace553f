// counters.cpp: the kinds of objects that have counters.
#include "bindings/base/counters.h"

#include <algorithm>

namespace mcp::python {
namespace {

std::array<CounterKind, 8> kinds{};
std::size_t kind_count = 0;

}  // namespace

void add_counter_kind(const CounterKind& kind) { kinds.at(kind_count++) = kind; }

const CounterKind* counter_kind(std::string_view name) noexcept {
  const auto end = kinds.begin() + static_cast<std::ptrdiff_t>(kind_count);
  const auto found =
      std::find_if(kinds.begin(), end, [&](const auto& k) { return k.name == name; });
  return found == end ? nullptr : &*found;
}

}  // namespace mcp::python
