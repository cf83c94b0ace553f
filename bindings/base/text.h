// text.h: Python strings as UTF-8, and values in messages. Everything here needs the interpreter
// lock.
#pragma once

#include <string>
#include <string_view>

#include "bindings/base/gil.h"

namespace mcp::python {

// Adds `where` to the reason of the UnicodeEncodeError that is set; other exceptions stay as they
// are.
void name_unicode_error(const std::string& where) noexcept;

// The UTF-8 of `text`, which must be a str and keeps it. False with an exception set, which names
// `where`: a lone surrogate has no UTF-8.
[[nodiscard]] bool utf8_of(PyObject* text, const char* where, std::string_view& out) noexcept;

// The repr of `value` in ASCII, at most 100 characters of it. Sets no exception.
[[nodiscard]] std::string shown(PyObject* value);

}  // namespace mcp::python
