// arguments.cpp: parses the arguments of a call without making objects of them.
#include "bindings/sqlite/arguments.h"

#include <algorithm>
#include <cmath>

#include "bindings/base/errors.h"
#include "bindings/base/text.h"

namespace mcp::python {
namespace {

PyObject *name_sql, *name_params, *name_timeout, *name_cache, *name_row_type;
PyObject *value_tuple, *value_named, *value_dict, *empty_tuple;

bool same_name(PyObject* given, PyObject* wanted) {
  return given == wanted || PyUnicode_Compare(given, wanted) == 0;
}

// False with TypeError set: "name=value: expected ...".
bool wrong_type(const char* name, PyObject* value, const char* expected) {
  PyErr_Format(PyExc_TypeError, "%s=%s: expected %s", name, shown(value).c_str(), expected);
  return false;
}

bool wrong_value(const char* name, PyObject* value, const char* expected) {
  set_python_error(invalid_argument(name, shown(value), expected));
  return false;
}

bool read_cache(PyObject* value, bool& out) {
  if (!PyBool_Check(value)) return wrong_type("cache", value, "True or False");
  out = value == Py_True;
  return true;
}

bool read_keyword(PyObject* name, PyObject* value, Kind kind, Arguments& out) {
  const bool fetches = kind != Kind::kExecute && kind != Kind::kMany;
  if (same_name(name, name_timeout)) return read_timeout(value, out.timeout_ns);
  if (same_name(name, name_params)) return out.params = value, true;
  if (same_name(name, name_sql)) return out.sql = value, true;
  if (fetches && same_name(name, name_cache)) return read_cache(value, out.cache);
  if (fetches && same_name(name, name_row_type)) return read_row_type(value, out.row_type);
  PyErr_Format(PyExc_TypeError, "unexpected keyword argument '%U'", name);
  return false;
}

}  // namespace

bool read_timeout(PyObject* value, Duration& out) {
  constexpr const char* kExpected = "a positive number of seconds, or None";
  if (value == Py_None) return true;
  if (PyBool_Check(value) || (!PyFloat_Check(value) && !PyLong_Check(value))) {
    return wrong_type("timeout", value, kExpected);
  }
  const double seconds = PyFloat_AsDouble(value);
  PyErr_Clear();  // an int that no double holds
  if (!(seconds > 0) || std::isinf(seconds)) return wrong_value("timeout", value, kExpected);
  out = std::max<Duration>(1, from_seconds(seconds));
  return true;
}

bool read_row_type(PyObject* value, std::optional<RowType>& out) {
  constexpr const char* kExpected = "'tuple', 'named' or 'dict'";
  if (value == Py_None) return true;
  if (!PyUnicode_Check(value)) return wrong_type("row_type", value, kExpected);
  if (same_name(value, value_tuple)) return out = RowType::kTuple, true;
  if (same_name(value, value_named)) return out = RowType::kNamed, true;
  if (same_name(value, value_dict)) return out = RowType::kDict, true;
  return wrong_value("row_type", value, kExpected);
}

bool check_sql_type(PyObject* sql) {
  if (sql != nullptr && PyUnicode_Check(sql)) return true;
  PyErr_Format(PyExc_TypeError, "sql: expected a str, not %.200s",
               sql == nullptr ? "nothing" : Py_TYPE(sql)->tp_name);
  return false;
}

bool read_arguments(Kind kind, PyObject* const* args, Py_ssize_t count, PyObject* names,
                    Arguments& out) {
  if (count > 2) {
    PyErr_Format(PyExc_TypeError,
                 "expected sql and params, got %zd positional arguments: params is one sequence or "
                 "mapping",
                 count);
    return false;
  }
  if (count > 0) out.sql = args[0];
  if (count > 1) out.params = args[1];
  const Py_ssize_t keywords = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; i < keywords; ++i) {
    if (!read_keyword(PyTuple_GET_ITEM(names, i), args[count + i], kind, out)) return false;
  }
  if (!check_sql_type(out.sql)) return false;
  if (out.params == nullptr) {
    if (kind == Kind::kMany) {
      PyErr_SetString(PyExc_TypeError, "executemany: expected a sequence of parameters");
      return false;
    }
    out.params = empty_tuple;
  }
  return true;
}

PyObject* no_params() noexcept { return empty_tuple; }

void prepare_argument_names() {
  const auto intern = [](const char* text) { return PyUnicode_InternFromString(text); };
  name_sql = intern("sql");
  name_params = intern("params");
  name_timeout = intern("timeout");
  name_cache = intern("cache");
  name_row_type = intern("row_type");
  value_tuple = intern("tuple");
  value_named = intern("named");
  value_dict = intern("dict");
  empty_tuple = PyTuple_New(0);
}

}  // namespace mcp::python
