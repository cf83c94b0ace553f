#include "bindings/sqlite/pack_params.h"

#include <new>

namespace mcp::python {
namespace {

using sqlite::Params;

bool pack_value(PyObject* value, PyObject* adapters, Params& out, bool adapted);

bool pack_int(PyObject* value, Params& out) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow != 0) {
    PyErr_SetString(PyExc_OverflowError, "an int does not fit SQLite's 64 bits");
    return false;
  }
  if (number == -1 && PyErr_Occurred() != nullptr) return false;
  out.add_int(number);
  return true;
}

bool pack_text(PyObject* value, Params& out) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(value, &size);
  if (text == nullptr) return false;
  out.add_text({text, static_cast<std::size_t>(size)});
  return true;
}

bool pack_buffer(PyObject* value, Params& out) {
  Py_buffer view;
  if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) != 0) return false;
  try {
    out.add_blob({static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len)});
  } catch (...) {
    PyBuffer_Release(&view);
    throw;
  }
  PyBuffer_Release(&view);
  return true;
}

bool pack_adapted(PyObject* value, PyObject* adapters, Params& out) {
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(value));
  PyObject* adapter = adapters != nullptr ? PyDict_GetItemWithError(adapters, type) : nullptr;
  if (adapter == nullptr) {
    if (PyErr_Occurred() == nullptr) {
      PyErr_Format(
          PyExc_TypeError,
          "params: a value of type %.200s cannot be bound: expected None, int, float, str, "
          "bytes or a type among the pool's adapters",
          Py_TYPE(value)->tp_name);
    }
    return false;
  }
  PyObject* converted = PyObject_CallOneArg(adapter, value);
  if (converted == nullptr) return false;
  const bool packed = pack_value(converted, adapters, out, true);
  Py_DECREF(converted);
  return packed;
}

bool pack_value(PyObject* value, PyObject* adapters, Params& out, bool adapted) {
  if (value == Py_None) {
    out.add_null();
    return true;
  }
  if (PyLong_CheckExact(value)) return pack_int(value, out);
  if (PyUnicode_CheckExact(value)) return pack_text(value, out);
  if (PyFloat_CheckExact(value)) {
    out.add_double(PyFloat_AS_DOUBLE(value));
    return true;
  }
  if (PyBytes_CheckExact(value)) {
    out.add_blob({PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value))});
    return true;
  }
  if (adapters != nullptr && !adapted) {
    PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(value));
    const int known = PyDict_Contains(adapters, type);
    if (known < 0) return false;
    if (known > 0) return pack_adapted(value, adapters, out);
  }
  if (PyLong_Check(value)) return pack_int(value, out);  // bool, IntEnum
  if (PyUnicode_Check(value)) return pack_text(value, out);
  if (PyFloat_Check(value)) {
    out.add_double(PyFloat_AsDouble(value));
    return true;
  }
  if (PyObject_CheckBuffer(value)) return pack_buffer(value, out);
  return pack_adapted(value, adapted ? nullptr : adapters, out);
}

bool pack_mapping(PyObject* params, PyObject* adapters, Params& out) {
  PyObject* items = PyMapping_Items(params);
  if (items == nullptr) return false;
  bool good = true;
  for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE(items); ++i) {
    PyObject* name = PyTuple_GET_ITEM(PyList_GET_ITEM(items, i), 0);
    PyObject* value = PyTuple_GET_ITEM(PyList_GET_ITEM(items, i), 1);
    if (!PyUnicode_Check(name)) {
      PyErr_Format(PyExc_TypeError, "params: the name of a parameter is a str, not %.200s",
                   Py_TYPE(name)->tp_name);
      good = false;
      break;
    }
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(name, &size);
    good = text != nullptr;
    if (good) {
      out.add_name({text, static_cast<std::size_t>(size)});
      good = pack_value(value, adapters, out, false);
    }
  }
  Py_DECREF(items);
  return good;
}

}  // namespace

bool pack_params(PyObject* params, PyObject* adapters, Params& out) {
  if (PyTuple_CheckExact(params)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(params); ++i) {
      if (!pack_value(PyTuple_GET_ITEM(params, i), adapters, out, false)) return false;
    }
    return true;
  }
  if (PyDict_Check(params) || (!PyList_Check(params) && !PyTuple_Check(params) &&
                               PyMapping_Check(params) && !PySequence_Check(params))) {
    return pack_mapping(params, adapters, out);
  }
  if (PyUnicode_Check(params) || PyBytes_Check(params)) {
    PyErr_Format(PyExc_TypeError, "params: expected a sequence or a mapping of values, not %.200s",
                 Py_TYPE(params)->tp_name);
    return false;
  }
  // Adapters run Python code, which could change a list under way: work on a tuple.
  PyObject* values = PySequence_Tuple(params);
  if (values == nullptr) return false;
  bool good = true;
  for (Py_ssize_t i = 0; good && i < PyTuple_GET_SIZE(values); ++i) {
    good = pack_value(PyTuple_GET_ITEM(values, i), adapters, out, false);
  }
  Py_DECREF(values);
  return good;
}

}  // namespace mcp::python
