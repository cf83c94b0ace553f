// arguments.h: reads the lifetimes and tags that callers pass to caches and cached functions.
#pragma once

#include <Python.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "base/clock.h"
#include "bindings/base/methods.h"

namespace mcp::python {

// A lifetime as the public API takes it: seconds, timedelta, text, or None for ever. False with an
// exception set that calls it `name`.
[[nodiscard]] bool parse_ttl(PyObject* value, Duration& ttl, const char* name = "ttl");

// Checks a METH_FASTCALL call of `positional` arguments and at most `ttl=`, and reads that one;
// `...` and no `ttl=` leave `ttl` as it is. False with an exception set, `usage` if the shape is
// wrong.
[[nodiscard]] bool read_ttl_argument(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
                                     Py_ssize_t positional, const char* usage, Duration& ttl);

// Calls a METH_FASTCALL function again, with those of `names`, its arguments by place, that were
// given by name put into their places. TypeError, `usage`, where that leaves one out.
[[nodiscard]] PyObject* call_placed(KeywordFunction function, const char* usage,
                                    std::initializer_list<const char*> names, PyObject* object,
                                    PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);

// Nanoseconds as an int, or None for ever.
[[nodiscard]] bool parse_nanoseconds(PyObject* value, Duration& ttl);

// The distinct strings of an iterable of str. False with an exception set.
[[nodiscard]] bool parse_tags(PyObject* iterable, std::vector<std::string>& names);

// What reads a lifetime that is no plain number: function(name, value) -> nanoseconds or None.
void set_ttl_parser(PyObject* function);

}  // namespace mcp::python
