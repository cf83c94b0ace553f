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

PyObject* call_placed(KeywordFunction function, const char* usage,
                      std::initializer_list<const char*> names, PyObject* object,
                      PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const auto places = static_cast<Py_ssize_t>(names.size());
  const Py_ssize_t keywords = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  std::vector<PyObject*> placed(args, args + nargs);  // borrowed
  std::vector<PyObject*> left;
  const Ref others = Ref::steal(PyList_New(0));
  if (!others) return nullptr;
  placed.resize(static_cast<std::size_t>(std::max(places, nargs)));
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, k);
    const auto at = std::find_if(names.begin(), names.end(), [&](const char* one) {
      return PyUnicode_CompareWithASCIIString(name, one) == 0;
    });
    if (at != names.end() && placed[static_cast<std::size_t>(at - names.begin())] == nullptr) {
      placed[static_cast<std::size_t>(at - names.begin())] = args[nargs + k];
    } else {
      left.push_back(args[nargs + k]);
      if (PyList_Append(others.get(), name) < 0) return nullptr;
    }
  }
  if (nargs >= places || std::find(placed.begin(), placed.end(), nullptr) != placed.end()) {
    PyErr_SetString(PyExc_TypeError, usage);
    return nullptr;
  }
  const Ref named = Ref::steal(left.empty() ? nullptr : PyList_AsTuple(others.get()));
  if (!left.empty() && !named) return nullptr;
  placed.insert(placed.end(), left.begin(), left.end());
  return function(object, placed.data(), places, named.get());
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
