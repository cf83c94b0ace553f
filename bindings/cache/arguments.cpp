// arguments.cpp: reads lifetimes and tags.
#include "bindings/cache/arguments.h"

#include <algorithm>
#include <utility>

#include "bindings/base/ref.h"

namespace mcp::python {
namespace {

PyObject* ttl_parser = nullptr;  // _durations.nanoseconds

constexpr double kLongest = 3.2e9;  // seconds; a hundred years

}  // namespace

void set_ttl_parser(PyObject* function) {
  const Ref old = Ref::steal(std::exchange(ttl_parser, Py_NewRef(function)));
}

bool read_ttl_argument(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
                       Py_ssize_t positional, const char* usage, Duration& ttl) {
  const Py_ssize_t keywords = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  const bool named = keywords == 1 && nargs == positional &&
                     PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "ttl") == 0;
  if (nargs != positional || (keywords != 0 && !named)) {
    PyErr_SetString(PyExc_TypeError, usage);
    return false;
  }
  return !named || args[positional] == Py_Ellipsis || parse_ttl(args[positional], ttl);
}

bool parse_nanoseconds(PyObject* value, Duration& ttl) {
  if (value == Py_None) {
    ttl = kNever;
    return true;
  }
  const long long number = PyLong_AsLongLong(value);
  if (number == -1 && PyErr_Occurred()) return false;
  ttl = number;
  return true;
}

bool parse_ttl(PyObject* value, Duration& ttl, const char* name) {
  double seconds = -1;
  if (PyFloat_CheckExact(value)) {
    seconds = PyFloat_AS_DOUBLE(value);
  } else if (PyLong_CheckExact(value)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0) seconds = static_cast<double>(number);
  } else if (value == Py_None) {
    ttl = kNever;
    return true;
  }
  if (seconds > 0 && seconds <= kLongest) {
    ttl = std::max<Duration>(1, from_seconds(seconds));
    return true;
  }
  const Ref answer = Ref::steal(PyObject_CallFunction(ttl_parser, "sO", name, value));
  return answer && parse_nanoseconds(answer.get(), ttl);
}

bool parse_tags(PyObject* iterable, std::vector<std::string>& names) {
  if (PyUnicode_Check(iterable)) {
    PyErr_Format(PyExc_TypeError, "tags=%R: expected an iterable of str, not one str", iterable);
    return false;
  }
  if (Py_TYPE(iterable)->tp_iter == nullptr && PySequence_Check(iterable) == 0) {
    PyErr_Format(PyExc_TypeError, "tags=%R: expected an iterable of str", iterable);
    return false;
  }
  const Ref items = Ref::steal(PySequence_Tuple(iterable));
  if (!items) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items.get()); ++i) {
    PyObject* item = PyTuple_GET_ITEM(items.get(), i);
    if (!PyUnicode_Check(item)) {
      PyErr_Format(PyExc_TypeError, "tags=%R: a tag must be a str, not %R", items.get(), item);
      return false;
    }
    const Ref bytes = Ref::steal(PyUnicode_AsEncodedString(item, "utf-8", "surrogatepass"));
    if (!bytes) return false;
    std::string name(PyBytes_AS_STRING(bytes.get()),
                     static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get())));
    if (std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(std::move(name));
  }
  return true;
}

}  // namespace mcp::python
