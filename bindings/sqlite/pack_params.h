// pack_params.h: Python values as the bindings of a statement, by sqlite3's rules.
//
// What holds them: a mapping (any collections.abc.Mapping) gives values by name, any other sequence
// but a str or bytes-like object by position, also to named parameters. What they are, in this
// order: None, int, float, str and bytes themselves; else what the pool's adapter for the type, or
// sqlite3's registered adapter, or __conform__() makes of them, once; then subclasses of int, float
// and str, NumPy's scalars as their numbers, and bytes-like objects.
//
// Adapters, mappings and sequences may be Python code: no lock of the core is held, and whatever
// that code does to the parameters, each value is alive while it is read.
#pragma once

#include "bindings/base/gil.h"
#include "bindings/base/ref.h"
#include "sqlite/params.h"
#include "sqlite/sql_text.h"

namespace mcp::python {

inline constexpr Py_ssize_t kNoRow = -1;

// Packs `params` for a statement that takes `wants`, in the order of its numbers. `adapters` is a
// dict from type to callable, or null; `row` is its index among the rows of executemany. False with
// a Python exception set that names the parameter: TypeError for a container or a value of a wrong
// type, OverflowError for an int beyond 64 bits, UnicodeEncodeError for a lone surrogate,
// QueryError for a wrong number and for a name that a mapping lacks; or with the exception that
// Python code raised.
[[nodiscard]] bool pack_params(PyObject* params, const sqlite::Placeholders& wants,
                               PyObject* adapters, sqlite::Params& out, Py_ssize_t row = kNoRow);

// An iterator over the rows of executemany; null with TypeError set.
[[nodiscard]] Ref rows_of(PyObject* rows);

}  // namespace mcp::python
