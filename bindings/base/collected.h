// collected.h: pybind11 classes whose objects hold Python objects, as the garbage collector sees
// them: a cycle through one is found and ended. Without it whatever such an object holds lives for
// ever once it leads back there.
#pragma once

#include <pybind11/pybind11.h>

namespace mcp::python {

// An extra of py::class_<T>. `T::traverse(visitproc, void*) const` visits each reference that the
// object alone owns and nothing is using; `T::clear()` lets go of them. Both are called with the
// interpreter lock held. traverse() runs no Python code.
template <class T>
pybind11::custom_type_setup collected() {
  static constexpr auto held = [](PyObject* object) {  // null before it is made
    auto* instance = reinterpret_cast<pybind11::detail::instance*>(object);
    return static_cast<T*>(instance->get_value_and_holder().value_ptr());
  };
  return pybind11::custom_type_setup([](PyHeapTypeObject* heap_type) {
    PyTypeObject& type = heap_type->ht_type;
    type.tp_flags |= Py_TPFLAGS_HAVE_GC;
    type.tp_traverse = [](PyObject* object, visitproc visit, void* arg) {
      Py_VISIT(Py_TYPE(object));
      const T* const value = held(object);
      return value == nullptr ? 0 : value->traverse(visit, arg);
    };
    type.tp_clear = [](PyObject* object) {
      if (T* const value = held(object); value != nullptr) value->clear();
      return 0;
    };
  });
}

}  // namespace mcp::python
