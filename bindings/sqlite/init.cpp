// init.cpp: what init= may do with a new connection: run statements, add functions and
// collations written in Python.
#include <sqlite3.h>

#include <memory>
#include <string>

#include "base/text.h"
#include "base/thread.h"
#include "bindings/base/errors.h"
#include "bindings/base/saved_error.h"
#include "bindings/base/text.h"
#include "bindings/sqlite/arguments.h"
#include "bindings/sqlite/pack_params.h"
#include "bindings/sqlite/pack_value.h"
#include "bindings/sqlite/rows.h"
#include "bindings/sqlite/stream.h"
#include "sqlite/sqlite_error.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

// What a connection holds of Python.
struct Held {
  Held(const py::object& callable, sqlite::Connection& by, std::shared_ptr<UserCallables> of_pool)
      : function(Ref::borrow(callable.ptr())), connection(by), all(std::move(of_pool)) {
    all->insert(function.get());
  }
  ~Held() { all->erase(all->find(function.get())); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  const Ref function;
  sqlite::Connection& connection;
  const std::shared_ptr<UserCallables> all;
};

PyObject* function_of(void* held) { return static_cast<Held*>(held)->function.get(); }

// Valid while init runs.
class NewConnection {
 public:
  NewConnection(sqlite::Connection* connection, std::shared_ptr<UserCallables> callables)
      : connection_(connection), callables_(std::move(callables)) {}
  // For SQLite, which gives it to drop_callable().
  [[nodiscard]] std::unique_ptr<Held> hold(const py::object& callable) const {
    return std::make_unique<Held>(callable, get(), callables_);
  }
  void expire() noexcept { connection_ = nullptr; }

  [[nodiscard]] sqlite::Connection& get() const {
    if (connection_ == nullptr) {
      throw Error(ErrorKind::kPoolClosed, "the connection is init's only while init runs");
    }
    return *connection_;
  }

 private:
  sqlite::Connection* connection_;
  const std::shared_ptr<UserCallables> callables_;
};

PyObject* python_value(sqlite3_value* value) {
  switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER:
      return PyLong_FromLongLong(sqlite3_value_int64(value));
    case SQLITE_FLOAT:
      return PyFloat_FromDouble(sqlite3_value_double(value));
    case SQLITE_TEXT:
      return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(sqlite3_value_text(value)),
                                  sqlite3_value_bytes(value), nullptr);
    case SQLITE_BLOB:
      return PyBytes_FromStringAndSize(static_cast<const char*>(sqlite3_value_blob(value)),
                                       sqlite3_value_bytes(value));
    default:
      Py_RETURN_NONE;
  }
}

// Takes the Python exception that is set, in words.
std::string what_raised(const char* who) {
  const Ref error = take_error();
  std::string message = who;
  message.append(" raised ").append(error ? Py_TYPE(error.get())->tp_name : "an exception");
  const Ref text = Ref::steal(error ? PyObject_Str(error.get()) : nullptr);
  const char* utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (utf8 != nullptr && *utf8 != '\0') message.append(": ").append(utf8);
  PyErr_Clear();
  return message;
}

// False with an exception set.
bool set_result(sqlite3_context* context, PyObject* value) {
  sqlite::Params packed;
  if (!pack_plain(value, {kNoRow, ParameterPlace::kResult}, false, packed)) return false;
  packed.return_from(context);
  return true;
}

void call_function(sqlite3_context* context, int count, sqlite3_value** values) {
  const ApplicationSignals signals;
  const GilAcquire gil;
  if (!gil) {
    sqlite3_result_error(context, "the interpreter is shutting down", -1);
    return;
  }
  PyObject* arguments = PyTuple_New(count);
  for (int i = 0; arguments != nullptr && i < count; ++i) {
    PyObject* value = python_value(values[i]);
    if (value == nullptr)
      Py_CLEAR(arguments);
    else
      PyTuple_SET_ITEM(arguments, i, value);
  }
  PyObject* result = arguments != nullptr ? PyObject_Call(function_of(sqlite3_user_data(context)),
                                                          arguments, nullptr)
                                          : nullptr;
  Py_XDECREF(arguments);
  if (result == nullptr || !set_result(context, result)) {
    sqlite3_result_error(context, what_raised("a user function").c_str(), -1);
  }
  Py_XDECREF(result);
}

// Negative, 0 or positive, as `order` says of both texts; 0 with an exception set.
int order_of(PyObject* order, std::string_view a, std::string_view b) {
  const auto text = [](std::string_view utf8) {
    return PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), nullptr);
  };
  const Ref one = Ref::steal(text(a));
  const Ref other = Ref::steal(one ? text(b) : nullptr);
  if (!other) return 0;
  PyObject* texts[] = {one.get(), other.get()};
  const Ref result = Ref::steal(PyObject_Vectorcall(order, texts, 2, nullptr));
  if (!result) return 0;
  int overflow = 0;
  const long number = PyLong_AsLongAndOverflow(result.get(), &overflow);
  if (overflow != 0) return overflow;
  if (number == -1 && PyErr_Occurred() != nullptr) return 0;
  return number < 0 ? -1 : number > 0 ? 1 : 0;
}

// SQLite has no way for an order to fail: the connection fails what it runs.
int call_collation(void* data, int size_a, const void* a, int size_b, const void* b) {
  const auto& collation = *static_cast<const Held*>(data);
  if (collation.connection.user_code_failed()) return 0;
  const ApplicationSignals signals;
  const GilAcquire gil;
  if (!gil) {
    collation.connection.fail_user_code("the interpreter is shutting down");
    return 0;
  }
  const int order = order_of(collation.function.get(),
                             {static_cast<const char*>(a), static_cast<std::size_t>(size_a)},
                             {static_cast<const char*>(b), static_cast<std::size_t>(size_b)});
  if (PyErr_Occurred() != nullptr) {
    collation.connection.fail_user_code(what_raised("a user collation"));
  }
  return order;
}

void drop_callable(void* held) {
  const GilAcquire gil;
  if (gil) delete static_cast<Held*>(held);
}

void check(sqlite::Connection& connection, int code) {
  if (code != SQLITE_OK) throw sqlite::sqlite_error(connection.handle(), code);
}

// A name of something in SQLite.
std::string name_of(const py::object& name) {
  if (!PyUnicode_Check(name.ptr())) {
    throw py::type_error("name=" + shown(name.ptr()) + ": expected a str");
  }
  std::string_view text;
  if (!utf8_of(name.ptr(), "name", text)) throw py::error_already_set();
  refuse_nul("name", text, ErrorKind::kConfiguration);
  return std::string(text);
}

void create_function(NewConnection& self, const py::object& called, int arguments,
                     const py::object& function, bool deterministic) {
  sqlite::Connection& connection = self.get();
  const std::string name = name_of(called);
  const int flags = SQLITE_UTF8 | (deterministic ? SQLITE_DETERMINISTIC : 0);
  connection.note_user_function(name);
  check(connection, sqlite3_create_function_v2(connection.handle(), name.c_str(), arguments, flags,
                                               self.hold(function).release(), call_function,
                                               nullptr, nullptr, drop_callable));
}

void create_collation(NewConnection& self, const py::object& called, const py::object& order) {
  sqlite::Connection& connection = self.get();
  const std::string name = name_of(called);
  std::unique_ptr<Held> held = self.hold(order);
  const int code = sqlite3_create_collation_v2(connection.handle(), name.c_str(), SQLITE_UTF8,
                                               held.get(), call_collation, drop_callable);
  check(connection, code);  // unlike functions, it is left to the caller where that fails
  static_cast<void>(held.release());
}

py::list execute(NewConnection& self, const py::object& sql, const py::object& params) {
  sqlite::Connection& connection = self.get();
  std::string_view text;
  if (!check_sql_type(sql.ptr()) || !utf8_of(sql.ptr(), "sql", text)) throw py::error_already_set();
  sqlite::check_sql(text);
  sqlite::Params packed;
  if (!pack_params(params.ptr(), sqlite::placeholders_of(text), nullptr, packed)) {
    throw py::error_already_set();
  }
  sqlite3_stmt* handle = nullptr;
  const char* tail = nullptr;
  check(connection, sqlite3_prepare_v2(connection.handle(), text.data(),
                                       static_cast<int>(text.size()) + 1, &handle, &tail));
  const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> statement(handle, sqlite3_finalize);
  if (handle == nullptr) return py::list();
  sqlite::check_single(text, tail);
  packed.bind(handle);
  sqlite::RowBlock block(sqlite3_column_count(handle));
  int code = SQLITE_ROW;
  {
    const GilRelease unlocked;
    while ((code = sqlite3_step(handle)) == SQLITE_ROW) block.append_row(handle);
  }
  connection.check_user_code();
  if (code != SQLITE_DONE) throw sqlite::sqlite_error(connection.handle(), code);
  RowBuilder builder(RowType::kTuple, nullptr, nullptr);
  py::list rows;
  for (std::size_t row = 0; row < block.rows(); ++row) {
    PyObject* built = builder.row(block, row);
    if (built == nullptr) throw py::error_already_set();
    rows.append(py::reinterpret_steal<py::object>(built));
  }
  return rows;
}

}  // namespace

void run_init(PyObject* init, const std::shared_ptr<UserCallables>& callables,
              sqlite::Connection& connection) {
  const ApplicationSignals signals;
  const GilAcquire gil;
  if (!gil) throw Error(ErrorKind::kPoolClosed, "the interpreter is shutting down");
  const auto fresh = std::make_shared<NewConnection>(&connection, callables);
  py::object handle = py::cast(fresh);
  PyObject* result = PyObject_CallOneArg(init, handle.ptr());
  fresh->expire();
  Py_XDECREF(result);
  if (result == nullptr) throw py::error_already_set();
}

void bind_new_connection(py::module_& module) {
  py::class_<NewConnection, std::shared_ptr<NewConnection>>(module, "SQLiteNewConnection")
      .def("execute", &execute, py::arg("sql"), py::arg("params") = py::tuple(),
           "execute(sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, "
           "...]]")
      .def("create_function", &create_function, py::arg("name"), py::arg("arguments"),
           py::arg("function"), py::kw_only(), py::arg("deterministic") = false,
           "create_function(name: str, arguments: int, function: Callable[..., Any], *, "
           "deterministic: bool = False) -> None")
      .def("create_collation", &create_collation, py::arg("name"), py::arg("order"),
           "create_collation(name: str, order: Callable[[str, str], int]) -> None");
}

}  // namespace mcp::python
