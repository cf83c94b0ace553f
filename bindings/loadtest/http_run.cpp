// http_run.cpp: starts, watches and stops a load test over HTTP, for Python.
#include "loadtest/http_run.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/base/errors.h"
#include "bindings/loadtest/bind.h"
#include "bindings/loadtest/report_dict.h"
#include "http/address.h"
#include "http/http2_session.h"
#include "loadtest/scenario.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using http::HeaderList;
using loadtest::HttpOptions;
using loadtest::HttpRun;
using loadtest::RequestSpec;
using loadtest::Scenario;

// method, target, headers, body
using MessageTuple = std::tuple<std::string, std::string, HeaderList, py::bytes>;
// text, JSON (empty: a string)
using ValueTuple = std::pair<std::string, std::string>;
// as written, "json", "header" or "regex", what is looked for
using SourceTuple = std::tuple<std::string, std::string, std::vector<std::string>>;
// lowest status, highest status, contains, checks, values to save, events, whether it answers
// JSON-RPC
using ExpectationTuple =
    std::tuple<int, int, py::bytes, std::vector<std::pair<SourceTuple, std::optional<ValueTuple>>>,
               std::vector<std::pair<std::size_t, SourceTuple>>, std::size_t, bool>;
// name, weight, messages, expectation
using SpecTuple = std::tuple<std::string, double, std::vector<MessageTuple>, ExpectationTuple>;

std::optional<loadtest::Value> to_value(const std::optional<ValueTuple>& value) {
  return value ? std::optional<loadtest::Value>({value->first, value->second}) : std::nullopt;
}

loadtest::Source to_source(const SourceTuple& source) {
  const auto& [name, kind, what] = source;
  if (kind == "json") return {name, what, {}, nullptr};
  if (kind == "header") return {name, std::nullopt, what.at(0), nullptr};
  return {name, std::nullopt, {}, std::make_shared<const loadtest::Regex>(what.at(0))};
}

loadtest::Expectation to_expectation(const ExpectationTuple& given) {
  const auto& [low, high, contains, checks, saves, events, json_rpc] = given;
  loadtest::Expectation expected{low, high, std::string(contains), {}, {}, events, json_rpc};
  for (const auto& [source, value] : checks) {
    expected.checks.push_back({to_source(source), to_value(value)});
  }
  for (const auto& [variable, source] : saves) {
    expected.saves.push_back({variable, to_source(source)});
  }
  return expected;
}

loadtest::Users to_users(const py::dict& given) {
  loadtest::Users users;
  users.cookies = given["cookies"].cast<bool>();
  users.variables = given["variables"].cast<std::vector<std::string>>();
  users.jars = given["jars"].cast<std::vector<loadtest::Cookies>>();
  for (const auto& row :
       given["values"].cast<std::vector<std::vector<std::optional<ValueTuple>>>>()) {
    std::vector<std::optional<loadtest::Value>>& values = users.values.emplace_back();
    for (const auto& value : row) values.push_back(to_value(value));
  }
  return users;
}

std::shared_ptr<const Scenario> make_scenario(const py::dict& arguments) {
  std::vector<RequestSpec> specs;
  for (auto& [name, weight, messages, expectation] :
       arguments["scenario"].cast<std::vector<SpecTuple>>()) {
    RequestSpec spec{name, weight, {}, to_expectation(expectation)};
    for (auto& [method, target, headers, body] : messages) {
      spec.variants.push_back({method, target, headers, std::string(body)});
    }
    specs.push_back(std::move(spec));
  }
  std::vector<Scenario::Choice> sequence;
  for (const auto& [kind, variant] :
       arguments["sequence"].cast<std::vector<std::pair<std::uint32_t, std::uint32_t>>>()) {
    sequence.push_back({kind, variant});
  }
  return std::make_shared<const Scenario>(
      std::move(specs), arguments["authority"].cast<std::string>(),
      arguments["seed"].cast<std::uint64_t>(), arguments["salt"].cast<std::uint64_t>(),
      std::move(sequence),
      arguments.contains("crowd") ? to_users(arguments["crowd"]) : loadtest::Users{});
}

HttpOptions http_options(const py::dict& arguments) {
  const loadtest::CallOptions common = call_options(arguments);
  HttpOptions options;
  options.users = common.users;
  options.batch_size = common.batch_size;
  options.requests = common.requests;
  options.duration_ns = common.duration_ns;
  options.warmup_ns = common.warmup_ns;
  options.timeout_ns = common.timeout_ns;
  options.think_low_ns = common.think_low_ns;
  options.think_high_ns = common.think_high_ns;
  options.rate = common.rate;
  options.arrivals = common.arrivals;
  options.user_ramp = common.user_ramp;
  options.seed = common.seed;
  options.shares = common.shares;
  options.share = common.share;
  options.drain_ns = from_seconds(arguments["drain"].cast<double>());
  options.threads = arguments["threads"].cast<int>();
  options.host = arguments["host"].cast<std::string>();
  options.port = arguments["port"].cast<int>();
  options.use_tls = arguments["tls"].cast<bool>();
  options.tls.verify = arguments["verify"].cast<bool>();
  options.tls.ca_file = arguments["ca_file"].cast<std::string>();
  options.http2 = arguments["http2"].cast<bool>();
  options.tls.http2 = options.http2;
  options.streams = arguments["streams"].cast<int>();
  options.relays = arguments["relays"].cast<bool>();
  options.live_kinds = options.relays || arguments["live_kinds"].cast<bool>();
  options.follow_redirects = arguments["follow_redirects"].cast<bool>();
  options.body_limit = arguments["body_limit"].cast<std::uint64_t>();
  const auto unix_socket = arguments["unix_socket"].cast<std::string>();
  if (unix_socket.empty()) {
    const auto allow_hosts = arguments["allow_hosts"].cast<std::vector<std::string>>();
    const GilRelease unlocked;  // a name server may take its time
    options.endpoints = http::resolve(options.host, options.port, allow_hosts);
  } else {
    options.endpoints = {http::unix_endpoint(unix_socket)};
  }
  return options;
}

std::unique_ptr<HttpRun> make_run(const py::kwargs& arguments) {
  auto scenario = make_scenario(arguments);
  return std::make_unique<HttpRun>(http_options(arguments), std::move(scenario));
}

// The same choice of requests for targets that are not reached over a socket.
class RequestPicker {
 public:
  explicit RequestPicker(const py::kwargs& arguments) : scenario_(make_scenario(arguments)) {}

  std::pair<std::uint32_t, std::uint32_t> choose(std::uint64_t number) const {
    const Scenario::Choice choice = scenario_->choose(number);
    return {choice.kind, choice.variant};
  }
  // What is wrong with an answer; empty: nothing.
  std::string judge(std::uint32_t kind, int status, const HeaderList& headers,
                    const std::string& body) const {
    http::Response response;
    response.begin(false, UINT64_MAX, http::Keep::kBodyAndHeaders);
    response.set_status(status);
    for (const auto& [name, value] : headers) {
      if (!response.add_header(name, value)) return response.error();
    }
    if (!response.add_body(body) || response.finish() != http::Response::State::kComplete) {
      return response.error();
    }
    return scenario_->judge(kind, response, nullptr);
  }
  py::bytes fill(const py::bytes& text, std::uint64_t number) const {
    std::string filled = text;
    scenario_->fill(filled, loadtest::find_slots(filled), number);
    return filled;
  }

 private:
  std::shared_ptr<const Scenario> scenario_;
};

}  // namespace

void bind_http_run(py::module_& module) {
  module.attr("HTTP2_BUILT_IN") = http::Http2Session::built_in();
  py::class_<loadtest::Cookies>(module, "Cookies")
      .def(py::init<>())
      .def("set", &loadtest::Cookies::set, py::arg("name"), py::arg("value"))
      .def(
          "take",
          [](loadtest::Cookies& self, const HeaderList& headers, const std::string& target) {
            self.take(headers, target, now_precise());
          },
          py::arg("headers"), py::arg("target"))
      .def(
          "header",
          [](const loadtest::Cookies& self, const std::string& target, bool secure) {
            return self.header(target, secure, now_precise());
          },
          py::arg("target"), py::arg("secure"));
  py::class_<RequestPicker>(module, "RequestPicker")
      .def(py::init<const py::kwargs&>())
      .def("choose", &RequestPicker::choose, py::arg("number"))
      .def("judge", &RequestPicker::judge, py::arg("kind"), py::arg("status"), py::arg("headers"),
           py::arg("body"),
           "judge(kind: int, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> "
           "str")
      .def("fill", &RequestPicker::fill, py::arg("text"), py::arg("number"));
  py::class_<HttpRun>(module, "HttpRun")
      .def(py::init(&make_run))
      .def("run",
           [](HttpRun& self) {
             const GilRelease unlocked;
             self.run();
           })
      .def("stop", &HttpRun::stop)
      .def("report", [](const HttpRun& self) { return report_to_dict(self.report()); })
      .def(
          "take", [](HttpRun& self) { return taken_from(self.totals()); }, kTakeSignature)
      .def(
          "silence", [](HttpRun& self) { return silence_of(self.totals()); }, kSilenceSignature)
      .def_property_readonly("completed", &HttpRun::completed)
      .def_property_readonly("failures", &HttpRun::failures);
}

}  // namespace mcp::python
