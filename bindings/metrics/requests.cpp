// requests.cpp: process statistics, and the path that every HTTP request takes through the
// middleware.
//
// RequestMetrics.watch(send) begins a request and answers a ResponseWatch: a callable that stands
// for the ASGI send channel, stamps what passes and hands the message on without a frame of its
// own. ResponseWatch.finish(...) ends the request. Both types hold the interpreter lock
// as their own; the figures behind them have a leaf mutex.
#include <Python.h>

#include "bindings/metrics/requests.h"

#include <structmember.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/base/counters.h"
#include "bindings/base/errors.h"
#include "bindings/base/fields.h"
#include "bindings/base/ref.h"
#include "bindings/base/rooms.h"
#include "bindings/metrics/describe.h"
#include "bindings/metrics/live_rows.h"
#include "metrics/process_stats.h"
#include "metrics/request_metrics.h"
#include "metrics/segment.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using metrics::RequestLabels;
using metrics::RequestMetrics;
using metrics::RequestTimes;
using metrics::SeriesLabels;

constexpr int kClientClosedRequest = 499;  // as nginx counts it

struct RequestMetricsObject {
  PyObject_HEAD RequestMetrics* metrics;  // owned
  LiveRows* live;                         // owned
};

struct ResponseWatchObject {
  PyObject_HEAD vectorcallfunc call;
  RequestMetricsObject* owner;
  PyObject* send;
  Instant start_ns;
  Instant first_byte_ns;  // 0 until the response starts
  Instant last_byte_ns;
  int status;
  bool finished;
};

PyTypeObject* watch_type = nullptr;
PyTypeObject* metrics_type = nullptr;

// Interned keys of ASGI's messages and scopes, and HTTP's methods; made once, kept for ever.
struct Names {
  PyObject* type;
  PyObject* status;
  PyObject* response_start;
  PyObject* route;
  PyObject* root_path;
  PyObject* method;
  PyObject* scheme;
  PyObject* fastapi;
  PyObject* route_context;
  PyObject* original_route;
  PyObject* methods;
};
Names names{};

// ---- ResponseWatch

int watch_traverse(PyObject* self, visitproc visit, void* arg) {
  auto* watch = reinterpret_cast<ResponseWatchObject*>(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(watch->owner);
  Py_VISIT(watch->send);
  return 0;
}

int watch_clear(PyObject* self) {
  auto* watch = reinterpret_cast<ResponseWatchObject*>(self);
  Py_CLEAR(watch->send);
  return 0;
}

void watch_dealloc(PyObject* self) {
  auto* watch = reinterpret_cast<ResponseWatchObject*>(self);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_CLEAR(watch->send);
  Py_CLEAR(watch->owner);
  type->tp_free(self);
  Py_DECREF(type);
}

// Notes a "http.response.start" message. What it does not say is for the server to judge.
void note_start(ResponseWatchObject* watch, PyObject* message) {
  const Ref status = Ref::steal(PyObject_GetItem(message, names.status));
  const long value = status ? PyLong_AsLong(status.get()) : 0;
  watch->status = PyErr_Occurred() == nullptr ? static_cast<int>(value) : 0;
  PyErr_Clear();
  watch->first_byte_ns = now_precise();
  watch->last_byte_ns = watch->first_byte_ns;
}

PyObject* watch_call(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* keywords) {
  auto* watch = reinterpret_cast<ResponseWatchObject*>(self);
  if (PyVectorcall_NARGS(nargsf) != 1 || keywords != nullptr) {
    PyErr_SetString(PyExc_TypeError, "send() takes one message");
    return nullptr;
  }
  const Ref type = Ref::steal(PyObject_GetItem(args[0], names.type));
  const int starts = type ? PyObject_RichCompareBool(type.get(), names.response_start, Py_EQ) : 0;
  if (starts != 1) {
    PyErr_Clear();
    watch->last_byte_ns = now_precise();
  } else {
    note_start(watch, args[0]);
  }
  return PyObject_Vectorcall(watch->send, args, nargsf, nullptr);
}

// scope[key], borrowed; nullptr where it is missing.
PyObject* value_of(PyObject* scope, PyObject* key) {
  return PyDict_Check(scope) ? PyDict_GetItemWithError(scope, key) : nullptr;
}

std::string_view text_of(PyObject* text) {
  Py_ssize_t size = 0;
  const char* data =
      text != nullptr && PyUnicode_Check(text) ? PyUnicode_AsUTF8AndSize(text, &size) : nullptr;
  if (data != nullptr) return {data, static_cast<std::size_t>(size)};
  PyErr_Clear();  // a lone surrogate
  return RequestMetrics::kOther;
}

// What `scope` says of its route, borrowed: FastAPI's context of an included router, which knows
// the prefix, or else the route itself. nullptr where no route was taken.
PyObject* route_of(PyObject* scope) {
  PyObject* route = PyDict_GetItemWithError(scope, names.route);
  PyObject* fastapi = PyDict_GetItemWithError(scope, names.fastapi);
  if (route == nullptr || fastapi == nullptr || !PyDict_Check(fastapi)) return route;
  PyObject* context = PyDict_GetItemWithError(fastapi, names.route_context);
  if (context == nullptr) return route;
  PyObject* original = PyObject_GetAttr(context, names.original_route);
  const bool same = original == route;
  Py_XDECREF(original);
  return same ? context : route;
}

// The template that `known` ({id: (route, template)}) holds for a route that no mount led to;
// borrowed, nullptr where it is not known yet.
PyObject* known_template(PyObject* scope, PyObject* root_path, PyObject* known) {
  if (!PyDict_Check(scope)) return nullptr;
  PyObject* route = route_of(scope);
  PyObject* root = PyDict_GetItemWithError(scope, names.root_path);
  if (route == nullptr ||
      (root != nullptr && root != root_path && PyUnicode_Compare(root, root_path) != 0)) {
    return nullptr;
  }
  PyObject* id = PyLong_FromVoidPtr(route);
  if (id == nullptr) return nullptr;
  PyObject* entry = PyDict_GetItemWithError(known, id);
  Py_DECREF(id);
  return entry != nullptr && PyTuple_Check(entry) && PyTuple_GET_SIZE(entry) == 2
             ? PyTuple_GET_ITEM(entry, 1)
             : nullptr;
}

// A new reference to the template; never fails: what cannot be named is kOther, and why is said by
// sys.unraisablehook.
PyObject* template_of(PyObject* const* args) {
  PyObject* found = known_template(args[0], args[1], args[3]);
  PyErr_Clear();
  if (found != nullptr) return Py_NewRef(found);
  found = PyObject_Vectorcall(args[4], args, 2, nullptr);
  if (found == nullptr) PyErr_WriteUnraisable(args[4]);
  return found;
}

RequestTimes times_of(const ResponseWatchObject& watch, Instant now) {
  const bool answered = watch.first_byte_ns != 0;
  return {(answered ? watch.first_byte_ns : now) - watch.start_ns,
          (answered ? watch.last_byte_ns : now) - watch.start_ns, now - watch.start_ns};
}

// What is no status of HTTP is one label.
int known_status(long status) {
  return status >= 100 && status <= 599 ? static_cast<int>(status) : 0;
}

int status_of(const ResponseWatchObject& watch, std::string_view error_type) {
  const bool answered = watch.first_byte_ns != 0;
  // Whoever went away does not get the 500 either that a framework makes of it.
  if (metrics::client_left(error_type) && (!answered || watch.status >= metrics::kServerError)) {
    return kClientClosedRequest;
  }
  return answered ? known_status(watch.status) : metrics::kServerError;
}

// finish(scope, root_path, error_type, known, resolve): records the request; once. `known` is a
// dict from the ids of routes to (route, template), `resolve(scope, root_path)` answers for the
// others and may add to it. An application that raised or returned without a response counts as
// status 500, one whose client went away before as 499. What raises later keeps the status that was
// sent, and counts as failed.
PyObject* watch_finish(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  auto* watch = reinterpret_cast<ResponseWatchObject*>(self);
  if (count != 5 || !PyUnicode_Check(args[1]) || !PyUnicode_Check(args[2]) ||
      !PyDict_Check(args[3])) {
    PyErr_SetString(PyExc_TypeError,
                    "finish(scope, root_path: str, error_type: str, known: dict, resolve)");
    return nullptr;
  }
  if (watch->finished) Py_RETURN_NONE;
  watch->finished = true;
  const Instant now = now_precise();
  PyObject* route = template_of(args);
  PyObject* method = value_of(args[0], names.method);
  const bool usual = method != nullptr && PySet_Contains(names.methods, method) == 1;
  PyObject* scheme = value_of(args[0], names.scheme);
  const std::string_view error_type = text_of(args[2]);
  const RequestLabels labels{usual ? text_of(method) : RequestMetrics::kOther, text_of(route),
                             text_of(scheme) == "https" ? "https" : "http",
                             status_of(*watch, error_type), error_type};
  PyErr_Clear();  // of an unhashable method
  bool recorded = true;
  try {
    watch->owner->metrics->end(labels, times_of(*watch, now), now);
    watch->owner->live->tell(*watch->owner->metrics);
  } catch (...) {
    recorded = false;
    set_python_error_from_current_exception();
  }
  Py_XDECREF(route);
  if (!recorded) return nullptr;
  Py_RETURN_NONE;
}

// discard(): the request is none of those that count. Nothing where it has ended.
PyObject* watch_discard(PyObject* self, PyObject*) {
  auto* watch = reinterpret_cast<ResponseWatchObject*>(self);
  if (!watch->finished) {
    watch->finished = true;
    watch->owner->metrics->discard();
  }
  Py_RETURN_NONE;
}

PyMethodDef watch_methods[] = {
    {"finish", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(watch_finish)),
     METH_FASTCALL,
     "finish($self, scope, root_path, error_type, known, resolve, /)\n--\n\n"
     "finish(self, scope: Any, root_path: str, error_type: str, known: dict[int, tuple[object, "
     "str]], resolve: Callable[[Any, str], str], /) -> None"},
    {"discard", watch_discard, METH_NOARGS, "discard($self, /)\n--\n\n-> None"},
    {nullptr, nullptr, 0, nullptr}};
PyMemberDef watch_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(ResponseWatchObject, call), READONLY, nullptr},
    {"status", T_INT, offsetof(ResponseWatchObject, status), READONLY, "-> int"},
    {nullptr, 0, 0, 0, nullptr}};
PyType_Slot watch_slots[] = {
    {Py_tp_doc, const_cast<char*>("__call__(self, message: Any, /) -> Awaitable[None]\n\n"
                                  "Stands for the ASGI send channel of one response.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(watch_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(watch_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(watch_clear)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_methods, watch_methods},
    {Py_tp_members, watch_members},
    {0, nullptr}};
PyType_Spec watch_spec{"mcp_performance._core.ResponseWatch", sizeof(ResponseWatchObject), 0,
                       Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                           Py_TPFLAGS_DISALLOW_INSTANTIATION,
                       watch_slots};

// ---- RequestMetrics

PyObject* metrics_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  if (PyTuple_GET_SIZE(args) != 0 || (keywords != nullptr && PyDict_GET_SIZE(keywords) != 0)) {
    PyErr_SetString(PyExc_TypeError, "RequestMetrics() takes no arguments");
    return nullptr;
  }
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  try {
    auto* object = reinterpret_cast<RequestMetricsObject*>(self);
    object->live = new LiveRows;
    object->metrics = new RequestMetrics(now_precise());
  } catch (...) {
    Py_DECREF(self);
    set_python_error_from_current_exception();
    return nullptr;
  }
  return self;
}

void metrics_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete reinterpret_cast<RequestMetricsObject*>(self)->metrics;
  delete reinterpret_cast<RequestMetricsObject*>(self)->live;
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* metrics_watch(PyObject* self, PyObject* send) {
  auto* owner = reinterpret_cast<RequestMetricsObject*>(self);
  auto* watch = PyObject_GC_New(ResponseWatchObject, watch_type);
  if (watch == nullptr) return nullptr;
  watch->call = watch_call;
  watch->owner = owner;
  Py_INCREF(self);
  watch->send = Py_NewRef(send);
  watch->first_byte_ns = 0;
  watch->last_byte_ns = 0;
  watch->status = 0;
  watch->finished = false;
  owner->metrics->begin();
  watch->start_ns = now_precise();
  auto* object = reinterpret_cast<PyObject*>(watch);
  PyObject_GC_Track(object);
  return object;
}

PyObject* metrics_snapshot(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  const int each = count > 0 ? PyObject_IsTrue(args[0]) : 0;
  if (each < 0) return nullptr;
  try {
    return snapshot(*reinterpret_cast<RequestMetricsObject*>(self)->metrics, each == 1)
        .release()
        .ptr();
  } catch (...) {
    set_python_error_from_current_exception();
    return nullptr;
  }
}

PyObject* metrics_begin(PyObject* self, PyObject*) {
  reinterpret_cast<RequestMetricsObject*>(self)->metrics->begin();
  Py_RETURN_NONE;
}

PyObject* metrics_discard(PyObject* self, PyObject*) {
  reinterpret_cast<RequestMetricsObject*>(self)->metrics->discard();
  Py_RETURN_NONE;
}

Duration nanoseconds(PyObject* seconds) {
  return from_seconds(std::clamp(PyFloat_AsDouble(seconds), 0.0, 1e9));
}

PyObject* record(PyObject* self, const SeriesLabels& labels, const RequestTimes& times) {
  if (PyErr_Occurred()) return nullptr;
  try {
    auto* owner = reinterpret_cast<RequestMetricsObject*>(self);
    owner->metrics->end(labels, times, now_precise());
    owner->live->tell(*owner->metrics);
  } catch (...) {
    set_python_error_from_current_exception();
    return nullptr;
  }
  Py_RETURN_NONE;
}

// end(method, route, scheme, status, error_type, first_byte_s, last_byte_s, returned_s): of a
// request that begin() began.
PyObject* metrics_end(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 8) {
    PyErr_SetString(PyExc_TypeError, "end() takes five labels and three times");
    return nullptr;
  }
  const long status = PyLong_AsLong(args[3]);
  if (status == -1 && PyErr_Occurred()) return nullptr;
  const RequestTimes times{nanoseconds(args[5]), nanoseconds(args[6]), nanoseconds(args[7])};
  if (PyErr_Occurred()) return nullptr;
  const bool usual = PySet_Contains(names.methods, args[0]) == 1;
  PyErr_Clear();  // of an unhashable method
  return record(
      self,
      {usual ? text_of(args[0]) : RequestMetrics::kOther, text_of(args[1]),
       text_of(args[2]) == "https" ? "https" : "http", known_status(status), text_of(args[4])},
      times);
}

// operation(method, name, system, error_type, seconds)
PyObject* metrics_operation(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 5) {
    PyErr_SetString(PyExc_TypeError, "operation() takes four labels and a time");
    return nullptr;
  }
  const Duration time = nanoseconds(args[4]);
  if (PyErr_Occurred()) return nullptr;
  return record(self,
                {text_of(args[0]), text_of(args[1]), text_of(args[2]), 0, text_of(args[3]),
                 metrics::SeriesKind::kOperation},
                {time, time, time});
}

// publish(kind, name, text, values, counters, maxima, source, places): counters and maxima have a
// bit for each value that outlives a worker; source is what the row is of, or None.
PyObject* metrics_publish(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 8 || !PyTuple_Check(args[3]) || !PyBytes_Check(args[7])) {
    PyErr_SetString(PyExc_TypeError,
                    "publish(kind, name, text, values: tuple, counters, maxima, source, places)");
    return nullptr;
  }
  metrics::RowFigures row;
  row.kind = text_of(args[0]);
  row.name = text_of(args[1]);
  row.text = text_of(args[2]);
  row.counters = PyLong_AsUnsignedLongLong(args[4]);
  row.maxima = PyLong_AsUnsignedLongLong(args[5]);
  const auto size =
      std::min<std::size_t>(row.values.size(), static_cast<std::size_t>(PyTuple_GET_SIZE(args[3])));
  for (std::size_t i = 0; i < size; ++i) {
    row.values[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(args[3], static_cast<Py_ssize_t>(i)));
  }
  if (PyErr_Occurred()) return nullptr;
  try {
    auto* owner = reinterpret_cast<RequestMetricsObject*>(self);
    if (!owner->live->publish(*owner->metrics, row, args[6], args[7])) return nullptr;
  } catch (...) {
    set_python_error_from_current_exception();
    return nullptr;
  }
  Py_RETURN_NONE;
}

// join(path): counts in the segment of that name from now on.
PyObject* metrics_join(PyObject* self, PyObject* path) {
  auto* metrics = reinterpret_cast<RequestMetricsObject*>(self)->metrics;
  try {
    const std::string name(text_of(path));
    const GilRelease unlocked;
    metrics->join(name, now_precise());
  } catch (...) {
    set_python_error_from_current_exception();
    return nullptr;
  }
  return PyLong_FromLong(metrics->worker());
}

// record_lag(seconds)
PyObject* metrics_record_lag(PyObject* self, PyObject* seconds) {
  const double lag_s = PyFloat_AsDouble(seconds);
  if (lag_s == -1.0 && PyErr_Occurred()) return nullptr;
  const Duration lag_ns = from_seconds(std::clamp(lag_s, 0.0, 3600.0));
  reinterpret_cast<RequestMetricsObject*>(self)->metrics->record_lag(lag_ns, now_precise());
  Py_RETURN_NONE;
}

template <class Function>
PyCFunction fast(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef metrics_methods[] = {
    {"watch", metrics_watch, METH_O,
     "watch($self, send, /)\n--\n\n"
     "watch(self, send: Callable[[Any], Awaitable[None]], /) -> ResponseWatch"},
    {"begin", metrics_begin, METH_NOARGS, "begin($self, /)\n--\n\n-> None"},
    {"discard", metrics_discard, METH_NOARGS, "discard($self, /)\n--\n\n-> None"},
    {"end", fast(metrics_end), METH_FASTCALL,
     "end($self, method, route, scheme, status, error_type, first_byte, last_byte, returned, /)"
     "\n--\n\n"
     "end(self, method: str, route: str, scheme: str, status: int, error_type: str, "
     "first_byte: float, last_byte: float, returned: float, /) -> None"},
    {"operation", fast(metrics_operation), METH_FASTCALL,
     "operation($self, method, name, system, error_type, seconds, /)\n--\n\n"
     "operation(self, method: str, name: str, system: str, error_type: str, seconds: float, /) "
     "-> None"},
    {"publish", fast(metrics_publish), METH_FASTCALL,
     "publish($self, kind, name, text, values, counters, maxima, source, places, /)\n--\n\n"
     "publish(self, kind: str, name: str, text: str, values: tuple[float, ...], counters: int, "
     "maxima: int, source: object, places: bytes, /) -> None"},
    {"join", metrics_join, METH_O, "join($self, path, /)\n--\n\njoin(self, path: str, /) -> int"},
    {"record_lag", metrics_record_lag, METH_O,
     "record_lag($self, seconds, /)\n--\n\n"
     "record_lag(self, seconds: float, /) -> None"},
    {"snapshot", fast(metrics_snapshot), METH_FASTCALL,
     "snapshot($self, each=False, /)\n--\n\n"
     "snapshot(self, each: bool = False, /) -> dict[str, Any]"},
    {nullptr, nullptr, 0, nullptr}};
PyType_Slot metrics_slots[] = {
    {Py_tp_doc, const_cast<char*>("__new__(cls) -> Self\n\n"
                                  "Counts and times the requests of one application.")},
    {Py_tp_new, reinterpret_cast<void*>(metrics_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(metrics_dealloc)},
    {Py_tp_methods, metrics_methods},
    {0, nullptr}};
PyType_Spec metrics_spec{"mcp_performance._core.RequestMetrics", sizeof(RequestMetricsObject), 0,
                         Py_TPFLAGS_DEFAULT, metrics_slots};

py::dict process_stats() {
  const auto stats = [] {
    const GilRelease unlocked;
    return metrics::read_process_stats();
  }();
  return dict_of(stats);
}

Names make_names() {
  const auto text = [](const char* name) { return PyUnicode_InternFromString(name); };
  py::set methods;
  for (const char* method :
       {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}) {
    methods.add(method);
  }
  return {.type = text("type"),
          .status = text("status"),
          .response_start = text("http.response.start"),
          .route = text("route"),
          .root_path = text("root_path"),
          .method = text("method"),
          .scheme = text("scheme"),
          .fastapi = text("fastapi"),
          .route_context = text("effective_route_context"),
          .original_route = text("original_route"),
          .methods = methods.release().ptr()};
}

py::object make_type(PyType_Spec& spec) {
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(type);
}

}  // namespace

RequestMetrics* request_metrics_of(PyObject* object) {
  if (metrics_type != nullptr && PyObject_TypeCheck(object, metrics_type) != 0) {
    return reinterpret_cast<RequestMetricsObject*>(object)->metrics;
  }
  PyErr_Format(PyExc_TypeError, "expected a RequestMetrics, not %R", object);
  return nullptr;
}

void bind_metrics(py::module_& module) {
  names = make_names();
  const py::object watch = make_type(watch_spec);
  watch_type = reinterpret_cast<PyTypeObject*>(py::object(watch).release().ptr());
  module.attr("ResponseWatch") = watch;
  const py::object requests = make_type(metrics_spec);
  metrics_type = reinterpret_cast<PyTypeObject*>(py::object(requests).release().ptr());
  module.attr("RequestMetrics") = requests;
  module.attr("LABEL_OTHER") = py::str(std::string(metrics::kOtherLabel));
  module.attr("LABEL_UNMATCHED") = py::str(std::string(metrics::kUnmatchedLabel));
  py::list left;
  for (const std::string_view name : metrics::kClientLeft) left.append(py::str(std::string(name)));
  module.attr("CLIENT_LEFT") = py::tuple(left);
  module.attr("SEGMENT_BYTES") = metrics::Segment::kBytes;
  module.attr("REQUEST_BUCKETS") = request_buckets();
  module.attr("SEGMENT_WORKERS") = metrics::Segment::kWorkers;
  module.def(
      "sweep_segments",
      [](const std::string& directory, const std::string& prefix) {
        const GilRelease unlocked;
        metrics::Segment::sweep(directory, prefix);
      },
      py::arg("directory"), py::arg("prefix"));
  module.def(
      "counter_names",
      [](const std::string& name) {
        const CounterKind* kind = counter_kind(name);
        py::list names;
        if (kind != nullptr) {
          for (const std::string_view one : kind->names) names.append(py::str(std::string(one)));
        }
        return py::tuple(names);
      },
      py::arg("kind"));
  module.def("process_stats", &process_stats);
  module.def("cpu_times", [] {
    const auto times = metrics::read_cpu_times();
    return std::make_pair(times.cpu_seconds, times.throttled_seconds);
  });
}

}  // namespace mcp::python
