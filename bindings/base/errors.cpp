// errors.cpp: sets the Python exception of a core error, whose class errors.py has.
#include "bindings/base/errors.h"

#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>

#include "bindings/base/rooms.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

// SQLite's primary result codes.
constexpr int kTooBig = 18;
constexpr int kMisuse = 21;
constexpr int kRange = 25;

// The class of sqlite3 that a caller would catch is a base of each.
const char* query_class_name(int code) noexcept {
  switch (code & 0xff) {
    case kTooBig:
      return "DataError";
    case kMisuse:
    case kRange:
      return "ProgrammingError";
    default:
      return "QueryError";
  }
}

const char* class_name(const Error& error) noexcept {
  switch (error.kind()) {
    case ErrorKind::kConfiguration:
      return "ConfigurationError";
    case ErrorKind::kCache:
      return "CacheError";
    case ErrorKind::kSerialization:
      return "SerializationError";
    case ErrorKind::kBackendUnavailable:
      return "BackendUnavailable";
    case ErrorKind::kProtocol:
      return "ProtocolError";
    case ErrorKind::kDatabase:
      return "DatabaseError";
    case ErrorKind::kQuery:
      return query_class_name(error.code());
    case ErrorKind::kIntegrity:
      return "IntegrityError";
    case ErrorKind::kPoolTimeout:
      return "PoolTimeout";
    case ErrorKind::kPoolClosed:
      return "PoolClosed";
    case ErrorKind::kDatabaseCorrupt:
      return "DatabaseCorrupt";
    case ErrorKind::kBatch:
      return "BatchError";
    case ErrorKind::kLoadTest:
      return "LoadTestError";
    case ErrorKind::kTargetRefused:
      return "TargetRefused";
    case ErrorKind::kHttp:
      return "HttpError";
    case ErrorKind::kHttpTimeout:
      return "HttpTimeout";
  }
  return "Error";
}

}  // namespace

void set_python_error(const Error& error) noexcept {
  try {
    const py::object type = py::module_::import("mcp_performance.errors").attr(class_name(error));
    // It may show bytes that a caller gave.
    const char* const text = error.what();
    const auto message = py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(std::strlen(text)), "backslashreplace"));
    if (!message) throw py::error_already_set();
    const py::object instance = type(message);
    if (py::hasattr(instance, "code")) instance.attr("code") = error.code();
    PyErr_SetObject(type.ptr(), instance.ptr());
  } catch (py::error_already_set& failure) {
    failure.restore();
  } catch (...) {
    PyErr_SetString(PyExc_SystemError, error.what());
  }
}

namespace {

// The system refused a thread or a descriptor: as the interpreter's own threads and files raise it.
void set_system_error(const std::system_error& error) noexcept {
  if (error.code() == std::errc::resource_unavailable_try_again) {
    PyErr_SetString(PyExc_RuntimeError,
                    "can't start new thread: the process is at a limit of its threads or of its "
                    "memory (ulimit -u, ulimit -v, a container's pids.max)");
    return;
  }
  errno = error.code().value();
  PyErr_SetFromErrno(PyExc_OSError);
}

}  // namespace

void set_python_error_from_current_exception() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    set_python_error(error);
  } catch (const std::system_error& error) {
    set_system_error(error);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_SystemError, error.what());
  } catch (...) {
    PyErr_SetString(PyExc_SystemError, "unknown C++ exception");
  }
}

void bind_errors(py::module_&) {
  // NOLINTNEXTLINE(performance-unnecessary-value-param): pybind11 says what a translator takes
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      set_python_error(error);
    } catch (const std::system_error& error) {
      set_system_error(error);
    }
  });
}

}  // namespace mcp::python
