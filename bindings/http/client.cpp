// client.cpp: single HTTP requests as native work, so that a batch runs them without the
// interpreter lock.
#include "http/client.h"

#include <pybind11/stl.h>

#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/base/errors.h"
#include "bindings/base/gil.h"
#include "bindings/base/native_work.h"
#include "bindings/base/ref.h"
#include "bindings/base/rooms.h"
#include "bindings/base/text.h"
#include "bindings/http/reply.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using http::HeaderList;

// What get() and send() share: where to, and what is added to each request.
struct Service {
  Service(http::ClientOptions options, std::string base_path, http::HeaderList common)
      : client(std::move(options)), prefix(std::move(base_path)), headers(std::move(common)) {
    http::check({"GET", prefix + "/", headers, ""});
  }
  http::Client client;
  const std::string prefix;
  const http::HeaderList headers;
};

class RequestTask final : public NativeWork::Task {
 public:
  RequestTask(std::shared_ptr<Service> service, http::Message message)
      : service_(std::move(service)), message_(std::move(message)) {}

  void run() override {
    try {
      reply_ = service_->client.send(std::move(message_));
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  PyObject* result() override {
    if (failure_ == nullptr) return reply_to_python(reply_);
    if (PyErr_Occurred() != nullptr) return nullptr;  // a signal's
    try {
      std::rethrow_exception(failure_);
    } catch (...) {
      set_python_error_from_current_exception();
    }
    return nullptr;
  }

 private:
  const std::shared_ptr<Service> service_;
  http::Message message_;
  http::Reply reply_;
  std::exception_ptr failure_;
};

class RequestWork : public NativeWork {
 public:
  explicit RequestWork(std::shared_ptr<Service> service) : service_(std::move(service)) {}

 protected:
  [[nodiscard]] std::unique_ptr<Task> task(std::string method, PyObject* path,
                                           const http::HeaderList& own, std::string body) const {
    if (!PyUnicode_Check(path)) {
      PyErr_Format(PyExc_TypeError, "path: expected a str, not %.200s", Py_TYPE(path)->tp_name);
      return nullptr;
    }
    if (!PyUnicode_IS_ASCII(path)) {
      set_python_error(invalid_argument("path", shown(path), "ASCII; see urllib.parse.quote()"));
      return nullptr;
    }
    http::Message message{std::move(method), service_->prefix, service_->headers, std::move(body)};
    message.target.append(static_cast<const char*>(PyUnicode_DATA(path)),
                          static_cast<std::size_t>(PyUnicode_GET_LENGTH(path)));
    for (const auto& header : own) {
      std::erase_if(message.headers, [&header](const auto& one) {
        return http::same_header(one.first, header.first);
      });
    }
    message.headers.insert(message.headers.end(), own.begin(), own.end());
    return std::make_unique<RequestTask>(service_, std::move(message));
  }

 private:
  const std::shared_ptr<Service> service_;
};

class GetWork final : public RequestWork {
 public:
  using RequestWork::RequestWork;
  [[nodiscard]] std::unique_ptr<Task> read(PyObject* item) const override {
    return task("GET", item, {}, {});
  }
};

// An item is (method, path), (method, path, body) or (method, path, body, headers).
class SendWork final : public RequestWork {
 public:
  using RequestWork::RequestWork;
  [[nodiscard]] std::unique_ptr<Task> read(PyObject* item) const override {
    const Py_ssize_t size = PyTuple_Check(item) ? PyTuple_GET_SIZE(item) : 0;
    if (size < 2 || size > 4) {
      PyErr_Format(PyExc_TypeError,
                   "request=%R: expected a tuple of method and path, and of body and headers if it "
                   "has them",
                   item);
      return nullptr;
    }
    const auto part = [item](Py_ssize_t i) { return py::handle(PyTuple_GET_ITEM(item, i)); };
    std::string body;
    if (size > 2 && !read_body(part(2).ptr(), body)) return nullptr;
    http::HeaderList headers;
    if (size > 3 && !read_headers(part(3).ptr(), headers)) return nullptr;
    if (!PyUnicode_Check(part(0).ptr())) {
      PyErr_Format(PyExc_TypeError, "method=%R: expected a str", part(0).ptr());
      return nullptr;
    }
    return task(part(0).cast<std::string>(), part(1).ptr(), headers, std::move(body));
  }

 private:
  static bool read_body(PyObject* body, std::string& out) {
    if (body == Py_None) return true;
    Py_buffer view;
    if (PyUnicode_Check(body)) {
      Py_ssize_t size = 0;
      const char* text = PyUnicode_AsUTF8AndSize(body, &size);
      if (text == nullptr) return false;
      out.assign(text, static_cast<std::size_t>(size));
      return true;
    }
    if (PyObject_GetBuffer(body, &view, PyBUF_SIMPLE) != 0) {
      PyErr_Format(PyExc_TypeError, "body: expected bytes, a str or None, not %.200s",
                   Py_TYPE(body)->tp_name);
      return false;
    }
    out.assign(static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len));
    PyBuffer_Release(&view);
    return true;
  }

  // As `_base/_headers.py`: Latin-1.
  static bool read_headers(PyObject* headers, http::HeaderList& out) {
    const Ref items =
        Ref::steal(PyMapping_Check(headers) != 0 ? PyMapping_Items(headers) : nullptr);
    if (!items) {
      PyErr_Format(PyExc_TypeError, "headers=%R: expected a mapping of str to str", headers);
      return false;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items.get()); ++i) {
      PyObject* item = PyList_GET_ITEM(items.get(), i);
      const bool is_pair = PyTuple_Check(item) && PyTuple_GET_SIZE(item) == 2;
      if (!is_pair || !PyUnicode_Check(PyTuple_GET_ITEM(item, 0)) ||
          !PyUnicode_Check(PyTuple_GET_ITEM(item, 1))) {
        PyErr_Format(PyExc_TypeError, "headers=%R: expected a mapping of str to str", headers);
        return false;
      }
      auto& [name, value] = out.emplace_back();
      if (!encode(PyTuple_GET_ITEM(item, 0), name) || !encode(PyTuple_GET_ITEM(item, 1), value)) {
        refuse(item);
        return false;
      }
    }
    return true;
  }

  // False with an exception set.
  static bool encode(PyObject* text, std::string& out) {
    const Ref bytes = Ref::steal(PyUnicode_AsLatin1String(text));
    if (!bytes) return false;
    out.assign(PyBytes_AS_STRING(bytes.get()),
               static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get())));
    return true;
  }

  static void refuse(PyObject* pair) {
    if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError) == 0) return;
    PyErr_Clear();
    set_python_error(invalid_argument("headers", py::repr(pair).cast<std::string>(),
                                      "characters of Latin-1; encode others, for example with "
                                      "urllib.parse.quote()"));
  }
};

template <typename Operation>
py::object function(const char* name, const char* doc, const std::shared_ptr<Service>& service) {
  PyObject* made = make_native_function(name, doc, std::make_shared<Operation>(service));
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

std::shared_ptr<Service> make_service(const py::kwargs& arguments) {
  http::ClientOptions options;
  options.host = arguments["host"].cast<std::string>();
  options.port = arguments["port"].cast<int>();
  options.authority = arguments["authority"].cast<std::string>();
  options.use_tls = arguments["tls"].cast<bool>();
  options.tls.verify = arguments["verify"].cast<bool>();
  options.tls.ca_file = arguments["ca_file"].cast<std::string>();
  options.http2 = arguments["http2"].cast<bool>();
  options.timeout_ns = arguments["timeout_ns"].cast<Duration>();
  options.body_limit = arguments["body_limit"].cast<std::uint64_t>();
  options.follow_redirects = arguments["follow_redirects"].cast<bool>();
  options.interrupted = check_signals;
  auto prefix = arguments["prefix"].cast<std::string>();
  auto headers = arguments["headers"].cast<http::HeaderList>();
  const auto unix_socket = arguments["unix_socket"].cast<std::string>();
  const GilRelease unlocked;  // a name server may take its time
  options.endpoints = unix_socket.empty() ? http::resolve(options.host, options.port, {"*"})
                                          : std::vector{http::unix_endpoint(unix_socket)};
  return std::make_shared<Service>(std::move(options), std::move(prefix), std::move(headers));
}

}  // namespace

void bind_http_client(py::module_& module) {
  bind_http_reply(module);
  bind_http_line(module);
  py::class_<Service, std::shared_ptr<Service>>(module, "HttpService")
      .def(py::init(&make_service),
           "__init__(*, host: str, port: int, authority: str, unix_socket: str, "
           "prefix: str, tls: bool, verify: bool, ca_file: str, http2: bool, timeout_ns: int, "
           "body_limit: int, "
           "follow_redirects: bool, headers: Sequence[tuple[bytes, bytes]]) -> None")
      .def(
          "get",
          [](const std::shared_ptr<Service>& self) {
            return function<GetWork>("get", "The reply to a GET of one path.", self);
          },
          "get() -> Callable[[str], HttpReply]")
      .def(
          "send",
          [](const std::shared_ptr<Service>& self) {
            return function<SendWork>("send", "The reply to one request.", self);
          },
          "send() -> Callable[[Any], HttpReply]")
      .def("close", [](Service& self) { self.client.close(); });
}

}  // namespace mcp::python
