// line.cpp: one connection of HTTP/1.1 for an event loop, which watches its descriptor and says
// when something can be read or written. Called with the interpreter lock held; nothing here waits.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings/base/gil.h"
#include "bindings/http/reply.h"
#include "http/address.h"
#include "http/connection.h"
#include "http/message.h"
#include "http/redirect.h"
#include "http/tls.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

constexpr std::size_t kBufferBytes = 64 << 10;

// Where lines lead: resolved once, and shared by them.
struct Target {
  std::vector<http::ConnectOptions> connects;  // of one server, tried in turn
  http::SslContext tls;
  std::string authority;
  http::Origin self;
};

std::shared_ptr<Target> make_origin(const py::kwargs& arguments) {
  const auto host = arguments["host"].cast<std::string>();
  const auto port = arguments["port"].cast<int>();
  const auto unix_socket = arguments["unix_socket"].cast<std::string>();
  const auto allow_hosts = arguments["allow_hosts"].cast<std::vector<std::string>>();
  const auto body_limit = arguments["body_limit"].cast<std::uint64_t>();
  const bool use_tls = arguments["tls"].cast<bool>();
  http::TlsOptions tls;
  tls.verify = arguments["verify"].cast<bool>();
  tls.ca_file = arguments["ca_file"].cast<std::string>();
  auto origin = std::make_shared<Target>();
  origin->authority = arguments["authority"].cast<std::string>();
  origin->self = {use_tls, host, port};
  const GilRelease unlocked;  // a name server may take its time
  if (use_tls) origin->tls = http::make_ssl_context(tls);
  const std::vector<http::Endpoint> endpoints = unix_socket.empty()
                                                    ? http::resolve(host, port, allow_hosts)
                                                    : std::vector{http::unix_endpoint(unix_socket)};
  for (const http::Endpoint& endpoint : endpoints) {
    origin->connects.push_back({endpoint, host, origin->tls.get(), body_limit, false});
  }
  return origin;
}

class Line {
 public:
  explicit Line(std::shared_ptr<Target> origin) : origin_(std::move(origin)) {}

  void begin(const std::string& method, const std::string& target, const http::HeaderList& headers,
             const std::string& body) {
    const http::Message message{method, target, headers, body};
    http::check(message);
    bytes_ = http::serialize(message, origin_->authority);
    is_head_ = method == "HEAD";
    resent_ = false;
    if (connection_.is_open() && !connection_.still_usable()) connection_.close();
    start();
  }

  // The reply, or None while there is none. Raises where there will be none.
  py::object advance() {
    switch (connection_.advance(buffer(), false)) {
      case http::Connection::Progress::kPending:
        return py::none();
      case http::Connection::Progress::kFailed:
        return go_on_after_failure();
      case http::Connection::Progress::kComplete:
        break;
    }
    const http::Response& response = connection_.response();
    PyObject* const reply = reply_to_python({response.status(), response.headers(), response.body(),
                                             response.location(), response.trailers()});
    if (!connection_.is_reusable()) connection_.close();
    if (reply == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(reply);
  }

  [[nodiscard]] http::Connection& connection() noexcept { return connection_; }

 private:
  static std::span<char> buffer() {
    static std::array<char, kBufferBytes> shared;  // the interpreter lock guards it
    return shared;
  }

  void start() {
    if (!connection_.is_open()) open();
    connection_.begin(bytes_, is_head_, http::Keep::kBodyAndHeaders);
    if (connection_.is_connected()) connection_.send_now();
  }

  void open() {
    int code = 0;
    for (std::size_t left = origin_->connects.size(); left > 0; --left) {
      code = connection_.open(origin_->connects[at_]);
      if (code == 0) return;
      at_ = (at_ + 1) % origin_->connects.size();
    }
    throw Error(ErrorKind::kHttp, http::describe_errno(code));
  }

  // The next address of the server, or once more what met a connection that was given up.
  py::object go_on_after_failure() {
    const bool was_up = connection_.up_at() != 0;
    const bool untried = !was_up && ++tried_ < origin_->connects.size();
    if (untried) at_ = (at_ + 1) % origin_->connects.size();
    const bool again = was_up && connection_.was_given_up() && !std::exchange(resent_, true);
    if (!untried && !again) {
      tried_ = 0;
      throw Error(ErrorKind::kHttp, connection_.failure());
    }
    start();
    return py::none();
  }

  const std::shared_ptr<Target> origin_;
  http::Connection connection_;
  std::string bytes_;
  std::size_t at_ = 0;
  std::size_t tried_ = 0;
  bool is_head_ = false;
  bool resent_ = false;
};

}  // namespace

void bind_http_line(py::module_& module) {
  py::class_<Target, std::shared_ptr<Target>>(module, "HttpOrigin")
      .def(py::init(&make_origin))
      // Where a redirect leads within the origin, or None.
      .def(
          "redirect",
          [](const Target& self, const std::string& location, const std::string& target) {
            return http::same_origin_target(location, target, self.self);
          },
          py::arg("location"), py::arg("target"))
      .def_property_readonly("addresses", [](const Target& self) {
        std::vector<std::string> texts;
        for (const http::ConnectOptions& one : self.connects) texts.push_back(one.endpoint.text);
        return texts;
      });
  py::class_<Line>(module, "HttpLine")
      .def(py::init<std::shared_ptr<Target>>(), py::arg("origin"))
      .def("begin", &Line::begin, py::arg("method"), py::arg("target"), py::arg("headers"),
           py::arg("body"),
           "begin(method: str, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) "
           "-> None")
      .def("advance", &Line::advance, "advance() -> HttpReply | None")
      .def("close", [](Line& self) { self.connection().close(); })
      .def_property_readonly(
          "fd",
          [](Line& self) { return self.connection().is_open() ? self.connection().fd() : -1; })
      .def_property_readonly("wants_to_write",
                             [](Line& self) { return self.connection().wants_to_write(); })
      .def_property_readonly("is_up", [](Line& self) { return self.connection().is_connected(); })
      .def_property_readonly("up_at",
                             [](Line& self) { return to_seconds(self.connection().up_at()); })
      .def_property_readonly(
          "first_byte_at", [](Line& self) { return to_seconds(self.connection().first_byte_at()); })
      .def_property_readonly(
          "last_byte_at", [](Line& self) { return to_seconds(self.connection().last_byte_at()); })
      .def_property_readonly("bytes_received",
                             [](Line& self) { return self.connection().bytes_received(); });
}

}  // namespace mcp::python
