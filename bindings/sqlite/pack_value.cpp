// pack_value.cpp: one value by sqlite3's order: plain types, adapters, subclasses, buffers.
#include "bindings/sqlite/pack_value.h"

#include <sqlite3.h>

#include <cmath>

#include "base/text.h"
#include "bindings/base/errors.h"
#include "bindings/base/ref.h"
#include "bindings/base/saved_error.h"
#include "bindings/base/text.h"
#include "bindings/sqlite/pack_params.h"

namespace mcp::python {
namespace {

using sqlite::Params;

// Sets TypeError: "<place>: <what> of type <type> cannot be bound: <why>".
bool refuse(const ParameterPlace& place, PyObject* value, const char* why) {
  PyErr_Format(PyExc_TypeError, "%s: a value of type %.200s cannot be bound: %s",
               place.text().c_str(), Py_TYPE(value)->tp_name, why);
  return false;
}

// Says where it happened in the exception that is set. Python's own plain classes get the place
// before their message, on a new exception with the old one as its cause; any other exception stays
// the object that it is, and gets a note.
void name_exception(const ParameterPlace& place, bool ours) {
  Ref error = take_error();
  auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(error.get()));
  const bool plain =
      type == PyExc_TypeError || type == PyExc_ValueError || type == PyExc_BufferError;
  if (!ours || !plain) {
    const Ref done = Ref::steal(
        PyObject_CallMethod(error.get(), "add_note", "s", ("in " + place.text()).c_str()));
    PyErr_Clear();
    set_error(std::move(error));
    return;
  }
  PyErr_Format(type, "%s: %S", place.text().c_str(), error.get());
  Ref placed = take_error();
  PyException_SetCause(placed.get(), error.release());
  set_error(std::move(placed));
}

bool pack_int(PyObject* value, const ParameterPlace& place, Params& out) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow != 0) {
    PyErr_Format(PyExc_OverflowError, "%s: an int does not fit SQLite's 64 bits",
                 place.text().c_str());
    return false;
  }
  if (number == -1 && PyErr_Occurred() != nullptr) return false;
  out.add_int(number);
  return true;
}

bool pack_text(PyObject* value, const ParameterPlace& place, bool names_file, Params& out) {
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(value, &size);
  if (bytes == nullptr) {
    name_unicode_error(place.text());
    return false;
  }
  const std::string_view text(bytes, static_cast<std::size_t>(size));
  if (names_file) refuse_nul(place.text(), text, ErrorKind::kQuery, SQLITE_MISUSE);
  out.add_text(text);
  return true;
}

void pack_blob(std::string_view bytes, const ParameterPlace& place, bool names_file, Params& out) {
  if (names_file) refuse_nul(place.text(), bytes, ErrorKind::kQuery, SQLITE_MISUSE);
  out.add_blob(bytes);
}

// By the format of a buffer: the letter O outside of the names of fields, which stand in colons.
bool holds_objects(const char* format) {
  bool in_name = false;
  for (; format != nullptr && *format != '\0'; ++format) {
    if (*format == ':') in_name = !in_name;
    if (*format == 'O' && !in_name) return true;
  }
  return false;
}

bool pack_buffer(PyObject* value, const ParameterPlace& place, bool names_file, Params& out) {
  struct View {
    Py_buffer buffer{};
    ~View() { PyBuffer_Release(&buffer); }
  } view;
  if (PyObject_GetBuffer(value, &view.buffer, PyBUF_ND | PyBUF_FORMAT) != 0) {
    name_exception(place, true);
    return false;
  }
  if (holds_objects(view.buffer.format)) {
    return refuse(place, value, "it holds references to Python objects");
  }
  pack_blob({static_cast<const char*>(view.buffer.buf), static_cast<std::size_t>(view.buffer.len)},
            place, names_file, out);
  return true;
}

// The attribute of the module, if somebody has imported it; null without an exception otherwise.
Ref attribute_if_loaded(const char* module_name, const char* name) {
  const Ref key = Ref::steal(PyUnicode_FromString(module_name));
  const Ref module = Ref::steal(key ? PyImport_GetModule(key.get()) : nullptr);
  Ref found = Ref::steal(module ? PyObject_GetAttrString(module.get(), name) : nullptr);
  PyErr_Clear();
  return found;
}

bool is_instance_if_loaded(PyObject* value, const char* module_name, const char* name) {
  const Ref type = attribute_if_loaded(module_name, name);
  return type && PyType_Check(type.get()) &&
         PyObject_TypeCheck(value, reinterpret_cast<PyTypeObject*>(type.get())) != 0;
}

// A scalar of NumPy's, or an array that is one.
bool is_numpy_scalar(PyObject* value) {
  if (is_instance_if_loaded(value, "numpy", "generic")) return true;
  if (!is_instance_if_loaded(value, "numpy", "ndarray")) return false;
  const Ref dimensions = Ref::steal(PyObject_GetAttrString(value, "ndim"));
  const long count = dimensions ? PyLong_AsLong(dimensions.get()) : -1;
  PyErr_Clear();
  return count == 0;
}

// A long double has no Python twin; it is bound where a float is equal to it.
Ref float_equal_to(PyObject* value) {
  Ref number = Ref::steal(PyNumber_Float(value));
  const int equal = number ? PyObject_RichCompareBool(number.get(), value, Py_EQ) : -1;
  if (equal == 1 || (equal == 0 && std::isnan(PyFloat_AS_DOUBLE(number.get())))) return number;
  PyErr_Clear();
  return {};
}

// 1: an array of NumPy's with masked values; 0: anything else; -1: an exception is set.
int is_masked(PyObject* value) {
  if (!is_instance_if_loaded(value, "numpy.ma", "MaskedArray")) return 0;
  const Ref ask = attribute_if_loaded("numpy.ma", "is_masked");
  const Ref answer = Ref::steal(ask ? PyObject_CallOneArg(ask.get(), value) : nullptr);
  return answer ? PyObject_IsTrue(answer.get()) : -1;
}

bool pack_numpy(PyObject* value, const ParameterPlace& place, bool names_file, Params& out) {
  Ref item = Ref::steal(PyObject_CallMethod(value, "item", nullptr));
  if (!item) return false;
  if (is_instance_if_loaded(item.get(), "numpy", "longdouble")) {
    item = float_equal_to(item.get());
    if (!item) return refuse(place, value, "no float is equal to it");
  }
  if (PyLong_Check(item.get())) return pack_int(item.get(), place, out);  // bool too
  if (PyFloat_Check(item.get())) return out.add_double(PyFloat_AS_DOUBLE(item.get())), true;
  if (PyUnicode_Check(item.get())) return pack_text(item.get(), place, names_file, out);
  if (PyBytes_Check(item.get())) return pack_buffer(item.get(), place, names_file, out);
  return refuse(place, value, "expected a scalar that is a number, a text or bytes");
}

// sqlite3.adapt(value, PrepareProtocol, value): its registry, then __conform__().
Ref adapt_as_sqlite3(PyObject* value) {
  static PyObject *adapt = nullptr, *protocol = nullptr;  // kept from the first use on
  if (protocol == nullptr) {
    const Ref module = Ref::steal(PyImport_ImportModule("sqlite3"));
    if (module && adapt == nullptr) adapt = PyObject_GetAttrString(module.get(), "adapt");
    if (adapt != nullptr) protocol = PyObject_GetAttrString(module.get(), "PrepareProtocol");
    if (protocol == nullptr) return {};
  }
  PyObject* arguments[] = {value, protocol, value};
  return Ref::steal(PyObject_Vectorcall(adapt, arguments, 3, nullptr));
}

bool pack_other(PyObject* value, PyObject* adapters, const ParameterPlace& place, bool names_file,
                Params& out) {
  PyObject* adapter = nullptr;
  if (adapters != nullptr) {
    adapter = PyDict_GetItemWithError(adapters, reinterpret_cast<PyObject*>(Py_TYPE(value)));
    if (adapter == nullptr && PyErr_Occurred() != nullptr) return false;
  }
  const Ref adapted = adapter != nullptr ? Ref::steal(PyObject_CallOneArg(adapter, value))
                                         : adapt_as_sqlite3(value);
  if (adapted) return pack_plain(adapted.get(), place, names_file, out);
  name_exception(place, adapter != nullptr);
  return false;
}

}  // namespace

bool pack_plain(PyObject* value, const ParameterPlace& place, bool names_file, Params& out) {
  if (value == Py_None) return out.add_null(), true;
  if (PyLong_Check(value)) return pack_int(value, place, out);  // bool, IntEnum
  if (PyFloat_Check(value)) return out.add_double(PyFloat_AS_DOUBLE(value)), true;
  if (PyUnicode_Check(value)) return pack_text(value, place, names_file, out);
  if (PyBytes_Check(value)) return pack_buffer(value, place, names_file, out);
  if (PyObject_CheckBuffer(value)) {
    const int masked = is_masked(value);
    if (masked > 0) return refuse(place, value, "it is masked; None is bound as NULL");
    if (masked < 0) return name_exception(place, true), false;
    if (is_numpy_scalar(value)) return pack_numpy(value, place, names_file, out);
    return pack_buffer(value, place, names_file, out);
  }
  return refuse(place, value,
                "expected None, int, float, str, bytes, or a type that the pool or sqlite3 has an "
                "adapter for");
}

std::string ParameterPlace::text() const {
  if (number == kResult) return "the result of a user function";
  std::string out;
  if (row != kNoRow) out = "params[" + std::to_string(row) + "], ";
  return out.append("parameter ").append(name != nullptr ? *name : std::to_string(number));
}

bool pack_value(PyObject* value, PyObject* adapters, const ParameterPlace& place, bool names_file,
                Params& out) {
  if (value == Py_None) return out.add_null(), true;
  if (PyLong_CheckExact(value)) return pack_int(value, place, out);
  if (PyUnicode_CheckExact(value)) return pack_text(value, place, names_file, out);
  if (PyFloat_CheckExact(value)) return out.add_double(PyFloat_AS_DOUBLE(value)), true;
  if (PyBytes_CheckExact(value)) {
    pack_blob({PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value))}, place,
              names_file, out);
    return true;
  }
  return pack_other(value, adapters, place, names_file, out);
}

}  // namespace mcp::python
