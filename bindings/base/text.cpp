// text.cpp: Python strings as UTF-8, with errors that name the parameter.
#include "bindings/base/text.h"

#include "bindings/base/ref.h"
#include "bindings/base/saved_error.h"

namespace mcp::python {

void name_unicode_error(const std::string& where) noexcept {
  if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError) == 0) return;
  Ref error = take_error();
  const Ref reason = Ref::steal(PyUnicodeEncodeError_GetReason(error.get()));
  const Ref named =
      Ref::steal(reason ? PyUnicode_FromFormat("%U in %s", reason.get(), where.c_str()) : nullptr);
  const Ref text = Ref::steal(named ? PyUnicode_AsUTF8String(named.get()) : nullptr);
  if (text) PyUnicodeEncodeError_SetReason(error.get(), PyBytes_AS_STRING(text.get()));
  PyErr_Clear();
  set_error(std::move(error));
}

bool utf8_of(PyObject* text, const char* where, std::string_view& out) noexcept {
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(text, &size);
  if (bytes == nullptr) {
    name_unicode_error(where);
    return false;
  }
  out = {bytes, static_cast<std::size_t>(size)};
  return true;
}

std::string shown(PyObject* value) {
  constexpr std::size_t kLongest = 100;
  const Ref text = Ref::steal(PyObject_ASCII(value));
  const char* ascii = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (ascii == nullptr) {
    PyErr_Clear();
    return std::string("<") + Py_TYPE(value)->tp_name + ">";
  }
  std::string out(ascii);
  if (out.size() > kLongest) out.replace(kLongest - 3, std::string::npos, "...");
  return out;
}

}  // namespace mcp::python
