// counters.h: objects of Python whose counters other rooms read without a call of Python's.
//
// REQUIRES the interpreter lock everywhere. Kinds are added while the module is made, and stay.
#pragma once

#include <Python.h>

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace mcp::python {

inline constexpr std::size_t kMostCounters = 16;
using CounterValues = std::array<double, kMostCounters>;

struct CounterKind {
  std::string_view name;                    // as a row of metrics has it; a literal, as all names
  std::span<const std::string_view> names;  // of the counters, as the object's stats() has them
  // Their values in that order; false for an object that has none. Runs no code of Python's.
  bool (*read)(PyObject* object, CounterValues& values) noexcept;
};

void add_counter_kind(const CounterKind& kind);
// nullptr where there is none of that name.
[[nodiscard]] const CounterKind* counter_kind(std::string_view name) noexcept;

}  // namespace mcp::python
