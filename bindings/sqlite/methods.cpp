// methods.cpp: fetch, fetchrow, fetchval, execute and executemany, awaited or waited for.
#include <iterator>
#include <memory>
#include <new>

#include "bindings/sqlite/statement.h"

namespace mcp::python {
namespace {

template <Kind kind>
PyObject* run_method(Endpoint* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  Arguments arguments;
  if (!read_arguments(kind, args, count, names, arguments)) return nullptr;
  if (self->pool_state() == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "the pool was not initialised");
    return nullptr;
  }
  if (self->blocking) return StatementAction(self, kind, arguments).run_blocking();
  try {
    return make_awaitable(std::make_unique<StatementAction>(self, kind, arguments));
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

template <Kind kind>
PyCFunction method() {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&run_method<kind>));
}

}  // namespace

PyMethodDef query_methods[] = {
    {"fetch", method<Kind::kFetch>(), METH_FASTCALL | METH_KEYWORDS,
     "fetch($self, sql, params=(), *, timeout=None, cache=True, row_type=None)\n--\n\n"
     "fetch(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = (), *, timeout: float | "
     "None = None, cache: bool = True, row_type: Literal['tuple', 'named', 'dict'] | None = None) "
     "-> Any\n\n"
     "Run *sql* and return all of its rows, a new list each time.\n\nArgs:\n    sql: one "
     "statement, with ``?``, ``?1``, ``:name``, ``@name`` or ``$name`` for parameters. A text "
     "without a statement gives no rows.\n    params: a sequence, which binds by position, named "
     "parameters too, or any mapping, which binds by name. Values are bound by sqlite3's rules, "
     "with its registered adapters after the pool's; scalars of NumPy as their numbers, NaN as "
     "NULL.\n    timeout: seconds for everything: waiting for a connection, for locks, running.\n  "
     "  cache: whether a kept result may answer, and the result may be kept.\n    row_type: "
     "``'tuple'``, ``'named'`` or ``'dict'``; ``None``: the pool's.\n\nRaises:\n    PoolTimeout: "
     "no connection came free, or the statement did not end, in time.\n    QueryError: SQLite "
     "refused the statement; ``.code`` is its extended result code. Also when *sql* holds a NUL or "
     "a second statement, and when *params* are too few or too many.\n    IntegrityError: a "
     "constraint failed.\n    DatabaseCorrupt: the file is not a sound database.\n    PoolClosed: "
     "the pool is closed.\n    TypeError, OverflowError, UnicodeEncodeError: a parameter that "
     "SQLite cannot hold; the message names it."},
    {"fetchrow", method<Kind::kRow>(), METH_FASTCALL | METH_KEYWORDS,
     "fetchrow($self, sql, params=(), *, timeout=None, cache=True, row_type=None)\n--\n\n"
     "fetchrow(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = (), *, timeout: float | "
     "None = None, cache: bool = True, row_type: Literal['tuple', 'named', 'dict'] | None = None) "
     "-> Any\n\n"
     "Run *sql* and return its first row, or ``None``. Arguments and errors as for ``fetch``."},
    {"fetchval", method<Kind::kValue>(), METH_FASTCALL | METH_KEYWORDS,
     "fetchval($self, sql, params=(), *, timeout=None, cache=True, row_type=None)\n--\n\n"
     "fetchval(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = (), *, timeout: float | "
     "None = None, cache: bool = True, row_type: Literal['tuple', 'named', 'dict'] | None = None) "
     "-> Any\n\n"
     "Run *sql* and return the first value of its first row, or ``None``. Arguments and errors as "
     "for ``fetch``."},
    {"execute", method<Kind::kExecute>(), METH_FASTCALL | METH_KEYWORDS,
     "execute($self, sql, params=(), *, timeout=None)\n--\n\n"
     "execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = (), *, timeout: float | "
     "None = None) -> Any\n\n"
     "Run *sql*, in a transaction of its own unless one is open, and return the number of rows "
     "that it changed. For the key of a new row use ``RETURNING`` with ``fetchval``. Errors as for "
     "``fetch``; after one in a transaction of its own nothing of it is in the database, also with "
     "``OR FAIL``."},
    {"executemany", method<Kind::kMany>(), METH_FASTCALL | METH_KEYWORDS,
     "executemany($self, sql, params, *, timeout=None)\n--\n\n"
     "executemany(self, sql: str, params: Iterable[Sequence[Any] | Mapping[str, Any]], *, timeout: "
     "float | None = None) -> Any\n\n"
     "Run *sql* once for each item of *params*, all in one transaction, and return the number of "
     "rows changed. Errors as for ``fetch``; after one nothing of it is in the database, and a "
     "transaction that is open goes on.\n\nAll items are read, and held as bytes, before the "
     "transaction begins: a slow iterable keeps no "
     "other writer waiting. Awaited, a millisecond at a time, with turns for other tasks in "
     "between: leave a list alone meanwhile. *timeout* starts when they are read."},
    {nullptr, nullptr, 0, nullptr},
};

std::optional<Kind> kind_of_method(PyCFunction function) noexcept {
  constexpr Kind kinds[] = {Kind::kFetch, Kind::kRow, Kind::kValue, Kind::kExecute, Kind::kMany};
  for (std::size_t i = 0; i < std::size(kinds); ++i) {
    if (query_methods[i].ml_meth == function) return kinds[i];
  }
  return {};
}

PyObject* run_control(Endpoint* endpoint, PyObject* sql) {
  Arguments arguments;
  arguments.sql = sql;
  arguments.params = no_params();
  auto action = std::make_unique<StatementAction>(endpoint, Kind::kExecute, arguments);
  action->allow_control();
  if (endpoint->blocking) return action->run_blocking();
  return make_awaitable(std::move(action));
}

void bind_query(pybind11::module_&) { prepare_argument_names(); }

}  // namespace mcp::python
