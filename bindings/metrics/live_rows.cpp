// live_rows.cpp: reads counters, and writes those that have changed into the rows of a slot.
#include "bindings/metrics/live_rows.h"

#include <algorithm>
#include <utility>

namespace mcp::python {
namespace {

// What a weak reference stands for; empty once that is gone.
Ref target_of(PyObject* reference) {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* target = nullptr;
  if (PyWeakref_GetRef(reference, &target) < 0) PyErr_Clear();
  return Ref::steal(target);
#else
  PyObject* target = PyWeakref_GET_OBJECT(reference);
  return target == Py_None ? Ref() : Ref::borrow(target);
#endif
}

}  // namespace

bool LiveRows::publish(metrics::RequestMetrics& metrics, metrics::RowFigures& row, PyObject* source,
                       PyObject* at) {
  const CounterKind* kind = counter_kind(row.kind);
  CounterValues values{};
  if (kind == nullptr || source == Py_None || !kind->read(source, values)) {
    metrics.publish(row);
    return true;
  }
  const std::span places(reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(at)),
                         static_cast<std::size_t>(PyBytes_GET_SIZE(at)));
  const bool fits = places.size() == kind->names.size() &&
                    std::ranges::all_of(places, [&](auto one) { return one < row.values.size(); });
  if (!fits) {
    PyErr_SetString(PyExc_ValueError, "places: expected one of the row's for each counter");
    return false;
  }
  Ref reference = Ref::steal(PyWeakref_NewRef(source, nullptr));
  if (!reference) return false;
  for (std::size_t i = 0; i < places.size(); ++i) row.values.at(places[i]) = values[i];
  Followed followed{std::move(reference), kind, metrics.publish(row), {}, values};
  if (!followed.handle.exists()) return true;
  std::ranges::copy(places, followed.places.begin());
  const auto known = std::ranges::find(rows_, followed.handle, &Followed::handle);
  if (known == rows_.end()) {
    rows_.push_back(std::move(followed));
  } else {
    *known = std::move(followed);
  }
  return true;
}

void LiveRows::tell_all(metrics::RequestMetrics& metrics) {
  std::erase_if(rows_, [&](Followed& row) {
    const Ref source = target_of(row.reference.get());
    CounterValues values{};
    if (!source || !row.kind->read(source.get(), values)) return true;
    if (values == row.told) return false;
    row.told = values;
    const std::size_t count = row.kind->names.size();
    return !metrics.update(row.handle, std::span(row.places).first(count),
                           std::span(values).first(count));
  });
}

}  // namespace mcp::python
