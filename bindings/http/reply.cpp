// reply.cpp: makes Python objects of replies.
#include "bindings/http/reply.h"

#include <string>

#include "bindings/base/ref.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

PyTypeObject* reply_type = nullptr;

PyStructSequence_Field reply_fields[] = {
    {"status",
     "-> int\n\n"
     "The status code."},
    {"headers",
     "-> list[tuple[str, str]]\n\n"
     "(name, value) pairs in their order, names in lower case."},
    {"body",
     "-> bytes\n\n"
     "The body, gzip and deflate undone."},
    {"trailers",
     "-> list[tuple[str, str]]\n\n"
     "Fields that came behind the body, like headers; no element of the tuple."},
    {nullptr, nullptr},
};
PyStructSequence_Desc reply_desc = {"mcp_performance._core.HttpReply",
                                    "class HttpReply(tuple[int, list[tuple[str, str]], bytes])\n\n"
                                    "What a server answered to one request.",
                                    reply_fields, 3};

Ref latin1(const std::string& text) {
  return Ref::steal(
      PyUnicode_DecodeLatin1(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
}

Ref to_python(const http::HeaderList& headers) {
  Ref list = Ref::steal(PyList_New(static_cast<Py_ssize_t>(headers.size())));
  for (std::size_t i = 0; list && i < headers.size(); ++i) {
    const Ref name = latin1(headers[i].first);
    const Ref value = latin1(headers[i].second);
    if (!name || !value) return {};
    PyObject* pair = PyTuple_Pack(2, name.get(), value.get());
    if (pair == nullptr) return {};
    PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), pair);
  }
  return list;
}

}  // namespace

PyObject* reply_to_python(const http::Reply& reply) {
  Ref status = Ref::steal(PyLong_FromLong(reply.status));
  Ref headers = to_python(reply.headers);
  Ref trailers = to_python(reply.trailers);
  Ref body = Ref::steal(
      PyBytes_FromStringAndSize(reply.body.data(), static_cast<Py_ssize_t>(reply.body.size())));
  Ref result = Ref::steal(status && headers && body && trailers ? PyStructSequence_New(reply_type)
                                                                : nullptr);
  if (!result) return nullptr;
  PyStructSequence_SET_ITEM(result.get(), 0, status.release());
  PyStructSequence_SET_ITEM(result.get(), 1, headers.release());
  PyStructSequence_SET_ITEM(result.get(), 2, body.release());
  PyStructSequence_SET_ITEM(result.get(), 3, trailers.release());
  return result.release();
}

void bind_http_reply(py::module_& module) {
  reply_type = PyStructSequence_NewType(&reply_desc);
  if (reply_type == nullptr) throw py::error_already_set();
  module.attr("HttpReply") = py::handle(reinterpret_cast<PyObject*>(reply_type));
}

}  // namespace mcp::python
